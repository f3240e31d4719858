"""A node's descriptor: the collections, shards and files that a backup holds there, and what lies in its ancestors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.status import Status, parse_status
from airflow_provider_vectorbackup.weaviate.descriptor_fields import DescriptorFields
from airflow_provider_vectorbackup.weaviate.descriptors import codec_of, is_chunked, layout_of
from airflow_provider_vectorbackup.weaviate.stored_schema import (
    ShardingState,
    StoredSchema,
    parse_aliases,
    parse_schema,
    parse_sharding,
)

_CHUNK_NUMBER = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class BigFile:
    """A file that chunks of this backup are named for.

    :param chunk_keys: relative to the node's folder, like ``Article/chunk-3``; several for a file that was split.
    :param modified_at: as written, for comparison with other descriptors.
    """

    chunk_keys: tuple[str, ...]
    size_bytes: int
    modified_at: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A file of a shard that lies in an ancestor.

    :param backup_id: of the backup that holds its bytes.
    :param chunk_keys: there, relative to the folder of the node of the same name.
    """

    backup_id: str
    file: str
    chunk_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard, or tenant, on one node.

    :param files: paths in the server's data directory of the files stored in this backup, big ones included.
    :param big_files: those of ``files`` that chunks are named for: later incrementals may refer to them.
    :param references: those that lie in ancestors.
    """

    name: str
    node: str
    files: tuple[str, ...]
    big_files: Mapping[str, BigFile]
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class StoredCollection:
    """A collection's part on one node.

    :param chunks: number of a chunk -> names of the shards in it.
    :param sharding: None where the descriptor has none, which a restore refuses; likewise ``schema``.
    :param aliases: alias -> collection.
    :param backup_id: under which later incrementals refer to this one; empty below 1.34.18.
    :param pre_compression_bytes: of all files, those in ancestors included; None below 1.32.
    """

    name: str
    shards: tuple[Shard, ...]
    chunks: Mapping[int, tuple[str, ...]]
    sharding: ShardingState | None
    schema: StoredSchema | None
    aliases: Mapping[str, str]
    backup_id: str = ""
    pre_compression_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class NodeDescriptor:
    """A node's descriptor.

    :param base_backup_id: None for a full backup of this node, also where the whole backup is incremental.
    :param users: names of the database users in it, which stand there with hashes of their keys.
    :param roles: names of the roles in it.
    """

    backup_id: str
    status: Status
    layout: str
    server_version: str
    codec: Codec
    collections: tuple[StoredCollection, ...]
    error: str = ""
    started_at: datetime | None = None
    base_backup_id: str | None = None
    pre_compression_bytes: int | None = None
    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()

    @property
    def is_chunked(self) -> bool:
        """Whether files are packed into chunks; before layout 2.0 each is an object."""
        return is_chunked(self.layout)

    @property
    def bases(self) -> frozenset[str]:
        """The backups that this node's part takes files from, or names as its base: the two can differ."""
        found = {ref.backup_id for c in self.collections for shard in c.shards for ref in shard.references}
        return frozenset(found | ({self.base_backup_id} if self.base_backup_id else set()) - {self.backup_id})


def parse_node(key: str, content: bytes) -> NodeDescriptor:
    """Read a node's descriptor, of any layout up to 2.x.

    :raises BrokenDescriptor: it is not JSON, of another shape, or of a later layout.
    """
    fields = DescriptorFields.of(key, content)
    layout = layout_of(fields)
    return NodeDescriptor(
        fields.require_path(fields.name("id")),
        parse_status(fields.text("status")),
        layout,
        fields.text("serverVersion"),
        codec_of(fields, layout),
        tuple(_collection(entry) for entry in fields.objects("classes")),
        error=fields.text("error"),
        started_at=fields.time("startedAt"),
        base_backup_id=fields.path_of("baseBackupId") or None,
        pre_compression_bytes=fields.number("preCompressionSizeBytes"),
        users=_users(fields.encoded("userBackups")),
        roles=_roles(fields.encoded("rbacBackups")),
    )


def _collection(fields: DescriptorFields) -> StoredCollection:
    chunks = fields.inner("chunks")
    return StoredCollection(
        fields.require_path(fields.name("name")),
        tuple(_shard(shard) for shard in fields.objects("shards")),
        {_chunk_number(fields, number): chunks.texts(number) for number in chunks.values},
        parse_sharding(fields.encoded_object("shardingState")),
        parse_schema(fields.encoded_object("schema")),
        parse_aliases(fields),
        backup_id=fields.text("backupId"),
        pre_compression_bytes=fields.number("preCompressionSizeBytes"),
    )


def _chunk_number(fields: DescriptorFields, text: str) -> int:
    if not _CHUNK_NUMBER.fullmatch(text):
        raise fields.broken("chunks", f"has {text!r} where a chunk's number belongs")
    return int(text)


def _shard(fields: DescriptorFields) -> Shard:
    big = {name: _big_file(entry) for name, entry in fields.named_objects("bigFilesChunk")}
    references = tuple(
        Reference(entry.require_path(backup_id), entry.name("file"), entry.paths("chunkKeys"))
        for backup_id, entries in fields.inner("incrementalBackupInfo").lists("filesPerBackup")
        for entry in entries
    )
    return Shard(fields.name("name"), fields.text("node"), fields.paths("files"), big, references)


def _big_file(fields: DescriptorFields) -> BigFile:
    return BigFile(fields.paths("chunkKeys"), fields.number("size") or 0, fields.text("modifiedAt"))


def _users(snapshot: Any) -> tuple[str, ...]:
    """Return the names in a snapshot of users; it is the server's own affair, and may look otherwise one day."""
    data = snapshot.get("Data") if isinstance(snapshot, dict) else None
    hashes = data.get("SecureKeyStorageById") if isinstance(data, dict) else None
    return tuple(sorted(hashes)) if isinstance(hashes, dict) else ()


def _roles(snapshot: Any) -> tuple[str, ...]:
    """Return the names in a snapshot of roles: the first of each policy, after ``role:``."""
    policies = snapshot.get("roles_policies") if isinstance(snapshot, dict) else None
    listed = policies if isinstance(policies, list) else ()
    firsts = {str(policy[0]) for policy in listed if isinstance(policy, list) and policy}
    return tuple(sorted(name.removeprefix("role:") for name in firsts))
