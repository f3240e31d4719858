"""What descriptors in storage tell before something is started. No chunk is read, and large descriptors one at a time.

A storage that can't be read keeps nothing from being started: it is told in the log, and the server's word must do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from airflow_provider_vectorbackup.actions.compatibility import StoredContents
from airflow_provider_vectorbackup.actions.evidence import OpenStore
from airflow_provider_vectorbackup.actions.folders import list_folders
from airflow_provider_vectorbackup.actions.stored_descriptors import StoredDescriptors, read_told
from airflow_provider_vectorbackup.backups.bases import ListedBackup
from airflow_provider_vectorbackup.backups.chain import Link, chain_of
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor, PreflightFailed, VectorBackupError
from airflow_provider_vectorbackup.storage.store import CONNECTIONS, Store
from airflow_provider_vectorbackup.transfer.threads import in_threads
from airflow_provider_vectorbackup.weaviate.descriptors import GlobalDescriptor, node_key
from airflow_provider_vectorbackup.weaviate.layout import link_of
from airflow_provider_vectorbackup.weaviate.node_descriptors import parse_node

log = logging.getLogger(__name__)

Facts = TypeVar("Facts")


@dataclass(frozen=True, slots=True)
class Place:
    """A location, and what opens it."""

    open_store: OpenStore
    root: Location

    @classmethod
    def of(cls, open_store: OpenStore | None, root: Location | None) -> Place | None:
        """Return the place, None where nothing is known of it."""
        return cls(open_store, root) if open_store and root else None

    def look(self, read: Callable[[Store], Facts]) -> Facts | None:
        """Return what ``read`` finds, None where the storage can't be read.

        :raises PreflightFailed: ``read`` does.
        """
        try:
            with closing(self.open_store(self.root)) as store:
                return read(store)
        except PreflightFailed:
            raise
        except VectorBackupError as error:
            log.warning("What lies in %s can't be read, so it is not checked. %s", self.root, error)
            return None

    def told(self, backup_id: str) -> GlobalDescriptor | None:
        """Return the coordinator's descriptor of a backup that the server knows; None where it can't be read.

        :raises PreflightFailed: it is there, and is none that this package knows.
        """

        def read(store: Store) -> GlobalDescriptor | None:
            try:
                found = read_told(store, backup_id)
            except BrokenDescriptor as error:
                raise PreflightFailed(
                    f"{self.root.uri_of(backup_id)} can't be used: {error.message}",
                    hint=error.hint or "Look who wrote to the storage, and take another backup.",
                    backup_id=backup_id,
                ) from error
            if found is None:
                log.warning("%s shows no backup %r: is it where the server writes?", self.root, backup_id)
            return found

        return self.look(read)


def read_contents(
    store: Store, told: GlobalDescriptor, chosen: Collection[str], nodes: Collection[str]
) -> StoredContents:
    """Read of the nodes' descriptors as many as it takes to know what they tell of the chosen collections.

    :param nodes: those of the backup that take part.
    """
    contents = StoredContents()
    # The leader's has the schema of all collections.
    for node in sorted(nodes, key=lambda name: (name != told.leader, name)):
        if contents.is_all_of(chosen) and not told.base_backup_id:
            break
        key = node_key(told.backup_id, node)
        content = store.read(key)
        try:
            if content is None:
                contents.broken.append(f"The descriptor {key} is not there.")
            else:
                contents.add(node, parse_node(key, content), chosen)
        except BrokenDescriptor as error:
            contents.broken.append(error.message)
    return contents


def read_links(store: Store, told: GlobalDescriptor, bases: Collection[str] = ()) -> dict[str, Link]:
    """Return a backup and its ancestors by the coordinators' descriptors, which is what a server looks at.

    :param bases: further ones, which the descriptors of its nodes name.
    """
    descriptors, links = StoredDescriptors(store), {told.backup_id: link_of(told.backup_id, told, bases)}

    def bases_of(name: str) -> Collection[str]:
        if name not in links and (found := descriptors.told(name)):
            links[name] = link_of(name, found)
        return links[name].bases if name in links else ()

    chain_of(told.backup_id, bases_of)
    return links


def stored_backups(store: Store) -> tuple[ListedBackup, ...]:
    """Return the backups that a location holds, as the server would list them, without those that can't be read."""
    folders, _ = list_folders(store)
    names = [name for name, folder in folders.items() if folder.descriptor]
    found = zip(names, in_threads(StoredDescriptors(store).told, names, CONNECTIONS), strict=True)
    return tuple(
        ListedBackup(
            name, told.status, told.collections, told.started_at, told.completed_at, told.pre_compression_bytes
        )
        for name, told in found
        if told
    )
