"""What a copy of one backup moves, as it is written down beside it for whoever goes on with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_vectorbackup.actions.copy_source import SourceBackup
from airflow_provider_vectorbackup.actions.copy_target import identity
from airflow_provider_vectorbackup.backups.copies import Method
from airflow_provider_vectorbackup.exceptions import CopyIncomplete
from airflow_provider_vectorbackup.storage.store import Store, StoredObject
from airflow_provider_vectorbackup.transfer.journal import plan_key

_VERSION = 1
_UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """What a copy of one backup moves: the chunks first, the descriptors at the end.

    :param source: URI of the backup.
    :param final: the descriptor by which Weaviate sees the backup.
    :param is_of_copy: whether the source has a manifest, by which it was copied there.
    """

    backup_id: str
    source: str
    method: Method
    chunks: tuple[StoredObject, ...]
    nodes: tuple[StoredObject, ...]
    final: StoredObject
    is_of_copy: bool

    @property
    def descriptors(self) -> tuple[StoredObject, ...]:
        """What follows the chunks, in this order."""
        return (*self.nodes, self.final)

    @property
    def objects(self) -> tuple[StoredObject, ...]:
        """All that is copied."""
        return (*self.chunks, *self.descriptors)

    @classmethod
    def of(cls, backup: SourceBackup, source: str, method: Method) -> StoredPlan:
        """Return the plan for a backup."""
        is_of_copy = backup.manifest is not None
        return cls(backup.backup_id, source, method, backup.chunks, backup.nodes, backup.final, is_of_copy)


def write_plan(target: Store, plan: StoredPlan, content: bytes) -> None:
    """Write a plan beside the backup-to-be: from now on, its folder is known to be a copy of that one.

    :param content: of the final descriptor.
    """
    fields = {
        "version": _VERSION,
        "source": plan.source,
        "method": plan.method.value,
        "descriptor_sha256": identity(content),
        "chunks": _rows(plan.chunks),
        "nodes": _rows(plan.nodes),
        "final": _rows([plan.final])[0],
        "is_of_copy": plan.is_of_copy,
    }
    stored = json.dumps(fields, separators=(",", ":")).encode()
    target.write(plan_key(plan.backup_id), [stored], len(stored))
    target.settle()  # before what would be nobody's without it


def read_plan(target: Store, backup_id: str) -> StoredPlan:
    """Read the plan of a copy that was begun.

    :raises CopyIncomplete: it is not there, or can't be read.
    """
    key = plan_key(backup_id)
    try:
        fields = json.loads(target.read(key) or b"")
        if fields["version"] != _VERSION:
            raise ValueError(fields["version"])  # noqa: TRY301 - one error for all that is wrong with it
        chunks, nodes, finals = (_objects(rows) for rows in (fields["chunks"], fields["nodes"], [fields["final"]]))
        source, method, is_of_copy = str(fields["source"]), Method(fields["method"]), bool(fields["is_of_copy"])
        return StoredPlan(backup_id, source, method, chunks, nodes, finals[0], is_of_copy)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CopyIncomplete(
            f"The plan of the copy, {key}, is not there or can't be read.",
            hint="Clear the task that planned it.",
            backup_id=backup_id,
        ) from error


def _rows(objects: Iterable[StoredObject]) -> list[tuple[str, int, str]]:
    return [(stored.key, stored.size_bytes, stored.etag) for stored in objects]


def _objects(rows: Sequence[Sequence[Any]]) -> tuple[StoredObject, ...]:
    return tuple(StoredObject(key, size, etag, _UNKNOWN_TIME) for key, size, etag in rows)
