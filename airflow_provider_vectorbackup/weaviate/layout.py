"""Where a backup's objects lie, as its descriptors tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from airflow_provider_vectorbackup.backups.chain import Link
from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.weaviate.descriptors import (
    GLOBAL_NAME,
    NODE_NAME,
    RESTORE_NAME,
    GlobalDescriptor,
)
from airflow_provider_vectorbackup.weaviate.node_descriptors import NodeDescriptor, StoredCollection

_SHOWN = 200
"""Of the server's reason, which may hold the whole request to its storage."""

OWN_FOLDER = "_vectorbackup"
"""In a backup's folder, where this package's own files lie; Weaviate does not look there."""

_ACCESS_CHECK = re.compile(r"(?:[^/]+/)?access-check[^/]*")
_NO_PART = re.compile(rf"{re.escape(RESTORE_NAME)}|{OWN_FOLDER}/.+|{_ACCESS_CHECK.pattern}|.+/chunk-\d+\.tmp")
_WRITTEN_BY_WEAVIATE = re.compile(
    rf"{re.escape(GLOBAL_NAME)}|{re.escape(RESTORE_NAME)}|(?:[^/]+/)?{re.escape(NODE_NAME)}"
    rf"|[^/]+/[^/]+/chunk-\d+(?:\.tmp)?|{_ACCESS_CHECK.pattern}"
)


def node_folder(backup_id: str, node: str) -> str:
    """Return the folder of a node's files; a backup of 1.15 has none."""
    return f"{backup_id}/{node}" if node else backup_id


@dataclass(frozen=True, slots=True)
class NeededObject:
    """An object that a backup needs.

    :param codec: None for what is no chunk: a file of layout 1.0.
    :param file_bytes: of a file that is wholly in a chunk, where the descriptor tells.
    """

    key: str
    codec: Codec | None = None
    file_bytes: int = 0


def own_objects(node: str, descriptor: NodeDescriptor) -> Iterator[NeededObject]:
    """Yield the objects in this backup itself that hold its part on a node; the descriptors aside."""
    folder = node_folder(descriptor.backup_id, node)
    for collection in descriptor.collections:
        if not descriptor.is_chunked:
            files = (file for shard in collection.shards for file in shard.files)
            yield from (NeededObject(f"{folder}/{file}") for file in files)
            continue
        big = (file for shard in collection.shards for file in shard.big_files.values() if len(file.chunk_keys) == 1)
        file_bytes = {file.chunk_keys[0]: file.size_bytes for file in big}
        for number in sorted(collection.chunks):
            name = chunk_name(collection, number)
            yield NeededObject(f"{folder}/{name}", descriptor.codec, file_bytes.get(name, 0))


def referred_keys(node: str, descriptor: NodeDescriptor) -> Iterator[tuple[str, str]]:
    """Yield the ancestors that a node's part takes files from, each with the key of a chunk there; keys may repeat.

    They lie in the same location, under the same node's name.
    """
    for collection in descriptor.collections:
        for shard in collection.shards:
            for reference in shard.references:
                for chunk in reference.chunk_keys:
                    yield reference.backup_id, f"{node_folder(reference.backup_id, node)}/{chunk}"


def chunk_name(collection: StoredCollection, number: int) -> str:
    """Return a chunk's key in its node's folder, as descriptors name chunks of big files."""
    return f"{collection.name}/chunk-{number}"


def link_of(backup_id: str, told: GlobalDescriptor, bases: Collection[str] = ()) -> Link:
    """Return what a chain needs to know of a backup.

    :param bases: those that the descriptors of its nodes name, or say that files lie in.
    """
    direct = frozenset(base for base in (*bases, told.base_backup_id) if base and base != backup_id)
    return Link(backup_id, told.status, told.codec, told.started_at, direct)


def is_part_of_backup(rest: str) -> bool:
    """Whether a key below a backup's folder can be a part of the backup.

    Not: the state of its last restore, this package's own files, and what a crash of the server leaves.
    """
    return not _NO_PART.fullmatch(rest)


def deletion_ranks(
    keys: Iterable[str], files: Collection[str], *, data_first: bool = False
) -> tuple[list[str], list[str], list[str]]:
    """Return of the keys in a backup's folder those that belong to the backup, in the order of their deletion.

    The nodes' descriptors go first: a server that begins to build on the backup in this moment must not find them, or
    it would take chunks for granted that are gone. This package's own files go last. Only of layouts before 2.0, on
    which nothing builds, the descriptors follow the files: these have no looks of their own.

    :param files: keys that have no looks of their own, and that descriptors name.
    :param data_first: whether the descriptors go last in any case, since without them nothing would tell what is left.
    """
    descriptors, data, own = list[str](), list[str](), list[str]()
    for key in sorted(keys):
        rest = key.partition("/")[2]
        if rest.startswith(f"{OWN_FOLDER}/"):
            own.append(key)
        elif key in files or is_written_by_weaviate(rest):
            (descriptors if rest.rpartition("/")[2] == NODE_NAME else data).append(key)
    if data_first:
        return data, own, descriptors
    return (data, descriptors, own) if files else (descriptors, data, own)


