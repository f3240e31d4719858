"""Which backup a new one builds on, and whether it really did."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from airflow_provider_vectorbackup.actions.compatibility import base_problems, require_none
from airflow_provider_vectorbackup.actions.server import status_or_none
from airflow_provider_vectorbackup.actions.stored_descriptors import read_told
from airflow_provider_vectorbackup.actions.stored_facts import Place, read_links, stored_backups
from airflow_provider_vectorbackup.backups.bases import LATEST, ListedBackup, latest_base
from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, Status
from airflow_provider_vectorbackup.exceptions import InvalidRequest, PreflightFailed
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BaseWish:
    """What is to build on what.

    :param address: of the new backup.
    :param base: a backup id, or ``latest``.
    :param collections: of the new backup; likewise ``codec``.
    :param nodes: of the server.
    :param place: where base and new backup lie, as far as it is known.
    """

    address: BackupAddress
    base: str
    collections: tuple[str, ...]
    codec: Codec
    nodes: tuple[str, ...]
    place: Place | None

    @property
    def is_listed(self) -> bool:
        """Whether the server's list shows the backups there."""
        return not (self.address.bucket or self.address.path)


def find_base(client: WeaviateClient, wish: BaseWish) -> str | None:
    """Return the id of the finished backup to build on, None for a full backup.

    :raises InvalidRequest: the latest one can't be found out.
    :raises PreflightFailed: the one that is named can't be built on.
    """
    if wish.base != LATEST:
        _require_finished(client, wish, wish.base)
        _require_usable(wish, wish.base)
        return wish.base
    left = list(_candidates(client, wish))
    while (base := latest_base(left, wish.collections)) and not _is_usable(wish, base.backup_id):
        left.remove(base)
    log.info("Incremental base: %s", base.backup_id if base else "none yet, so this is a full backup")
    if base is None:
        return None
    if not wish.is_listed:
        _require_finished(client, wish, base.backup_id)
    return base.backup_id


def as_made(operation: Operation, place: Place | None) -> Operation:
    """Return a finished backup with the base that its descriptor names; warn if that is not the one asked for."""
    wanted, backup_id = operation.base_backup_id, operation.address.backup_id
    told = place.look(lambda store: read_told(store, backup_id)) if place and wanted else None
    if told is None or told.base_backup_id == wanted:
        return operation
    log.warning(
        "Backup %r was to build on %r, but its descriptor names %s as its base.",
        backup_id,
        wanted,
        repr(told.base_backup_id) if told.base_backup_id else "nothing",
    )
    return replace(operation, base_backup_id=told.base_backup_id)


def _candidates(client: WeaviateClient, wish: BaseWish) -> tuple[ListedBackup, ...]:
    if wish.is_listed:
        return client.send(calls.list_backups(wish.address.backend))
    found = wish.place.look(stored_backups) if wish.place else None
    if found is None:
        raise InvalidRequest(
            "incremental_base_backup_id 'latest' can't be found where bucket or path are given: the server's list "
            "shows only its default place, and no location that can be read tells more.",
            hint="Name the base backup, or give a location.",
        )
    return found


def _require_finished(client: WeaviateClient, wish: BaseWish, base_id: str) -> None:
    found = status_or_none(client, OperationKind.BACKUP, replace(wish.address, backup_id=base_id))
    if found is None or found.status is not Status.SUCCESS or not found.is_final:
        raise PreflightFailed(
            f"The base {base_id!r} is {found.status.value if found else 'not there'}.",
            hint="An incremental backup needs a finished base in the same bucket and path.",
        )


def _is_usable(wish: BaseWish, base_id: str) -> bool:
    try:
        _require_usable(wish, base_id)
    except PreflightFailed as error:
        log.info("Not taken as the base: %s", error.message)
        return False
    return True


def _require_usable(wish: BaseWish, base_id: str) -> None:
    """Raise if storage shows that nothing of this kind can build on a backup.

    :raises PreflightFailed: it does.
    """
    place = wish.place
    told = place.told(base_id) if place else None
    if place is None or told is None:
        return
    links = place.look(lambda store: read_links(store, told))
    if links is not None:
        consequence = f"No backup can build on {place.root.uri_of(base_id)}"
        require_none(base_problems(told, links, wish.codec), consequence, base_id)
    if new := set(wish.nodes).difference(told.nodes):
        log.warning("Not in the base %r, so what lies on them is backed up in full: %s", base_id, names_shown(new))
