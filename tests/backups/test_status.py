from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given

from airflow_provider_vectorbackup.backups.status import OperationKind, OperationStatus, Status, parse_status
from tests.backups.strategies import statuses

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@given(statuses)
def test_round_trip_through_json(status: OperationStatus) -> None:
    assert OperationStatus.from_json(json.loads(json.dumps(status.to_json()))) == status


@pytest.mark.parametrize("text", [status.value for status in Status])
def test_known_statuses(text: str) -> None:
    assert parse_status(text).value == text


def test_other_spelling() -> None:
    assert parse_status("CANCELLED") is Status.CANCELED


@pytest.mark.parametrize("text", ["", "DONE", "success"])
def test_unknown_statuses_are_never_final(text: str) -> None:
    status = parse_status(text)
    assert status is Status.UNKNOWN
    for kind in OperationKind:
        assert not OperationStatus(kind, status, completed_at=NOW).is_final


@pytest.mark.parametrize(
    ("kind", "status", "completed_at", "final"),
    [
        (OperationKind.BACKUP, Status.SUCCESS, NOW, True),
        (OperationKind.BACKUP, Status.SUCCESS, None, False),
        (OperationKind.BACKUP, Status.FAILED, None, True),
        (OperationKind.BACKUP, Status.CANCELED, None, True),
        (OperationKind.BACKUP, Status.STARTED, NOW, False),
        (OperationKind.RESTORE, Status.SUCCESS, None, True),
        (OperationKind.RESTORE, Status.FAILED, None, True),
        (OperationKind.RESTORE, Status.TRANSFERRED, None, False),
        (OperationKind.RESTORE, Status.FINALIZING, None, False),
        (OperationKind.RESTORE, Status.CANCELLING, None, False),
    ],
)
def test_what_is_final(kind: OperationKind, status: Status, completed_at: datetime | None, final: bool) -> None:
    assert OperationStatus(kind, status, completed_at=completed_at).is_final is final


def test_server_that_tells_no_times() -> None:
    """Servers below 1.31.15 have no completion time that could be waited for."""
    assert OperationStatus(OperationKind.BACKUP, Status.SUCCESS, tells_times=False).is_final
