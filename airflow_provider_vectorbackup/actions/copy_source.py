"""What of a backup is copied: the objects that its descriptors name, and nothing else that lies beside them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from airflow_provider_vectorbackup.actions.verify import Look, look_at
from airflow_provider_vectorbackup.backups.ids import require_legal_id
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.backups.verification import Finding, Level, Report
from airflow_provider_vectorbackup.storage.store import Store, StoredObject
from airflow_provider_vectorbackup.transfer.manifest import Manifest
from airflow_provider_vectorbackup.weaviate.descriptors import global_key, node_key

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceBackup:
    """A backup of a chain that is copied.

    :param chunks: all that its descriptors name, in its own folder.
    :param nodes: the nodes' descriptors.
    :param final: the coordinator's descriptor, by which Weaviate sees the backup; the only one of a backup of 1.15.
    :param content: of that.
    :param manifest: of an earlier copy to where it lies now.
    """

    backup_id: str
    chunks: tuple[StoredObject, ...]
    nodes: tuple[StoredObject, ...]
    final: StoredObject
    content: bytes
    manifest: Manifest | None = None

    @property
    def objects(self) -> tuple[StoredObject, ...]:
        """All that is copied."""
        return (*self.chunks, *self.nodes, self.final)

    @property
    def size_bytes(self) -> int:
        """Of all that is copied."""
        return sum(stored.size_bytes for stored in self.objects)


def read_source(store: Store, location: Location, backup_id: str) -> tuple[SourceBackup, ...]:
    """Return a backup after all of its bases, if all of them can be restored.

    The state of the last restore is no part of a backup: where it would keep a server from restoring this one, a copy
    without it is restorable.

    :raises InvalidRequest: the id is none.
    :raises BackupDamaged: it is not there, did not end well, or is not whole.
    :raises StorageError: the location can't be listed.
    """
    look = look_at(store, require_legal_id(backup_id))
    damage = []
    for found in look.all_damage():
        if found.key in {global_key(OperationKind.RESTORE, name) for name in look.chain}:
            log.warning("%s. The copy is made without it.", found)
        else:
            damage.append(found)
    _require_whole(look, location, backup_id, damage)
    for warning in look.warnings:
        log.warning("%s", warning)
    return tuple(_backup(store, look, name) for name in look.chain)


def _require_whole(look: Look, location: Location, backup_id: str, damage: Sequence[Finding]) -> None:
    Report(
        location.uri_of(backup_id), backup_id, Level.QUICK, tuple(damage), chain=look.chain, objects=len(look.needed)
    ).require_whole()


def _backup(store: Store, look: Look, name: str) -> SourceBackup:
    nodes = dict.fromkeys(node_key(name, node) for node in look.descriptors.nodes(name))
    final = global_key(OperationKind.BACKUP, name)
    if final not in look.listed:
        final = node_key(name, "")
    nodes.pop(final, None)
    chunks = [key for key in look.needed if key.startswith(f"{name}/") and key not in nodes and key != final]
    content = b"".join(store.stream(final, etag=look.listed[final].etag))
    return SourceBackup(
        name,
        tuple(look.listed[key] for key in chunks),
        tuple(look.listed[key] for key in nodes),
        look.listed[final],
        content,
        look.manifests.get(name),
    )
