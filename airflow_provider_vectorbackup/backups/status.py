"""What the server says of an operation, in one vocabulary for create and restore."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self


class OperationKind(StrEnum):
    """The two long-running operations of the backup API."""

    BACKUP = "backup"
    RESTORE = "restore"


class Status(StrEnum):
    """Statuses of the API. UNKNOWN stands for a text that this version does not know, and counts as active."""

    STARTED = "STARTED"
    TRANSFERRING = "TRANSFERRING"
    TRANSFERRED = "TRANSFERRED"
    FINALIZING = "FINALIZING"
    CANCELLING = "CANCELLING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_spent(self) -> bool:
        """Whether an id in this status can never succeed any more."""
        return self in (Status.FAILED, Status.CANCELED)


def parse_status(text: str) -> Status:
    """Read a status of the wire; CANCELLED, as some servers spell it, is CANCELED."""
    if text == "CANCELLED":
        return Status.CANCELED
    try:
        return Status(text)
    except ValueError:
        return Status.UNKNOWN


@dataclass(frozen=True, slots=True)
class BackupAddress:
    """Where a backup lies, as the server is asked for it.

    ``bucket`` and ``path`` are the overrides given at creation; every later call must repeat them.
    """

    backend: str
    backup_id: str
    bucket: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class OperationStatus:
    """One answer to a status request. Times are UTC; restores carry none in any server version.

    :param tells_times: whether this server tells the times of backups at all (since 1.31.15, 1.32.8 and 1.33.0).
    """

    kind: OperationKind
    status: Status
    error: str = ""
    server_path: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    pre_compression_bytes: int | None = None
    base_backup_id: str | None = None
    tells_times: bool = True

    @property
    def is_final(self) -> bool:
        """Whether this will not change any more.

        A backup's SUCCESS without a completion time is not final: the coordinator's last write has not happened yet,
        and if it fails the status falls back to STARTED for good.
        """
        if self.status is Status.SUCCESS:
            return self.kind is OperationKind.RESTORE or self.completed_at is not None or not self.tells_times
        return self.status.is_spent

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable form, for trigger events."""
        fields = asdict(self)
        return fields | {
            name: value.isoformat() if (value := fields[name]) else None for name in ("started_at", "completed_at")
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        times = {
            name: datetime.fromisoformat(data[name]) if data[name] else None for name in ("started_at", "completed_at")
        }
        return cls(**(data | times | {"kind": OperationKind(data["kind"]), "status": Status(data["status"])}))
