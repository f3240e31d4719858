"""Orders as tests give them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_vectorbackup.actions.backup import BackupOrder
from airflow_provider_vectorbackup.backups.status import BackupAddress

ALL = ("Article", "Author", "Product")
RUN_STARTED = datetime.now(UTC) - timedelta(minutes=1)
CREATE = r"/backups/s3"


def order(
    backup_id: str = "x1", *, backend: str = "s3", bucket: str | None = None, path: str | None = None, **fields: Any
) -> BackupOrder:
    return BackupOrder(BackupAddress(backend, backup_id, bucket, path), **fields)