def is_access_check(rest: str) -> bool:
    """Whether a key below a folder is one that the server writes and deletes to see whether it may."""
    return _ACCESS_CHECK.fullmatch(rest) is not None


def is_written_by_weaviate(rest: str) -> bool:
    """Whether a key below a folder looks like one that Weaviate wrote there for a backup, with or without a descriptor.

    Plain files of layout 1.0 have no looks of their own.
    """
    return _WRITTEN_BY_WEAVIATE.fullmatch(rest) is not None


def descriptor_problems(backup_id: str, told: GlobalDescriptor) -> list[str]:
    """Return what in the coordinator's descriptor keeps a backup from being restored, in words."""
    problems = _state_problems(backup_id, told)
    if told.status is not Status.SUCCESS:
        return problems
    if not told.nodes:
        problems.append("names no nodes")
    if told.leader and told.leader not in told.nodes:
        problems.append(f"names a leader, {told.leader!r}, that is none of its nodes")
    counted = [share.pre_compression_bytes for share in told.nodes.values()]
    return problems + _sum_problems(told.pre_compression_bytes, counted, "its nodes")


def node_problems(told: GlobalDescriptor, node: str, found: NodeDescriptor) -> list[str]:
    """Return what in a node's descriptor keeps a backup from being restored whole, in words."""
    problems = _state_problems(told.backup_id, found)
    if found.status is not Status.SUCCESS or told.status is not Status.SUCCESS:
        return problems
    share = told.nodes[node]
    owners = {shard.node for collection in found.collections for shard in collection.shards}
    if node and (others := sorted(owners - {node})):
        problems.append(f"is of another node: {', '.join(others)}")
    if found.codec is not told.codec:
        problems.append(f"is compressed by {found.codec}, the backup by {told.codec}")
    if missing := sorted(set(share.collections) - {collection.name for collection in found.collections}):
        problems.append(f"lacks collections: {', '.join(missing)}")
    if share.pre_compression_bytes != found.pre_compression_bytes:
        problems.append(f"counts {found.pre_compression_bytes} bytes, the backup's {share.pre_compression_bytes}")
    for collection in found.collections:
        problems += _collection_problems(node, collection, is_chunked=found.is_chunked)
    counted = [collection.pre_compression_bytes for collection in found.collections]
    return problems + _sum_problems(found.pre_compression_bytes, counted, "its collections")


def _state_problems(backup_id: str, found: GlobalDescriptor | NodeDescriptor) -> list[str]:
    reason = f": {found.error[:_SHOWN]}" if found.error else ""
    problems = [] if found.backup_id == backup_id else [f"is of another backup, {found.backup_id!r}"]
    if found.status is not Status.SUCCESS or reason:
        problems.append(f"says {found.status}{reason}")
    return problems


def _sum_problems(told: int | None, counted: Sequence[int | None], what: str) -> list[str]:
    """Compare a sum with what it is of; servers that count (since 1.32) write equal ones."""
    known = [count for count in counted if count is not None]
    if told is None or len(known) < len(counted) or sum(known) == told:
        return []
    return [f"counts {told} bytes, and {sum(known)} in {what}"]


def _collection_problems(node: str, collection: StoredCollection, *, is_chunked: bool) -> Iterator[str]:
    if collection.schema is None or collection.sharding is None:
        yield f"has no schema or sharding state of {collection.name}"
        return
    if is_chunked and collection.shards and not collection.chunks:
        yield f"names no chunks of {collection.name}"
    held = {shard.name for shard in collection.shards}
    if unnamed := sorted({name for names in collection.chunks.values() for name in names} - held):
        yield f"names chunks of shards of {collection.name} that it does not list: {', '.join(unnamed)}"
    placed = collection.sharding.places
    if absent := sorted(
        n for n, place in placed.items() if node in place.nodes and not place.activity and n not in held
    ):
        yield f"lacks shards of {collection.name} that belong to the node: {', '.join(absent)}"


def tenants_left_out(node: str, collection: StoredCollection) -> tuple[str, ...]:
    """Return a node's tenants whose data is not in the backup: offloaded ones, and inactive ones of old servers."""
    held = {shard.name for shard in collection.shards}
    placed = collection.sharding.places if collection.sharding else {}
    return tuple(sorted(n for n, place in placed.items() if node in place.nodes and place.activity and n not in held))
