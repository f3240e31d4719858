"""Weaviate's own files in storage, as far as they tell the state of an operation."""

from __future__ import annotations

import json
from dataclasses import dataclass

from airflow_provider_vectorbackup.backups.status import OperationKind, Status, parse_status
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor

_NAME_OF = {OperationKind.BACKUP: "backup_config.json", OperationKind.RESTORE: "restore_config.json"}


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


def global_key(kind: OperationKind, backup_id: str) -> str:
    """Return the key of the coordinator's descriptor of a backup or of its last restore."""
    return f"{backup_id}/{_NAME_OF[kind]}"


def node_key(backup_id: str, node: str) -> str:
    """Return the key of a node's descriptor."""
    return f"{backup_id}/{node}/backup.json"


def parse_state(key: str, content: bytes) -> StoredState:
    """Read the state in a global or node descriptor.

    :raises BrokenDescriptor: it is not JSON, or of another shape.
    """
    try:
        fields = json.loads(content)
        status, error, started_at = (fields.get(name) or "" for name in ("status", "error", "startedAt"))
        return StoredState(parse_status(status), error, started_at, tuple(sorted(fields.get("nodes") or {})))
    except (ValueError, AttributeError, TypeError) as error_in_content:
        raise BrokenDescriptor(f"The descriptor {key} can't be read: {error_in_content}.") from error_in_content
