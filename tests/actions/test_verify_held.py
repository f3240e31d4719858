"""A verification holds a lease on its backup, so that nobody prunes it meanwhile."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions import prune_work
from airflow_provider_vectorbackup.actions.leases import Hold, Holder, Leases
from airflow_provider_vectorbackup.actions.verify import verify_held
from airflow_provider_vectorbackup.backups.verification import Level, Report
from airflow_provider_vectorbackup.exceptions import BackupInUse, InvalidRequest, StorageError, StorageUnreachable
from tests.actions.prunes import Once, Pruning
from tests.transfer.acting_store import Call, Faults

VERIFY, OTHER = Holder("Dag checks", "verify"), Holder("Dag other", "prune")


@pytest.fixture
def pruning(tmp_path: Path) -> Pruning:
    pruning = Pruning(tmp_path)
    pruning.put_backup("root", days=20)
    return pruning


def verify(pruning: Pruning, backup_id: str = "root") -> Report:
    return verify_held(pruning.store, pruning.place.location, backup_id, Level.QUICK, VERIFY, threads=1)


def is_reading(call: Call) -> bool:
    return call == Call("read", "root/backup_config.json")


def test_lease_is_there_meanwhile(pruning: Pruning) -> None:
    seen: list[set[str]] = []
    pruning.store.before = Once(is_reading, lambda: seen.append(pruning.leases()))
    assert verify(pruning).damage == ()
    assert seen == [{VERIFY.key("root")}]
    assert pruning.leases() == set()


def test_nobody_prunes_it(pruning: Pruning, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_work, "SETTLE_SECONDS", 0)
    other = Pruning(pruning.root)
    other.put_backup("newest", days=3)
    spared: list[str] = []
    pruning.store.before = Once(is_reading, lambda: spared.append(other.prune().spared["root"]))
    verify(pruning)
    assert spared == ["in use: Dag checks holds a lease on it (verify)"]
    assert other.prune().spared == {}
    assert not other.keys("root")


def test_others_may_read(pruning: Pruning) -> None:
    Leases(pruning.store, Holder("Dag copy", "copy")).take(["root"], Hold.READ)
    assert verify(pruning).damage == ()


def test_somebody_changes_it(pruning: Pruning) -> None:
    Leases(pruning.store, OTHER).take(["root"], Hold.CHANGE)
    with pytest.raises(BackupInUse, match="Dag other holds a lease on it"):
        verify(pruning)
    assert pruning.leases() == {OTHER.key("root")}


def test_where_none_can_be_left(pruning: Pruning, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever verifies needs no right to write."""
    caplog.set_level(logging.INFO)
    pruning.store.before = Faults(lambda: StorageError("AccessDenied"), lambda call: call.name == "write")
    assert verify(pruning).damage == ()
    assert "No lease can be left beside it, so nothing keeps others from pruning it: AccessDenied" in caplog.text


def test_where_none_can_be_ended(pruning: Pruning) -> None:
    """A policy would keep it for a time."""
    pruning.store.policy = "a retention policy of 86400 seconds"
    assert verify(pruning).damage == ()
    assert pruning.store.called("write", "delete") == []


def test_storage_that_is_away(pruning: Pruning) -> None:
    pruning.store.before = Faults(lambda: StorageUnreachable("No."), lambda call: call.name == "write")
    with pytest.raises(StorageUnreachable):
        verify(pruning)


def test_no_id(pruning: Pruning) -> None:
    with pytest.raises(InvalidRequest):
        verify(pruning, "../root")
    assert pruning.store.calls == []
