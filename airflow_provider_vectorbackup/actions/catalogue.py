"""Read from storage alone what a location holds."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from functools import partial

from airflow_provider_vectorbackup.actions.folders import Folder, digest_of, list_folders
from airflow_provider_vectorbackup.backups.catalogue import (
    Catalogue,
    CatalogueEntry,
    Leftover,
    LeftoverKind,
    newest_first,
)
from airflow_provider_vectorbackup.backups.chain import Link, chain_in, chain_problems
from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor, StorageError
from airflow_provider_vectorbackup.storage.store import CONNECTIONS, Store, StoredObject
from airflow_provider_vectorbackup.transfer.threads import in_threads
from airflow_provider_vectorbackup.weaviate.descriptors import (
    GLOBAL_NAME,
    GlobalDescriptor,
    node_key,
    parse_global,
    parse_single,
)
from airflow_provider_vectorbackup.weaviate.layout import descriptor_problems, link_of, node_problems, referred_keys
from airflow_provider_vectorbackup.weaviate.node_descriptors import parse_node


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the catalogue keeps of a node's descriptor.

    :param taken: ancestor -> digests of the keys of the objects there that the node's files lie in.
    """

    bases: frozenset[str]
    problems: tuple[str, ...]
    taken: Mapping[str, array[int]]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A descriptor that is there and can't be read."""

    reason: str


Facts = GlobalDescriptor | NodeFacts | Unreadable
Parse = Callable[[str, bytes], Facts]
DescriptorCache = MutableMapping[str, tuple[str, Facts]]
"""Key of a descriptor -> its ETag, and what was read there. The caller keeps it from one call to the next."""


@dataclass(slots=True)
class _Backup:
    """A backup while its parts come together."""

    folder: Folder
    told: GlobalDescriptor | Unreadable
    nodes: dict[str, NodeFacts | Unreadable] = field(default_factory=dict)

    @property
    def link(self) -> Link | None:
        if isinstance(self.told, Unreadable):
            return None
        bases = {base for facts in self.nodes.values() if isinstance(facts, NodeFacts) for base in facts.bases}
        return link_of(self.folder.name, self.told, bases)


def read_catalogue(
    store: Store, cache: DescriptorCache | None = None, *, with_uploads: bool = True, threads: int = CONNECTIONS
) -> Catalogue:
    """Read what a location holds: one listing, one read a backup, and one more a node of an incremental one.

    A descriptor that can't be read is a problem of its backup, and hides nothing else.

    :param cache: of an earlier call: descriptors with the same ETag are not read again. It is brought up to date.
    :param with_uploads: whether unfinished uploads are asked for, which takes a permission of its own.
    :raises StorageError: the location can't be listed.
    :raises StorageUnreachable: the storage fails just now, so that what could not be read may be fine.
    """
    folders, leftovers = list_folders(store)
    reader = _Reader(store, {} if cache is None else cache, threads)
    backups = _with_descriptors(folders, reader)
    _add_nodes(backups, reader)
    reader.forget_others()
    links = {name: link for name, backup in backups.items() if (link := backup.link)}
    entries = newest_first(_entry(backup, links, folders) for backup in backups.values())
    for folder in folders.values():
        leftovers += folder.leftovers()
    if with_uploads:
        leftovers += _uploads(store)
    return Catalogue(entries, tuple(leftovers))


class _Reader:
    """Reads descriptors side by side, those in the cache not at all."""

    def __init__(self, store: Store, cache: DescriptorCache, threads: int) -> None:
        self._store = store
        self._cache = cache
        self._threads = threads
        self._used: set[str] = set()

    def read(self, wanted: Iterable[tuple[StoredObject, Parse]]) -> Iterator[Facts]:
        """Yield what stands in each of these descriptors, in their order."""
        return in_threads(lambda item: self._read_one(*item), wanted, self._threads)

    def forget_others(self) -> None:
        """Take out of the cache what was not asked for."""
        for key in self._cache.keys() - self._used:
            del self._cache[key]

    def _read_one(self, stored: StoredObject, parse: Parse) -> Facts:
        self._used.add(stored.key)
        etag, facts = self._cache.get(stored.key, ("", None))
        if facts is not None and etag == stored.etag:
            return facts
        try:
            content = self._store.read(stored.key)
        except StorageError as error:
            # One object may be archived or forbidden; a storage that is away is no property of a backup.
            if error.retryable:
                raise
            return Unreadable(error.message)
        if content is None:
            return Unreadable(f"{stored.key} was deleted meanwhile")
        try:
            facts = parse(stored.key, content)
        except BrokenDescriptor as error:
            facts = Unreadable(error.message)
        self._cache[stored.key] = (stored.etag, facts)
        return facts


