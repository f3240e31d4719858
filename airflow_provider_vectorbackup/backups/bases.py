"""Which backup an incremental one builds on, when the request says "latest"."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_vectorbackup.backups.status import Status

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class ListedBackup:
    """One entry of the server's own list of backups. Times are UTC."""

    backup_id: str
    status: Status
    collections: tuple[str, ...]
    started_at: datetime | None = None
    completed_at: datetime | None = None
    pre_compression_bytes: int | None = None
    base_backup_id: str | None = None


def latest_base(listed: Iterable[ListedBackup], collections: Collection[str]) -> ListedBackup | None:
    """Return the finished backup to build on: of those that share most of ``collections``, the newest.

    Only what shares a collection can save anything; a base without would just lengthen the chain.
    """
    wanted = set(collections)
    usable = [
        backup
        for backup in listed
        if backup.status is Status.SUCCESS and backup.started_at and wanted.intersection(backup.collections)
    ]
    return max(usable, key=lambda b: (len(wanted.intersection(b.collections)), b.started_at), default=None)
