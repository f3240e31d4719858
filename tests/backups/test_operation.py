from __future__ import annotations

import json

import pytest
from hypothesis import given

from airflow_provider_vectorbackup.backups.operation import Operation, summary_of
from airflow_provider_vectorbackup.backups.status import (
    BackupAddress,
    OperationKind,
    OperationStatus,
    Status,
)
from tests.backups.strategies import operations, statuses

ADDRESS = BackupAddress("s3", "x1")


@given(operations)
def test_round_trip_through_json(operation: Operation) -> None:
    assert Operation.from_json(json.loads(json.dumps(operation.to_json()))) == operation


@given(operations.filter(lambda operation: operation.location is None), statuses)
def test_summary_always_has_the_same_keys(operation: Operation, status: OperationStatus) -> None:
    summary = summary_of(operation, status)
    assert list(summary) == list(summary_of(operation, None))
    assert json.loads(json.dumps(summary)) == summary


@pytest.mark.parametrize(
    ("address", "location", "uri"),
    [
        (ADDRESS, None, "s3://server/says/x1"),
        (ADDRESS, "s3://conn@bucket/a", "s3://conn@bucket/a/x1"),
        (BackupAddress("s3", "x1", "other", None), "s3://conn@bucket/a", "s3://conn@other/a/x1"),
        (BackupAddress("s3", "x1", None, "b/c"), "s3://conn@bucket/a", "s3://conn@bucket/b/c/x1"),
        # The server's directory is not the worker's: an override of the first says nothing of the second.
        (BackupAddress("filesystem", "x1", None, "/srv/b"), "file:///mnt/a", "file:///mnt/a/x1"),
    ],
)
def test_uri_is_in_our_locations_words(address: BackupAddress, location: str | None, uri: str) -> None:
    operation = Operation(OperationKind.BACKUP, address, server_path="s3://server/says/x1", location=location)
    assert operation.uri == uri


def test_summary_of_one_that_is_not_waited_for() -> None:
    operation = Operation(OperationKind.BACKUP, ADDRESS, bucket="b", collections=("A", "B"), server_version="1.39.2")
    assert summary_of(operation, None) == {
        "backup_id": "x1",
        "backend": "s3",
        "bucket": "b",
        "path": None,
        "location": None,
        "uri": "",
        "status": "STARTED",
        "started_at": None,
        "completed_at": None,
        "pre_compression_bytes": None,
        "collections": ["A", "B"],
        "server_version": "1.39.2",
        "base_backup_id": None,
        "attempts": 1,
    }


def test_summary_takes_what_the_server_says_where_nothing_else_is_known() -> None:
    status = OperationStatus(OperationKind.BACKUP, Status.SUCCESS, server_path="s3://b/x1", base_backup_id="x0")
    summary = summary_of(Operation(OperationKind.BACKUP, ADDRESS), status)
    assert (summary["uri"], summary["base_backup_id"]) == ("s3://b/x1", "x0")