def _with_descriptors(folders: Mapping[str, Folder], reader: _Reader) -> dict[str, _Backup]:
    """Return the backups that have a coordinator's descriptor."""
    found = {name: stored for name, folder in folders.items() if (stored := folder.descriptor)}
    wanted = ((stored, parse_global if stored.key.endswith(GLOBAL_NAME) else parse_single) for stored in found.values())
    return {
        name: _Backup(folders[name], told)
        for name, told in zip(found, reader.read(wanted), strict=True)
        if isinstance(told, GlobalDescriptor | Unreadable)
    }


def _add_nodes(backups: Mapping[str, _Backup], reader: _Reader) -> None:
    """Read the nodes' descriptors of incremental backups: where their files lie stands there alone."""
    wanted = [
        # What is kept of it was also compared with the coordinator's, and holds as long as both are as they were.
        (backup, backup.told, node, replace(stored, etag=f"{coordinators.etag} {stored.etag}"))
        for backup in backups.values()
        if isinstance(backup.told, GlobalDescriptor) and backup.told.base_backup_id
        if (coordinators := backup.folder.descriptor)
        for node in backup.told.nodes
        if (stored := backup.folder.descriptors.get(_below(node)))
    ]
    facts = reader.read((stored, partial(_node_facts, told, node)) for _, told, node, stored in wanted)
    for (backup, _, node, _), found in zip(wanted, facts, strict=True):
        if isinstance(found, NodeFacts | Unreadable):
            backup.nodes[node] = found


def _node_facts(told: GlobalDescriptor, node: str, key: str, content: bytes) -> NodeFacts:
    descriptor = parse_node(key, content)
    taken: dict[str, array[int]] = {}
    for backup_id, referred in referred_keys(node, descriptor):
        taken.setdefault(backup_id, array("Q")).append(digest_of(referred))
    problems = (f"{key} {problem}" for problem in node_problems(told, node, descriptor))
    return NodeFacts(descriptor.bases, tuple(problems), taken)


def _entry(backup: _Backup, links: Mapping[str, Link], folders: Mapping[str, Folder]) -> CatalogueEntry:
    folder, told = backup.folder, backup.told
    if folder.modified_at is None:
        raise AssertionError("a folder without objects has no descriptor")
    problems = tuple(_problems(backup))
    counted = (folder.name, problems, folder.objects, folder.stored_bytes, folder.modified_at, folder.has_own_files)
    if isinstance(told, Unreadable):
        unknown = ("its bases are not known",)
        return CatalogueEntry(*counted, chain=(folder.name,), chain_problems=unknown, unreadable=(told.reason,))
    taken = _missing_in_ancestors(backup, folders)
    return CatalogueEntry(
        *counted,
        status=told.status,
        chain=chain_in(links, folder.name),
        chain_problems=(*map(str, chain_problems(links, folder.name)), *taken),
        started_at=told.started_at,
        completed_at=told.completed_at,
        pre_compression_bytes=told.pre_compression_bytes,
        collections=told.collections,
        nodes=tuple(sorted(told.nodes)),
        server_version=told.server_version,
        layout=told.layout,
        codec=told.codec,
        base_backup_id=told.base_backup_id,
        bases=links[folder.name].bases,
        unreadable=tuple(facts.reason for facts in backup.nodes.values() if isinstance(facts, Unreadable)),
    )


def _problems(backup: _Backup) -> Iterator[str]:
    told = backup.told
    if isinstance(told, Unreadable):
        yield told.reason
        return
    yield from (f"its descriptor {problem}" for problem in descriptor_problems(backup.folder.name, told))
    if told.status is not Status.SUCCESS:
        return
    for node in told.nodes:
        if _below(node) not in backup.folder.descriptors:
            yield f"{node_key(backup.folder.name, node)} is not there"
    for facts in backup.nodes.values():
        yield from facts.problems if isinstance(facts, NodeFacts) else (facts.reason,)


def _missing_in_ancestors(backup: _Backup, folders: Mapping[str, Folder]) -> Iterator[str]:
    """Yield how many objects that the backup takes from each of its ancestors are not there."""
    taken: dict[str, set[int]] = {}
    for facts in backup.nodes.values():
        for ancestor, digests in facts.taken.items() if isinstance(facts, NodeFacts) else ():
            taken.setdefault(ancestor, set()).update(digests)
    for ancestor, wanted in sorted(taken.items()):
        missing = folders[ancestor].count_missing(wanted) if ancestor in folders else len(wanted)
        if missing:
            yield f"{missing} of {len(wanted)} objects that it takes from {ancestor} are not there"


def _below(node: str) -> str:
    """Return the key of a node's descriptor below its backup's folder."""
    return node_key("", node).removeprefix("/")


def _uploads(store: Store) -> Iterator[Leftover]:
    for upload in store.list_unfinished_uploads():
        yield Leftover(LeftoverKind.UNFINISHED_UPLOAD, upload.key, 0, upload.started_at)
