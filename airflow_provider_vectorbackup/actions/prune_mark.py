"""The mark that a prune leaves beside a backup before it deletes anything of it: with it, a later run can go on."""

from __future__ import annotations

import base64
import json
import logging
from contextlib import suppress
from dataclasses import dataclass

from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.transfer.journal import plan_key
from airflow_provider_vectorbackup.weaviate.layout import OWN_FOLDER

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Mark:
    """What is on record of a backup that is being deleted.

    :param key: of its descriptor, with which Weaviate sees it; empty where it had none.
    :param descriptor: what stood there, to be put back if somebody turns out to need it.
    :param bases: what it builds on.
    :param is_erasing: whether objects beside the descriptor may be gone, so that there is no way back.
    """

    key: str = ""
    descriptor: bytes = b""
    bases: tuple[str, ...] = ()
    is_erasing: bool = True


def mark_key(backup_id: str) -> str:
    """Return where the mark lies."""
    return f"{backup_id}/{OWN_FOLDER}/prune.json"


def write_mark(store: Store, backup_id: str, mark: Mark) -> None:
    """Leave a mark, in place of an earlier one."""
    told = {"version": 1, "key": mark.key, "descriptor": base64.b64encode(mark.descriptor).decode()}
    content = json.dumps(told | {"bases": mark.bases, "is_erasing": mark.is_erasing}).encode()
    store.write(mark_key(backup_id), [content], len(content))
    store.settle()


def read_mark(store: Store, backup_id: str) -> Mark | None:
    """Return the mark beside a backup without descriptor; None where there is none that can be used.

    Where a copy has begun since, it is of what was there before, and tells nothing.
    """
    content = store.read(mark_key(backup_id))
    if content is None or store.read(plan_key(backup_id)) is not None:
        return None
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        told = json.loads(content)
        descriptor, bases = base64.b64decode(told["descriptor"], validate=True), tuple(map(str, told["bases"]))
        return Mark(str(told["key"]), descriptor, bases, is_erasing=bool(told["is_erasing"]))
    log.warning("%s can't be read; what it is about is left as it is.", mark_key(backup_id))
    return None
