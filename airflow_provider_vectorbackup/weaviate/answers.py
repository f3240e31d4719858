"""Parsers: a decoded JSON answer in, a typed value out. A shape that is not of this API is an ``UnexpectedAnswer``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_vectorbackup.backups.bases import ListedBackup
from airflow_provider_vectorbackup.backups.status import OperationKind, OperationStatus, parse_status
from airflow_provider_vectorbackup.exceptions import UnexpectedAnswer

_GIB = 2**30
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a create or restore request that the server took on."""

    server_path: str
    bucket: str | None
    collections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Meta:
    """The server's version (as text) and its enabled modules, each with its settings."""

    version: str
    modules: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster; ``status`` is HEALTHY, or what keeps it from being so."""

    name: str
    status: str
    version: str


@dataclass(frozen=True, slots=True)
class CollectionSchema:
    """What the schema says of a collection, as far as backups are concerned."""

    name: str
    is_multi_tenant: bool


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant; ``activity`` is HOT, COLD, FROZEN, or a transition between these."""

    name: str
    activity: str

    @property
    def is_active(self) -> bool:
        """Whether its data is loaded."""
        return self.activity == "HOT"


_ACTIVITY = {"ACTIVE": "HOT", "INACTIVE": "COLD", "OFFLOADED": "FROZEN"}


def parse_accepted(data: Any) -> Accepted:
    """Read the answer to a create or restore POST. Without a status nothing was started."""
    fields = object_of(data)
    if not fields.get("status"):
        raise UnexpectedAnswer("The server accepted the request without naming a status.", may_have_started=True)
    names = _strings(fields.get("classes"))
    return Accepted(text_of(fields, "path"), fields.get("bucket") or None, tuple(sorted(names)))


def parse_backup_status(data: Any) -> OperationStatus:
    """Read the status of a backup."""
    return _status(OperationKind.BACKUP, data)


def parse_restore_status(data: Any) -> OperationStatus:
    """Read the status of a restore."""
    return _status(OperationKind.RESTORE, data)


def parse_list(data: Any) -> tuple[ListedBackup, ...]:
    """Read the list of backups, in the server's order."""
    return tuple(_listed(object_of(entry)) for entry in array_of(data))


def parse_meta(data: Any) -> Meta:
    """Read the server's description of itself."""
    fields = object_of(data)
    modules = fields.get("modules") or {}
    return Meta(
        text_of(fields, "version"), {name: object_of(value or {}) for name, value in object_of(modules).items()}
    )


def parse_nodes(data: Any) -> tuple[Node, ...]:
    """Read the nodes of the cluster."""
    nodes = [object_of(entry) for entry in array_of(object_of(data).get("nodes"))]
    return tuple(Node(text_of(n, "name"), text_of(n, "status"), text_of(n, "version")) for n in nodes)


def parse_schema(data: Any) -> tuple[CollectionSchema, ...]:
    """Read the collections of the schema."""
    entries = [object_of(entry) for entry in array_of(object_of(data).get("classes") or [])]
    return tuple(
        CollectionSchema(text_of(entry, "class"), bool(object_of(entry.get("multiTenancyConfig") or {}).get("enabled")))
        for entry in entries
    )


def parse_tenants(data: Any) -> tuple[Tenant, ...]:
    """Read the tenants of a collection; both spellings of their activity are known."""
    entries = [object_of(entry) for entry in array_of(data)]
    activities = [(text_of(e, "name"), text_of(e, "activityStatus") or "HOT") for e in entries]
    return tuple(Tenant(name, _ACTIVITY.get(activity, activity)) for name, activity in activities)


def parse_aliases(data: Any) -> tuple[str, ...]:
    """Read the names of the aliases."""
    return tuple(text_of(object_of(entry), "alias") for entry in array_of(object_of(data).get("aliases") or []))


def parse_nothing(data: Any) -> None:
    """Take an answer of which only the status code matters."""


def parse_time(text: Any) -> datetime | None:
    """Read an RFC 3339 time; the server's zero time (year 1) and an absent one are None."""
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise UnexpectedAnswer(f"The server sent {text!r} where a time belongs.") from error
    return None if time.year == 1 else time.astimezone(UTC)


def _status(kind: OperationKind, data: Any) -> OperationStatus:
    fields = object_of(data)
    if "status" not in fields:
        raise UnexpectedAnswer("The server answered a status request without a status.")
    return OperationStatus(
        kind,
        parse_status(text_of(fields, "status")),
        error=text_of(fields, "error"),
        server_path=text_of(fields, "path"),
        started_at=parse_time(fields.get("startedAt")),
        completed_at=parse_time(fields.get("completedAt")),
        pre_compression_bytes=_bytes_of(fields),
        base_backup_id=fields.get("incremental_base_backup_id") or None,
        tells_times="completedAt" in fields,
    )


def _listed(fields: Mapping[str, Any]) -> ListedBackup:
    return ListedBackup(
        text_of(fields, "id"),
        parse_status(text_of(fields, "status")),
        tuple(sorted(_strings(fields.get("classes")))),
        started_at=parse_time(fields.get("startedAt")),
        completed_at=parse_time(fields.get("completedAt")),
        pre_compression_bytes=_bytes_of(fields),
        base_backup_id=fields.get("incremental_base_backup_id") or None,
    )


def _bytes_of(fields: Mapping[str, Any]) -> int | None:
    """Return the size in bytes; the wire has GiB, as a float."""
    size = fields.get("size")
    return round(size * _GIB) if isinstance(size, int | float) and math.isfinite(size) else None


def text_of(fields: Mapping[str, Any], name: str) -> str:
    """Return a text, empty where there is none."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _strings(value: Any) -> list[str]:
    return [item for item in array_of(value or []) if isinstance(item, str)]


def array_of(value: Any) -> list[Any]:
    """Return a list that must be one."""
    if not isinstance(value, list):
        raise UnexpectedAnswer(f"The server answered {_shown(value)} where a list belongs.")
    return value


def object_of(value: Any) -> dict[str, Any]:
    """Return an object that must be one."""
    if not isinstance(value, dict):
        raise UnexpectedAnswer(f"The server answered {_shown(value)} where an object belongs.")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
