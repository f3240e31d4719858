"""Orders as tests give them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.backup import BackupOrder, begin_backup
from airflow_provider_vectorbackup.actions.memory import NoMemory
from airflow_provider_vectorbackup.backups.status import BackupAddress
from airflow_provider_vectorbackup.exceptions import VectorBackupError
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

ALL = ("Article", "Author", "Product")
RUN_STARTED = datetime.now(UTC) - timedelta(minutes=1)
CREATE = r"/backups/s3"


def order(
    backup_id: str = "x1", *, backend: str = "s3", bucket: str | None = None, path: str | None = None, **fields: Any
) -> BackupOrder:
    return BackupOrder(BackupAddress(backend, backup_id, bucket, path), **fields)


def assert_refused(
    client: WeaviateClient, server: WeaviateStandIn, asked: BackupOrder, kind: type[VectorBackupError], text: str
) -> VectorBackupError:
    """Make sure that an order is refused before anything is started."""
    with pytest.raises(kind, match=text) as caught:
        begin_backup(client, asked, NoMemory(), RUN_STARTED)
    assert server.sent("POST", CREATE) == []
    assert server.sent("PUT", ".*") == []
    return caught.value
