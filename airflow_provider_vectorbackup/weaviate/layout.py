"""Where a backup's objects lie, as its descriptors tell."""

from __future__ import annotations

import re
from collections.abc import Iterator

from airflow_provider_vectorbackup.weaviate.descriptors import (
    GLOBAL_NAME,
    NODE_NAME,
    RESTORE_NAME,
    GlobalDescriptor,
)
from airflow_provider_vectorbackup.weaviate.node_descriptors import NodeDescriptor, StoredCollection

OWN_FOLDER = "_vectorbackup"
"""In a backup's folder, where this package's own files lie; Weaviate does not look there."""

_FOREIGN_TO_BACKUP = re.compile(
    rf"{re.escape(RESTORE_NAME)}|{OWN_FOLDER}/.+|(?:[^/]+/)?access-check[^/]*|(?:[^/]+/){{1,2}}[^/]+\.tmp"
)
_WRITTEN_BY_WEAVIATE = re.compile(
    rf"{re.escape(GLOBAL_NAME)}|{re.escape(RESTORE_NAME)}|(?:[^/]+/)?{re.escape(NODE_NAME)}"
    r"|[^/]+/[^/]+/chunk-\d+(?:\.tmp)?|(?:[^/]+/)?access-check[^/]*"
)


def node_folder(backup_id: str, node: str) -> str:
    """Return the folder of a node's files; a backup of 1.15 has none."""
    return f"{backup_id}/{node}" if node else backup_id


def own_keys(backup_id: str, node: str, collection: StoredCollection, *, is_chunked: bool) -> Iterator[str]:
    """Yield the keys of the objects that hold a collection's part on a node, in this backup itself."""
    folder = node_folder(backup_id, node)
    if is_chunked:
        yield from (f"{folder}/{chunk_name(collection, number)}" for number in sorted(collection.chunks))
    else:
        yield from (f"{folder}/{file}" for shard in collection.shards for file in shard.files)


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


def is_part_of_backup(rest: str) -> bool:
    """Whether a key below a backup's folder can be a part of the backup.

    Not: the state of its last restore, this package's own files, and what a crash of the server leaves.
    """
    return not _FOREIGN_TO_BACKUP.fullmatch(rest)


def is_written_by_weaviate(rest: str) -> bool:
    """Whether a key below a folder looks like one that Weaviate wrote there for a backup, with or without a descriptor.

    Plain files of layout 1.0 have no looks of their own.
    """
    return _WRITTEN_BY_WEAVIATE.fullmatch(rest) is not None


def descriptor_problems(backup_id: str, told: GlobalDescriptor) -> list[str]:
    """Return what in the coordinator's descriptor keeps a backup from being restored, in words."""
    problems = []
    if told.backup_id != backup_id:
        problems.append(f"is of another backup, {told.backup_id!r}")
    if told.status != "SUCCESS":
        problems.append(f"says {told.status}{f' ({told.error})' if told.error else ''}")
    elif told.error:
        problems.append(f"has an error: {told.error}")
    if not told.nodes:
        problems.append("names no nodes")
    if told.leader and told.leader not in told.nodes:
        problems.append(f"names a leader, {told.leader!r}, that is none of its nodes")
    return problems


def node_problems(told: GlobalDescriptor, node: str, found: NodeDescriptor) -> list[str]:
    """Return what in a node's descriptor keeps a backup from being restored whole, in words."""
    problems = []
    if found.backup_id != told.backup_id:
        problems.append(f"is of another backup, {found.backup_id!r}")
    if found.status != "SUCCESS":
        problems.append(f"says {found.status}{f' ({found.error})' if found.error else ''}")
    elif found.error:
        problems.append(f"has an error: {found.error}")
    if found.codec is not told.codec:
        problems.append(f"is compressed by {found.codec}, the backup by {told.codec}")
    missing = sorted(set(told.nodes[node].collections) - {collection.name for collection in found.collections})
    if missing:
        problems.append(f"lacks collections: {', '.join(missing)}")
    for collection in found.collections:
        problems += _collection_problems(node, collection, is_chunked=found.is_chunked)
    return problems


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
    """Return the tenants of a node whose data is not in the backup: offloaded ones, and inactive ones of old servers."""
    held = {shard.name for shard in collection.shards}
    placed = collection.sharding.places if collection.sharding else {}
    return tuple(sorted(n for n, place in placed.items() if node in place.nodes and place.activity and n not in held))
