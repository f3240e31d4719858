from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.slot import SlotWait
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind
from airflow_provider_vectorbackup.exceptions import OperationInProgress

NOW = 1_800_000_000.0


def slot(timeout: float = 60.0) -> SlotWait:
    return SlotWait(OperationKind.BACKUP, "s3", since=NOW, deadline=NOW + timeout)


def busy(blocking_id: str | None = "other") -> OperationInProgress:
    error = OperationInProgress("Weaviate answered 422: backup other already in progress.", hint="Wait.")
    error.blocking_id = blocking_id
    return error


def test_is_waited_for_by_name() -> None:
    waiting = slot().blocked(busy(), NOW)
    assert waiting.news == "The server is busy with another backup 'other'; waiting until it has ended."
    watch = waiting.watch()
    assert watch is not None
    assert (watch.address, watch.deadline) == (BackupAddress("s3", "other"), NOW + 60)


def test_of_an_operation_without_a_name() -> None:
    waiting = slot().blocked(busy(None), NOW)
    assert waiting.watch() is None
    assert waiting.news == "The server is busy with another backup; waiting until it has ended."


def test_ends_with_an_error_that_names_it() -> None:
    waiting = slot().blocked(busy(), NOW)
    with pytest.raises(OperationInProgress, match=r"backup other already.*waited for 60 s \(slot_timeout\)") as caught:
        waiting.blocked(busy(), NOW + 60)
    assert caught.value.blocking_id == "other"


def test_of_no_time_ends_at_once() -> None:
    with pytest.raises(OperationInProgress) as caught:
        slot(0).blocked(busy(), NOW)
    assert "waited" not in str(caught.value)


def test_survives_json() -> None:
    waiting = slot().blocked(busy(), NOW)
    assert SlotWait.from_json(json.loads(json.dumps(waiting.to_json()))) == waiting


@given(rounds=st.integers(1, 10_000), left=st.floats(0, 1e6))
def test_pauses_grow_and_stay_short(rounds: int, left: float) -> None:
    waiting = SlotWait(OperationKind.RESTORE, "s3", NOW, NOW + left, rounds=rounds)
    assert 0 <= waiting.pause(NOW) <= min(15.0, left + 1e-6)
    assert waiting.pause(NOW) >= min(2.0, waiting.deadline - NOW)
