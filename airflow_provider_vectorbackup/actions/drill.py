"""Which backup a restore drill tries, and what is kept of its outcome."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_provider_vectorbackup.actions.catalogue import read_catalogue
from airflow_provider_vectorbackup.actions.content_records import places_beside
from airflow_provider_vectorbackup.actions.evidence import OpenStore
from airflow_provider_vectorbackup.actions.server import address_in, identify_server
from airflow_provider_vectorbackup.backups.catalogue import CatalogueEntry
from airflow_provider_vectorbackup.backups.ids import require_legal_id
from airflow_provider_vectorbackup.backups.locations import Location, require_location_of
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.exceptions import ObjectNotFound, PreflightFailed
from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.layout import OWN_FOLDER

log = logging.getLogger(__name__)


class Pick(StrEnum):
    """Which backup is tried, unless it is given by its id."""

    LATEST = "latest"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class DrillOrder:
    """A drill as a user asks for it.

    :param pick: ``latest``, ``random``, or a backup id.
    :param seed: what a random choice is a function of, so that a retry makes the same.
    :param id_prefix: what the ids of those that may be picked begin with.
    """

    location: Location
    backend: str
    pick: str
    seed: str
    id_prefix: str = ""


def pick_restore_point(client: WeaviateClient, order: DrillOrder, open_store: OpenStore) -> dict[str, Any]:
    """Return a backup that can be restored and has content records beside it, and how the scratch cluster finds it.

    Returns ``backup_id uri location bucket path started_at chain stored_bytes``; times are ISO 8601.

    :raises PreflightFailed: there is none, or the one that is named can't be restored.
    """
    server = identify_server(client, order.backend)
    require_location_of(order.backend, order.location)
    with closing(open_store(order.location)) as store:
        entry = _picked(store, order)
    address = address_in(server, order.backend, order.location, entry.backup_id)
    log.info("Picked %s, of %s.", entry.backup_id, entry.started_at)
    return {
        "backup_id": entry.backup_id,
        "uri": order.location.uri_of(entry.backup_id),
        "location": str(order.location),
        "bucket": address.bucket,
        "path": address.path,
        "started_at": entry.started_at.isoformat() if entry.started_at else None,
        "chain": list(entry.chain),
        "stored_bytes": entry.stored_bytes,
    }


def _picked(store: Store, order: DrillOrder) -> CatalogueEntry:
    catalogue = read_catalogue(store, with_uploads=False)
    if order.pick not in tuple(Pick):
        entry = catalogue.get(require_legal_id(order.pick))
        if entry is None or not entry.is_usable:
            problems = (
                [*entry.problems, *entry.chain_problems, f"it is {entry.status}"] if entry else ["it is not there"]
            )
            raise PreflightFailed(
                f"{order.location.uri_of(order.pick)} can't be restored: {'; '.join(problems)}.",
                hint="Pick another one.",
                backup_id=order.pick,
            )
        places_beside(store, order.location, entry.backup_id)
        return entry
    usable = [each for each in catalogue.entries if each.is_usable and each.backup_id.startswith(order.id_prefix)]
    if order.pick == Pick.RANDOM:
        usable.sort(key=lambda each: hashlib.sha256(f"{order.seed} {each.backup_id}".encode()).digest())
    return _first_recorded(store, order.location, usable)


def _first_recorded(store: Store, location: Location, usable: Iterable[CatalogueEntry]) -> CatalogueEntry:
    passed = []
    for entry in usable:
        try:
            places_beside(store, location, entry.backup_id)
        except ObjectNotFound:
            passed.append(entry.backup_id)
            continue
        if passed:
            log.warning("Passed over, as they have no content record to compare with: %s", names_shown(passed))
        return entry
    raise PreflightFailed(
        f"{location} has no backup that can be restored and has a content record beside it"
        + (f"; without one: {names_shown(passed)}." if passed else "."),
        hint="Make backups with content_record=True.",
    )


def drill_key(backup_id: str) -> str:
    """Return where the outcome of a backup's last drill lies."""
    return f"{backup_id}/{OWN_FOLDER}/drill.json"


def keep_outcome(location: Location, backup_id: str, outcome: Mapping[str, Any], open_store: OpenStore) -> str:
    """Write the outcome of a drill beside its backup, in place of an earlier one; return its key."""
    key, content = drill_key(backup_id), json.dumps({"version": 1} | dict(outcome)).encode()
    with closing(open_store(location)) as store:
        store.write(key, [content], len(content))
    return key
