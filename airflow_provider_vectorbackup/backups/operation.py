"""An operation that was started, as it is remembered between task, trigger and retry, and what a task returns of it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self
from urllib.parse import urlsplit

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status

_SCHEMES_TOLD = {"s3": ("s3",), "gcs": ("gs",), "azure": ("http", "https"), "filesystem": ("",)}
"""Of the places that the server names, by backend."""

DAY_SECONDS = 24 * 3600.0
"""How long the end of an operation is waited for unless somebody says otherwise."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A backup or restore that a server accepted.

    :param bucket: the bucket it lies in; None for a directory.
    :param path: the path in the bucket, or the directory on the server; None for the bucket's root.
    :param server_path: the place as the server names it, such as ``s3://bucket/path/id``; informational.
    :param location: the place as a worker reaches it, a URI (see ``backups.locations``), where one is known.
    :param collections: the collections that the server took on, sorted.
    :param attempts: how many ids this task run has used, the current one included.
    :param reactivated: tenants made active for this backup: collection -> tenant -> the status to put back.
    :param since: when it was started, in seconds since the epoch; for "after n s" in log lines.
    :param deadline: when to stop waiting for its end, in seconds since the epoch: absolute, so that neither a
        restarted triggerer nor another try of the task starts it anew.
    :param attached_at: when this try found it running, in seconds since the epoch; None if this try started it.
    :param restore_started_at: the start of this restore as its state in storage has it; None if that is not known.
    """

    kind: OperationKind
    address: BackupAddress
    bucket: str | None = None
    path: str | None = None
    server_path: str = ""
    location: str | None = None
    collections: tuple[str, ...] = ()
    base_backup_id: str | None = None
    server_version: str = ""
    attempts: int = 1
    reactivated: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    since: float = 0.0
    deadline: float = 0.0
    attached_at: float | None = None
    restore_started_at: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable form, for trigger arguments and the task state store."""
        return asdict(self) | {"collections": list(self.collections)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        return cls(
            **(
                dict(data)
                | {
                    "kind": OperationKind(data["kind"]),
                    "address": BackupAddress(**data["address"]),
                    "collections": tuple(data["collections"]),
                }
            )
        )

    @property
    def name(self) -> str:
        """What it is called in log lines and errors."""
        return name_of(self.kind, self.address)

    @property
    def root(self) -> Location | None:
        """The location that holds the backup, overrides of this operation included; None where none is known."""
        return root_of(self.location, self.address)

    @property
    def uri(self) -> str:
        """Where the backup lies: in our location's words if it is known, else in the server's."""
        root = self.root
        return root.uri_of(self.address.backup_id) if root else self.server_path

    def is_told_elsewhere(self, server_path: str) -> bool:
        """Whether the server tells another place than this operation's; not if it tells none."""
        told, backend = urlsplit(server_path), self.address.backend
        if not server_path:
            return False
        if backend == "s3" and told.scheme == "s3" and self.bucket:
            wanted = posixpath.normpath(f"/{self.path or ''}/{self.address.backup_id}")
            return (told.netloc, told.path.strip("/")) != (self.bucket, wanted.strip("/"))
        return told.scheme not in _SCHEMES_TOLD[backend]


def name_of(kind: OperationKind, address: BackupAddress) -> str:
    """Return what log lines and errors call an operation."""
    return f"{kind.value.capitalize()} {address.backup_id!r} on {address.backend}"


def root_of(location: str | None, address: BackupAddress) -> Location | None:
    """Return the location that holds a backup, where the requests for it override bucket or path."""
    if location is None:
        return None
    place = Location.parse(location)
    # A directory of the server's may be mounted anywhere on the worker.
    return place if place.scheme == "file" else place.with_overrides(address.bucket, address.path)


def summary_of(operation: Operation, status: OperationStatus | None) -> dict[str, Any]:
    """Return what a task returns (XCom): the same keys for backup and restore, waiting or not, deferred or not.

    Times are ISO 8601 in UTC; ``pre_compression_bytes`` is what the collections hold, not what storage does.
    """
    seen = status or OperationStatus(operation.kind, Status.STARTED)
    return {
        "backup_id": operation.address.backup_id,
        "backend": operation.address.backend,
        "bucket": operation.bucket,
        "path": operation.path,
        "location": str(operation.root) if operation.root else None,
        "uri": operation.uri or seen.server_path,
        "status": seen.status.value,
        "started_at": _iso(seen.started_at),
        "completed_at": _iso(seen.completed_at),
        "pre_compression_bytes": seen.pre_compression_bytes,
        "collections": list(operation.collections),
        "server_version": operation.server_version,
        "base_backup_id": operation.base_backup_id or seen.base_backup_id,
        "attempts": operation.attempts,
    }


def _iso(time: datetime | None) -> str | None:
    return time.isoformat(timespec="milliseconds") if time else None
