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
    fields = _object(data)
    if not fields.get("status"):
        raise UnexpectedAnswer("The server accepted the request without naming a status.", may_have_started=True)
    names = _strings(fields.get("classes"))
    return Accepted(_text(fields, "path"), fields.get("bucket") or None, tuple(sorted(names)))


def parse_backup_status(data: Any) -> OperationStatus:
    """Read the status of a backup."""
    return _status(OperationKind.BACKUP, data)


def parse_restore_status(data: Any) -> OperationStatus:
    """Read the status of a restore."""
    return _status(OperationKind.RESTORE, data)


def parse_list(data: Any) -> tuple[ListedBackup, ...]:
    """Read the list of backups, in the server's order."""
    return tuple(_listed(_object(entry)) for entry in _array(data))


def parse_meta(data: Any) -> Meta:
    """Read the server's description of itself."""
    fields = _object(data)
    modules = fields.get("modules") or {}
    return Meta(_text(fields, "version"), {name: _object(value or {}) for name, value in _object(modules).items()})


def parse_nodes(data: Any) -> tuple[Node, ...]:
    """Read the nodes of the cluster."""
    nodes = [_object(entry) for entry in _array(_object(data).get("nodes"))]
    return tuple(Node(_text(n, "name"), _text(n, "status"), _text(n, "version")) for n in nodes)


def parse_schema(data: Any) -> tuple[CollectionSchema, ...]:
    """Read the collections of the schema."""
    entries = [_object(entry) for entry in _array(_object(data).get("classes") or [])]
    return tuple(
        CollectionSchema(_text(entry, "class"), bool(_object(entry.get("multiTenancyConfig") or {}).get("enabled")))
        for entry in entries
    )


def parse_tenants(data: Any) -> tuple[Tenant, ...]:
    """Read the tenants of a collection; both spellings of their activity are known."""
    entries = [_object(entry) for entry in _array(data)]
    activities = [(_text(e, "name"), _text(e, "activityStatus") or "HOT") for e in entries]
    return tuple(Tenant(name, _ACTIVITY.get(activity, activity)) for name, activity in activities)


def parse_aliases(data: Any) -> tuple[str, ...]:
    """Read the names of the aliases."""
    return tuple(_text(_object(entry), "alias") for entry in _array(_object(data).get("aliases") or []))


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
    fields = _object(data)
    if "status" not in fields:
        raise UnexpectedAnswer("The server answered a status request without a status.")
    return OperationStatus(
        kind,
        parse_status(_text(fields, "status")),
        error=_text(fields, "error"),
        server_path=_text(fields, "path"),
        started_at=parse_time(fields.get("startedAt")),
        completed_at=parse_time(fields.get("completedAt")),
        pre_compression_bytes=_bytes_of(fields),
        base_backup_id=fields.get("incremental_base_backup_id") or None,
        tells_times="completedAt" in fields,
    )


def _listed(fields: Mapping[str, Any]) -> ListedBackup:
    return ListedBackup(
        _text(fields, "id"),
        parse_status(_text(fields, "status")),
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


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _strings(value: Any) -> list[str]:
    return [item for item in _array(value or []) if isinstance(item, str)]


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UnexpectedAnswer(f"The server answered {_shown(value)} where a list belongs.")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UnexpectedAnswer(f"The server answered {_shown(value)} where an object belongs.")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
