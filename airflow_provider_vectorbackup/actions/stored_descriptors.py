"""The descriptors of a backup and of its chain, read from storage once each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

from airflow_provider_vectorbackup.backups.chain import Link, chain_of
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.backups.verification import Finding
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor, StorageError
from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.weaviate.descriptors import (
    NODE_NAME,
    GlobalDescriptor,
    global_key,
    node_key,
    parse_global,
    parse_single,
)
from airflow_provider_vectorbackup.weaviate.layout import descriptor_problems, link_of, node_problems, own_objects
from airflow_provider_vectorbackup.weaviate.node_descriptors import NodeDescriptor, parse_node

Descriptor = TypeVar("Descriptor")


class StoredDescriptors:
    """Reads descriptors when they are first asked for.

    ``findings`` are what is wrong with those that were: not there, not to be read, of another backup, not SUCCESS.
    A storage that fails just now is raised (StorageUnreachable), not found: what can't be reached may be fine.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._globals: dict[str, GlobalDescriptor | None] = {}
        self._nodes: dict[tuple[str, str], NodeDescriptor | None] = {}
        self.findings: list[Finding] = []

    def told(self, backup_id: str) -> GlobalDescriptor | None:
        """Return the coordinator's descriptor of a backup, None where it is not there or can't be read."""
        if backup_id not in self._globals:
            self._globals[backup_id] = self._read_global(backup_id)
        return self._globals[backup_id]

    def node(self, backup_id: str, node: str) -> NodeDescriptor | None:
        """Return a node's descriptor, None where it is not there or can't be read."""
        if (backup_id, node) not in self._nodes:
            self._nodes[backup_id, node] = self._read_node(backup_id, node)
        return self._nodes[backup_id, node]

    def nodes(self, backup_id: str) -> dict[str, NodeDescriptor]:
        """Return the descriptors of a backup's nodes, as far as they can be read."""
        told = self.told(backup_id)
        found = {node: self.node(backup_id, node) for node in told.nodes} if told else {}
        return {node: descriptor for node, descriptor in found.items() if descriptor}

    def chain(self, backup_id: str) -> tuple[str, ...]:
        """Return a backup after all of its bases, as all descriptors tell; those that are missing included."""
        return chain_of(backup_id, lambda name: link.bases if (link := self.link(name)) else ())

    def link(self, backup_id: str) -> Link | None:
        """Return what a chain needs to know of a backup, None where its descriptor is not there or can't be read."""
        told = self.told(backup_id)
        if told is None:
            return None
        bases = {base for descriptor in self.nodes(backup_id).values() for base in descriptor.bases}
        return link_of(backup_id, told, bases)

    def content(self, key: str) -> bytes | None:
        """Return what a small object holds, None where it is not there; one that can't be got at is a finding."""
        try:
            return self._store.read(key)
        except StorageError as error:
            if error.retryable:
                raise
            self.findings.append(Finding(key, f"can't be read. {error.message}"))
            return None

    def _read_global(self, backup_id: str) -> GlobalDescriptor | None:
        key, content, parse = find_told(backup_id, self.content)
        told = self._parsed(key, content, parse)
        if told:
            self.findings += [Finding(key, problem) for problem in descriptor_problems(backup_id, told)]
        return told

    def _read_node(self, backup_id: str, node: str) -> NodeDescriptor | None:
        key, told = node_key(backup_id, node), self.told(backup_id)
        found = self._parsed(key, self.content(key), parse_node)
        if found and told:
            self.findings += [Finding(key, problem) for problem in node_problems(told, node, found)]
        return found

    def _parsed(self, key: str, content: bytes | None, parse: Callable[[str, bytes], Descriptor]) -> Descriptor | None:
        if content is None and all(found.key != key for found in self.findings):
            self.findings.append(Finding(key, "is not there"))
        try:
            return parse(key, content) if content is not None else None
        except BrokenDescriptor as error:
            self.findings.append(Finding(key, f"can't be read. {error.message}"))
            return None


def read_told(store: Store, backup_id: str) -> GlobalDescriptor | None:
    """Read the coordinator's descriptor alone, None where it is not there.

    :raises BrokenDescriptor: it is none that this package knows.
    :raises StorageError: it can't be read.
    """
    key, content, parse = find_told(backup_id, store.read)
    return None if content is None else parse(key, content)


def nodes_descriptors(
    backup_id: str, keys: Iterable[str], read: Callable[[str], bytes | None]
) -> Iterator[tuple[str, NodeDescriptor]]:
    """Yield the nodes and their descriptors among the keys in a backup's folder; without those of other backups.

    A descriptor that can't be read, or that is of something else than Weaviate's, is left out.
    """
    for key in keys:
        folder, _, name = key.removeprefix(f"{backup_id}/").rpartition("/")
        if name != NODE_NAME or "/" in folder:
            continue
        with suppress(BrokenDescriptor):
            content = read(key)
            found = parse_node(key, content) if content is not None else None
            if found and found.backup_id == backup_id:
                yield folder, found


def plain_files(backup_id: str, keys: Iterable[str], read: Callable[[str], bytes | None]) -> frozenset[str]:
    """Return the keys of a backup's files that have no looks of their own: those of layouts before 2.0."""
    return frozenset(
        needed.key
        for node, descriptor in nodes_descriptors(backup_id, keys, read)
        if not descriptor.is_chunked
        for needed in own_objects(node, descriptor)
    )


def find_told(
    backup_id: str, read: Callable[[str], bytes | None]
) -> tuple[str, bytes | None, Callable[[str, bytes], GlobalDescriptor]]:
    """Return key, content and parser of the coordinator's descriptor, or of the only one of a backup of 1.15.

    The content is None where there is neither.
    """
    key, single = global_key(OperationKind.BACKUP, backup_id), node_key(backup_id, "")
    content = read(key)
    if content is None and (only := read(single)) is not None:
        return single, only, parse_single
    return key, content, parse_global
