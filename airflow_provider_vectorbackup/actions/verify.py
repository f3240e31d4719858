"""Verify offline that a backup can be restored: without a server, from what lies in storage."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from airflow_provider_vectorbackup.actions.deep import Contents, read_contents
from airflow_provider_vectorbackup.actions.folders import listed_in
from airflow_provider_vectorbackup.actions.leases import Hold, Holder, can_be_ended, holding
from airflow_provider_vectorbackup.actions.stored_descriptors import StoredDescriptors
from airflow_provider_vectorbackup.backups.chain import chain_problems
from airflow_provider_vectorbackup.backups.codecs import is_plausible
from airflow_provider_vectorbackup.backups.ids import require_legal_id
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.status import OperationKind, Status
from airflow_provider_vectorbackup.backups.verification import Finding, Level, Report
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor, InvalidRequest, StorageError
from airflow_provider_vectorbackup.storage.store import CONNECTIONS, Store, StoredObject
from airflow_provider_vectorbackup.transfer.manifest import Manifest, manifest_key, parse_manifest
from airflow_provider_vectorbackup.weaviate.descriptors import global_key, node_key, parse_state
from airflow_provider_vectorbackup.weaviate.layout import (
    OWN_FOLDER,
    is_part_of_backup,
    node_folder,
    own_objects,
    referred_keys,
    tenants_left_out,
)

log = logging.getLogger(__name__)


def verify_backup(store: Store, location: Location, backup_id: str, level: Level, *, threads: int = 4) -> Report:
    """Look at a backup and its chain, and return what was found; damage is no error here.

    :param threads: chunks that are read and unpacked side by side, for ``deep``.
    :raises InvalidRequest: the id is none, or the number of threads.
    :raises StorageError: the location can't be listed.
    :raises StorageUnreachable: the storage fails just now, and nothing can be said.
    """
    began = time.monotonic()
    require_legal_id(backup_id)
    require_threads(threads)
    look = look_at(store, backup_id)
    chain = look.chain
    contents, told = Contents(), look.descriptors.told(backup_id)
    if level is Level.DEEP and told and told.status is Status.SUCCESS:
        contents = read_contents(store, look.descriptors, look.listed, look.manifests, backup_id, threads=threads)
    return Report(
        location.uri_of(backup_id),
        backup_id,
        level,
        damage=tuple(dict.fromkeys([*look.all_damage(), *contents.damage])),
        warnings=tuple(look.warnings),
        chain=chain,
        collections=told.collections if told else (),
        objects=len(look.needed),
        stored_bytes=sum(look.listed[key].size_bytes for key in look.needed if key in look.listed),
        read_bytes=contents.read_bytes,
        unpacked_bytes=contents.unpacked_bytes,
        unchecked=contents.unchecked,
        seconds=round(time.monotonic() - began, 3),
    )


def verify_held(
    store: Store, location: Location, backup_id: str, level: Level, holder: Holder, *, threads: int = 4
) -> Report:
    """Verify a backup, and hold a lease on it meanwhile, so that nobody prunes it; where none can be left, say so.

    :raises InvalidRequest, StorageError, StorageUnreachable: as :func:`verify_backup`.
    :raises BackupInUse: somebody changes it just now.
    """
    require_legal_id(backup_id)
    with holding(store, holder) as leases:
        try:
            if can_be_ended(store, location):
                leases.take([backup_id], Hold.READ)
        except StorageError as error:
            if error.retryable:
                raise
            log.info("No lease can be left beside it, so nothing keeps others from pruning it: %s", error.message)
        return verify_backup(store, location, backup_id, level, threads=threads)


def require_threads(threads: int) -> int:
    """Return ``threads`` if a store serves as many.

    :raises InvalidRequest: it does not.
    """
    if not 1 <= threads <= CONNECTIONS:
        raise InvalidRequest(f"threads is {threads}.", hint=f"Give 1 to {CONNECTIONS}.")
    return threads


def store_report(store: Store, report: Report) -> str:
    """Store a whole report beside its backup, in place of an earlier one, and return its key."""
    key = f"{report.backup_id}/{OWN_FOLDER}/verify-{report.level}.json"
    content = json.dumps(report.to_json(), indent=1).encode()
    store.write(key, [content], len(content))
    return key


def look_at(store: Store, backup_id: str) -> Look:
    """Compare what lies in the folders of a backup and its chain with what the descriptors say.

    :raises StorageError: the location can't be listed.
    :raises StorageUnreachable: the storage fails just now, and nothing can be said.
    """
    look = Look(store, StoredDescriptors(store))
    look.at_chain(backup_id)
    for name in look.chain:
        look.at_folder(name)
    return look


@dataclass(slots=True)
class Look:
    """What is found about a backup.

    :ivar chain: the backup after all of its bases.
    :ivar listed: by key, what lies in the folders of the chain.
    :ivar needed: keys of what the chain needs of that.
    :ivar manifests: by backup id.
    """

    store: Store
    descriptors: StoredDescriptors
    listed: dict[str, StoredObject] = field(default_factory=dict)
    needed: dict[str, None] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    damage: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    chain: tuple[str, ...] = ()

    def all_damage(self) -> list[Finding]:
        """Return all that keeps the backup from being restored."""
        return [*dict.fromkeys([*self.descriptors.findings, *self.damage])]

    def at_chain(self, backup_id: str) -> None:
        """Find the chain, and compare its descriptors with each other."""
        self.chain = self.descriptors.chain(backup_id)
        links = {name: link for name in self.chain if (link := self.descriptors.link(name))}
        for found in chain_problems(links, backup_id):
            self.damage.append(Finding(global_key(OperationKind.BACKUP, found.backup_id), found.problem))

    def at_folder(self, name: str) -> None:
        """Compare what lies in a backup's folder with what its descriptors say. Its bases come before it."""
        listed = listed_in(self.store, name)
        self.listed |= listed
        needed = dict.fromkeys(self._descriptor_keys(name))
        for node, descriptor in self.descriptors.nodes(name).items():
            for own in own_objects(node, descriptor):
                needed[own.key] = None
                stored = listed.get(own.key)
                if stored and own.codec and not is_plausible(own.codec, stored.size_bytes, own.file_bytes):
                    self.damage.append(Finding(own.key, f"can't be whole: it has {stored.size_bytes} bytes"))
            needed |= dict.fromkeys(key for _, key in referred_keys(node, descriptor))
            for collection in descriptor.collections:
                if left_out := tenants_left_out(node, collection):
                    told = f"has no data of tenants of {collection.name}: {', '.join(left_out)}"
                    self.warnings.append(Finding(node_key(name, node), told))
        self.needed |= needed
        self.damage += [Finding(key, "is not there") for key in needed if key not in self.listed]
        self._at_others(name, listed.keys() - needed.keys())
        self._at_manifest(name, listed)

    def _descriptor_keys(self, name: str) -> Iterator[str]:
        """Yield where the descriptors of a backup lie that could be read; of others, more is said elsewhere."""
        if told := self.descriptors.told(name):
            if not told.is_single:
                yield global_key(OperationKind.BACKUP, name)
            yield from (node_key(name, node) for node in self.descriptors.nodes(name))

    def _at_others(self, name: str, keys: set[str]) -> None:
        """Look at what lies there and is not needed."""
        told = self.descriptors.told(name)
        ended_well = told is not None and told.status is Status.SUCCESS
        broken = {finding.key for finding in self.descriptors.findings}
        unread_nodes = told.nodes.keys() - self.descriptors.nodes(name).keys() if told else ()
        unread = tuple(f"{node_folder(name, node)}/" for node in unread_nodes)
        for key in sorted(keys - broken) if ended_well else ():
            if is_part_of_backup(key.removeprefix(f"{name}/")) and not key.startswith(unread):
                self.warnings.append(Finding(key, "is in no descriptor"))
        if global_key(OperationKind.RESTORE, name) in keys:
            self._at_restore(global_key(OperationKind.RESTORE, name))

    def _at_restore(self, key: str) -> None:
        """Look at the state of the last restore: no part of the backup, but it can keep it from being restored."""
        content = self.descriptors.content(key)
        try:
            if content is not None and parse_state(key, content).status is Status.CANCELLING:
                swallows = "says CANCELLING: a server would accept every restore and do nothing; delete it"
                self.damage.append(Finding(key, swallows))
        except BrokenDescriptor as error:
            self.warnings.append(Finding(key, f"can't be read. {error.message}"))

    def _at_manifest(self, name: str, listed: dict[str, StoredObject]) -> None:
        """Compare sizes with the checksum manifest, where there is one."""
        key = manifest_key(name)
        if key not in listed or (content := self.descriptors.content(key)) is None:
            return
        try:
            manifest = self.manifests[name] = parse_manifest(key, content)
        except BrokenDescriptor as error:
            self.damage.append(Finding(key, f"can't be read. {error.message}"))
            return
        for below, entry in manifest.objects.items():
            stored = listed.get(f"{name}/{below}")
            if stored is None:
                self.damage.append(Finding(f"{name}/{below}", "is in the manifest, and not there"))
            elif stored.size_bytes != entry.size_bytes:
                told = f"has {stored.size_bytes} bytes, not {entry.size_bytes} as in the manifest"
                self.damage.append(Finding(stored.key, told))
