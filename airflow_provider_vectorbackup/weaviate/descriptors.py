"""Weaviate's own files in storage: their keys, and the coordinator's descriptor of a backup or of its last restore.

The nodes' descriptors are read in ``node_descriptors``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.status import OperationKind, Status, parse_status
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor
from airflow_provider_vectorbackup.weaviate.descriptor_fields import DescriptorFields

GLOBAL_NAME = "backup_config.json"
NODE_NAME = "backup.json"
RESTORE_NAME = "restore_config.json"

_NAME_OF = {OperationKind.BACKUP: GLOBAL_NAME, OperationKind.RESTORE: RESTORE_NAME}
_LAYOUT = re.compile(r"([0-9]{1,9})\.[0-9]{1,9}")
_NEWEST_MAJOR = 2


@dataclass(frozen=True, slots=True)
class StoredState:
    """What a descriptor says of its operation.

    :param started_at: as written there, to the nanosecond: each restore has its own.
    :param nodes: the nodes that take part; empty in a node's own descriptor.
    """

    status: Status
    error: str
    started_at: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeShare:
    """What the coordinator knows of a node's part.

    :param status: UNKNOWN until the end.
    """

    collections: tuple[str, ...]
    status: Status = Status.UNKNOWN
    error: str = ""
    pre_compression_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class GlobalDescriptor:
    """The coordinator's descriptor. Times are UTC; sizes None where the server was too old to tell.

    :param layout: the version of the format: 1.0, 2.0 or 2.1.
    :param leader: the node from whose descriptor a restore takes schema, users and roles; empty before layout 2.1.
    :param users: those that were chosen by name; likewise ``roles``.
    :param is_single: whether this is the only descriptor of a backup of 1.15, which has none of a coordinator.
    """

    backup_id: str
    status: Status
    layout: str
    server_version: str
    nodes: Mapping[str, NodeShare]
    codec: Codec
    error: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    leader: str = ""
    base_backup_id: str | None = None
    pre_compression_bytes: int | None = None
    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    is_single: bool = False

    @property
    def collections(self) -> tuple[str, ...]:
        """The names of all collections, sorted."""
        return tuple(sorted({name for share in self.nodes.values() for name in share.collections}))

    @property
    def is_chunked(self) -> bool:
        """Whether files are packed into chunks; before layout 2.0 each is an object."""
        return is_chunked(self.layout)


def global_key(kind: OperationKind, backup_id: str) -> str:
    """Return the key of the coordinator's descriptor of a backup or of its last restore."""
    return f"{backup_id}/{_NAME_OF[kind]}"


def node_key(backup_id: str, node: str) -> str:
    """Return the key of a node's descriptor; without a node's name, of the only descriptor of a backup of 1.15."""
    return f"{backup_id}/{node}/{NODE_NAME}" if node else f"{backup_id}/{NODE_NAME}"


def parse_state(key: str, content: bytes) -> StoredState:
    """Read the state in a global or node descriptor.

    :raises BrokenDescriptor: it is not JSON, or of another shape.
    """
    fields = DescriptorFields.of(key, content)
    status, nodes = parse_status(fields.text("status")), tuple(sorted(fields.inner("nodes").values))
    return StoredState(status, fields.text("error"), fields.text("startedAt"), nodes)


def parse_global(key: str, content: bytes) -> GlobalDescriptor:
    """Read the coordinator's descriptor of a backup, of any layout up to 2.x.

    :raises BrokenDescriptor: it is not JSON, of another shape, or of a later layout.
    """
    fields = DescriptorFields.of(key, content)
    layout = layout_of(fields)
    return GlobalDescriptor(
        fields.require_path(fields.name("id")),
        parse_status(fields.text("status")),
        layout,
        fields.text("serverVersion"),
        {fields.require_path(name): _share(node) for name, node in fields.named_objects("nodes")},
        codec_of(fields, layout),
        error=fields.text("error"),
        started_at=fields.time("startedAt"),
        completed_at=fields.time("completedAt"),
        leader=fields.text("leader"),
        base_backup_id=fields.path_of("baseBackupId") or None,
        pre_compression_bytes=fields.number("preCompressionSizeBytes"),
        users=fields.texts("users"),
        roles=fields.texts("roles"),
    )


def parse_single(key: str, content: bytes) -> GlobalDescriptor:
    """Read the only descriptor of a backup of 1.15 as if a coordinator had written it, with one node without a name.

    :raises BrokenDescriptor: it is not JSON, of another shape, or of a later layout.
    """
    fields = DescriptorFields.of(key, content)
    names = tuple(collection.name("name") for collection in fields.objects("classes"))
    status, layout = parse_status(fields.text("status")), layout_of(fields)
    return GlobalDescriptor(
        fields.require_path(fields.name("id")),
        status,
        layout,
        fields.text("serverVersion"),
        {"": NodeShare(names, status)},
        codec_of(fields, layout),
        error=fields.text("error"),
        started_at=fields.time("startedAt"),
        completed_at=fields.time("completedAt"),
        is_single=True,
    )


def layout_of(fields: DescriptorFields) -> str:
    """Return a descriptor's layout version.

    :raises BrokenDescriptor: there is none, or it is of a later major version.
    """
    layout = fields.name("version")
    found = _LAYOUT.fullmatch(layout)
    if not found or int(found[1]) > _NEWEST_MAJOR:
        raise BrokenDescriptor(
            f"The descriptor {fields.key} is of layout version {layout!r}, which this package does not know.",
            hint="Update airflow-provider-vectorbackup." if found else "",
        )
    return layout


def is_chunked(layout: str) -> bool:
    """Whether a layout packs files into chunks."""
    return not layout.startswith(("0.", "1."))


def codec_of(fields: DescriptorFields, layout: str) -> Codec:
    """Return how a descriptor's chunks are compressed; plain files of old layouts are not."""
    text = fields.text("compressionType")
    if not text:
        return Codec.GZIP if is_chunked(layout) else Codec.NONE
    try:
        return Codec(text)
    except ValueError:
        raise fields.broken("compressionType", f"is {text!r}, which this package does not know") from None


def _share(fields: DescriptorFields) -> NodeShare:
    return NodeShare(
        fields.paths("classes"),
        parse_status(fields.text("status")),
        fields.text("error"),
        fields.number("preCompressionSizeBytes"),
    )
