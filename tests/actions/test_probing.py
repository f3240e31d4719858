"""What a probe of a location finds out before a copy begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions.probing import probe
from airflow_provider_vectorbackup.exceptions import PreflightFailed, StorageError, StorageUnreachable
from tests.actions.copies import Copying, at
from tests.transfer.acting_store import ActingStore, Call, Faults


class Locked(ActingStore):
    """Has a lock policy; None is one that may not be looked at."""

    policy: str | None = ""

    def lock_policy(self) -> str | None:  # type: ignore[override] # a directory can always tell
        return self.policy


@pytest.fixture
def store(tmp_path: Path) -> Locked:
    return Locked(tmp_path / "target")


def refused(name: str, error: type[StorageError] = StorageError) -> Faults:
    return Faults(lambda: error("AccessDenied."), lambda call: call.name == name)


def test_nothing_stays(store: Locked, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    probe(store, at(store), "x1")
    assert store.stored() == {}
    assert [call.name for call in store.calls] == ["list", "write", "read", "delete"]
    assert all(call.key.startswith("x1/") for call in store.calls)
    assert "lock" not in caplog.text


@pytest.mark.parametrize("name", ["list", "write", "read", "delete"])
def test_what_is_not_permitted(store: Locked, name: str) -> None:
    store.before = refused(name)
    with pytest.raises(PreflightFailed, match=r"can't be used, for lack of a way to .* AccessDenied") as caught:
        probe(store, at(store), "x1")
    assert str(at(store)) in str(caught.value)
    assert not caught.value.retryable


@pytest.mark.parametrize("name", ["list", "write", "read", "delete"])
def test_storage_that_is_away(store: Locked, name: str) -> None:
    store.before = refused(name, StorageUnreachable)
    with pytest.raises(StorageUnreachable):
        probe(store, at(store), "x1")


def test_storage_that_gives_back_something_else(store: Locked) -> None:
    def change(call: Call) -> None:
        if call.name == "read":
            (store.root / call.key).write_bytes(b"cached")

    store.before = change
    with pytest.raises(PreflightFailed, match="gives back something else than was written"):
        probe(store, at(store), "x1")


def test_lock_policy_is_told_and_no_obstacle(store: Locked, caplog: pytest.LogCaptureFixture) -> None:
    store.policy = "GOVERNANCE, 30 days"
    store.before = refused("delete")
    probe(store, at(store), "x1")
    assert "is locked: GOVERNANCE, 30 days" in caplog.text
    assert "The probe x1/_vectorbackup/copy/probe-" in caplog.text


def test_lock_policy_that_may_not_be_looked_at(store: Locked, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    store.policy = None
    probe(store, at(store), "x1")
    assert "can't be told: the identity may not look" in caplog.text


@pytest.mark.parametrize("name", ["write", "delete"])
def test_copy_moves_nothing_where_it_fails(tmp_path: Path, name: str) -> None:
    copying = Copying(tmp_path)
    copying.target.before = Faults(
        lambda: StorageError("AccessDenied."), lambda call: call.name == name and "/probe-" in call.key
    )
    with pytest.raises(PreflightFailed):
        copying.copy("first")
    assert not [key for key in copying.target.stored() if "/probe-" not in key]
    assert not [key for key in copying.source.called("stream") if "/chunk-" in key]
