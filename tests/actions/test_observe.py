from __future__ import annotations

import pytest

from airflow_provider_vectorbackup.actions.observe import finish_observed
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import OperationFailed, OperationTimedOut
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient


def observed(kind: OperationKind, address: BackupAddress, location: str | None = None) -> Outcome:
    return Outcome(Operation(kind, address, location=location), OperationStatus(kind, Status.SUCCESS))


def test_backup(client: WeaviateClient, server: WeaviateStandIn) -> None:
    server.add_backup("x1", ["Article", "Author"])
    result = finish_observed(client, observed(OperationKind.BACKUP, BackupAddress("s3", "x1"), "s3://aws@backups"))
    assert result["collections"] == ["Article", "Author"]
    assert (result["bucket"], result["server_version"], result["uri"]) == ("backups", "1.39.2", "s3://aws@backups/x1")


def test_backup_with_needless_overrides_is_found_in_the_list(client: WeaviateClient, server: WeaviateStandIn) -> None:
    server.add_backup("x1", ["Article"])
    address = BackupAddress("s3", "x1", bucket="backups")
    assert finish_observed(client, observed(OperationKind.BACKUP, address))["collections"] == ["Article"]


def test_backup_elsewhere_is_in_no_list(client: WeaviateClient, server: WeaviateStandIn) -> None:
    server.add_backup("x1", ["Article"], path="team/a")
    result = finish_observed(client, observed(OperationKind.BACKUP, BackupAddress("s3", "x1", path="team/a")))
    assert (result["collections"], result["path"]) == ([], "team/a")


def test_restore_tells_no_collections(client: WeaviateClient, server: WeaviateStandIn) -> None:
    server.add_backup("x1", ["Article"])
    result = finish_observed(client, observed(OperationKind.RESTORE, BackupAddress("s3", "x1")))
    assert (result["collections"], result["status"]) == ([], "SUCCESS")


def test_what_did_not_end_well_is_raised_first(client: WeaviateClient, server: WeaviateStandIn) -> None:
    operation = Operation(OperationKind.BACKUP, BackupAddress("s3", "x1"))
    failed = OperationStatus(OperationKind.BACKUP, Status.FAILED, "disk full")
    with pytest.raises(OperationFailed, match="disk full"):
        finish_observed(client, Outcome(operation, failed))
    with pytest.raises(OperationTimedOut):
        finish_observed(client, Outcome(operation, error=OperationTimedOut("Late.")))
    assert server.requests == []
