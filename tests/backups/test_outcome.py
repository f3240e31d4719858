from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.operation import Operation, summary_of
from airflow_provider_vectorbackup.backups.outcome import Outcome, conclude, require_success
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import (
    OperationCanceled,
    OperationFailed,
    OperationTimedOut,
    VectorBackupError,
)
from tests.backups.strategies import errors, operations, statuses

ADDRESS = BackupAddress("s3", "x1")


@given(operations, st.none() | statuses)
def test_status_survives_json(operation: Operation, status: OperationStatus | None) -> None:
    outcome = Outcome(operation, status)
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


@given(operations, errors)
def test_error_survives_json(operation: Operation, error: VectorBackupError) -> None:
    read = Outcome.from_json(json.loads(json.dumps(Outcome(operation, error=error).to_json()))).error
    assert type(read) is type(error)
    assert (str(read), read.hint, read.backup_id) == (str(error), error.hint, error.backup_id)
    assert read.retryable == error.retryable


@given(operations.filter(lambda operation: operation.location is None), statuses)
def test_no_end_but_success_has_a_result(operation: Operation, status: OperationStatus) -> None:
    if status.status.is_spent:
        with pytest.raises((OperationFailed, OperationCanceled)):
            conclude(Outcome(operation, status))
    else:
        assert conclude(Outcome(operation, status)) == summary_of(operation, status)


def test_error_of_the_wait_is_raised() -> None:
    error = OperationTimedOut("It takes too long.")
    with pytest.raises(OperationTimedOut) as caught:
        conclude(Outcome(Operation(OperationKind.BACKUP, ADDRESS), error=error))
    assert caught.value is error


@pytest.mark.parametrize(
    ("kind", "status", "error", "message"),
    [
        (
            OperationKind.BACKUP,
            Status.FAILED,
            "disk full",
            "Backup 'x1' on s3 failed: disk full. Its id can't be used again",
        ),
        (OperationKind.BACKUP, Status.FAILED, "", "Backup 'x1' on s3 failed: the server gives no reason"),
        (OperationKind.RESTORE, Status.FAILED, "bad", "Restore 'x1' on s3 failed: bad. Other collections of the same"),
        (OperationKind.BACKUP, Status.CANCELED, "context canceled", "Backup 'x1' on s3 was canceled: context canceled"),
    ],
)
def test_what_is_said_of_failures(kind: OperationKind, status: Status, error: str, message: str) -> None:
    with pytest.raises((OperationFailed, OperationCanceled)) as caught:
        require_success(Operation(kind, ADDRESS), OperationStatus(kind, status, error))
    assert str(caught.value).startswith(message)
    assert caught.value.backup_id == "x1"


@pytest.mark.parametrize(
    ("error", "damaged"),
    [
        ("", False),
        ("restore canceled by user", False),
        ("restore cancelled: write files: get files: context canceled", True),
    ],
)
def test_restore_that_nobody_canceled_is_mostly_damaged(error: str, damaged: bool) -> None:
    operation = Operation(OperationKind.RESTORE, ADDRESS)
    with pytest.raises(OperationCanceled) as caught:
        require_success(operation, OperationStatus(OperationKind.RESTORE, Status.CANCELED, error))
    assert ("missing or damaged" in caught.value.message) is damaged


@pytest.mark.parametrize(
    ("kind", "status", "error", "attached_at", "expected"),
    [
        (OperationKind.BACKUP, Status.CANCELED, "context canceled", 1000.0, True),
        (OperationKind.RESTORE, Status.CANCELED, "restore canceled by user", 1000.0, True),
        (OperationKind.RESTORE, Status.CANCELED, "restore cancelled: write files", 1000.0, False),
        (OperationKind.BACKUP, Status.FAILED, "disk full", 1000.0, False),
        (OperationKind.BACKUP, Status.CANCELED, "by somebody, later", 900.0, False),
        (OperationKind.BACKUP, Status.CANCELED, "of this try's own", None, False),
    ],
)
def test_cancellation_by_a_killed_try(
    kind: OperationKind, status: Status, error: str, attached_at: float | None, expected: bool
) -> None:
    outcome = Outcome(Operation(kind, ADDRESS, attached_at=attached_at), OperationStatus(kind, status, error))
    assert outcome.is_of_killed_try(1030.0) is expected
