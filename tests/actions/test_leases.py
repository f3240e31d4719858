"""Leases: who may hold which at the same time, how they end, and what counts as one."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions.leases import Hold, Holder, Leases, Release, can_be_ended, holder_of, holding
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import BackupInUse, StorageError, StorageUnreachable
from tests.services.process import wait_until
from tests.transfer.acting_store import ActingStore, Call, Faults

READ, CHANGE = Hold.READ, Hold.CHANGE
ONE, OTHER = Holder("Dag one", "copy"), Holder("Dag other", "prune")


@pytest.fixture
def store(tmp_path: Path) -> ActingStore:
    return ActingStore(tmp_path)


def stored(store: ActingStore) -> set[str]:
    return {key for key in store.stored() if "/_vectorbackup/lease-" in key}


def aged(store: ActingStore, holder: Holder, backup_id: str, seconds: float) -> None:
    path = store.root / holder.key(backup_id)
    modified = path.stat().st_mtime - seconds
    os.utime(path, (modified, modified))


def test_any_number_may_read(store: ActingStore) -> None:
    for holder in (ONE, OTHER, Holder.anybody("verify"), Holder.anybody("verify")):
        Leases(store, holder).take(["x1"], READ)
    assert len(stored(store)) == 4


@pytest.mark.parametrize(("first", "second"), [(READ, CHANGE), (CHANGE, READ), (CHANGE, CHANGE)])
def test_whoever_changes_is_alone(store: ActingStore, first: Hold, second: Hold) -> None:
    Leases(store, ONE).take(["x1"], first)
    later = Leases(store, OTHER)
    with pytest.raises(BackupInUse, match=r"x1 is in use: Dag one holds a lease on it \(copy\)") as caught:
        later.take(["x1"], second)
    assert caught.value.backup_id == "x1"
    assert caught.value.retryable
    assert stored(store) == {ONE.key("x1")}
    later.take(["x2"], second)


def test_hint_says_how_long(store: ActingStore) -> None:
    Leases(store, ONE, 1000).take(["x1"], CHANGE)
    aged(store, ONE, "x1", 400)
    with pytest.raises(BackupInUse, match=r"the lease ends in (600|599) s"):
        Leases(store, OTHER).take(["x1"], CHANGE)


@pytest.mark.parametrize("hold", Hold)
def test_owner_takes_its_own_over(store: ActingStore, hold: Hold) -> None:
    Leases(store, ONE).take(["x1"], CHANGE)
    Leases(store, Holder("Dag one", "copy")).take(["x1"], hold)
    assert stored(store) == {ONE.key("x1")}


def test_owner_with_another_purpose_is_another(store: ActingStore) -> None:
    Leases(store, ONE).take(["x1"], CHANGE)
    with pytest.raises(BackupInUse):
        Leases(store, Holder("Dag one", "prune")).take(["x1"], CHANGE)


def test_one_that_has_ended_is_ignored(store: ActingStore) -> None:
    Leases(store, ONE).take(["x1"], CHANGE)
    aged(store, ONE, "x1", 119)
    with pytest.raises(BackupInUse):
        Leases(store, OTHER).take(["x1"], CHANGE)
    aged(store, ONE, "x1", 2)
    Leases(store, OTHER).take(["x1"], CHANGE)


@pytest.mark.parametrize("hold", Hold)
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"owner": "x"}', b'{"owner":"x","purpose":"y","hold":"z","seconds":9}'],
)
def test_one_that_can_not_be_read_holds(store: ActingStore, hold: Hold, content: bytes) -> None:
    store.put("x1/_vectorbackup/lease-0.json", content)
    with pytest.raises(BackupInUse, match="somebody holds a lease on it"):
        Leases(store, ONE).take(["x1"], hold)
    modified = (store.root / "x1/_vectorbackup/lease-0.json").stat().st_mtime - 200
    os.utime(store.root / "x1/_vectorbackup/lease-0.json", (modified, modified))
    Leases(store, ONE).take(["x1"], hold)


def test_one_that_ends_while_it_is_looked_at(store: ActingStore) -> None:
    Leases(store, ONE).take(["x1"], CHANGE)
    store.before = lambda call: (store.root / call.key).unlink() if call == Call("read", ONE.key("x1")) else None
    Leases(store, OTHER).take(["x1"], CHANGE)


def test_what_can_not_be_listed_is_no_leave(store: ActingStore) -> None:
    store.before = Faults(lambda: StorageError("No."), lambda call: call.name == "list")
    with pytest.raises(StorageError):
        Leases(store, ONE).take(["x1"], READ)


def test_of_two_at_once_never_both(store: ActingStore) -> None:
    for number in range(60):
        backup_id, barrier, winners = f"x{number}", threading.Barrier(2), list[Holder]()

        def race(holder: Holder, backup_id: str, barrier: threading.Barrier, winners: list[Holder]) -> None:
            barrier.wait()
            try:
                Leases(store, holder).take([backup_id], CHANGE)
            except BackupInUse:
                return
            winners.append(holder)

        racers = [threading.Thread(target=race, args=(who, backup_id, barrier, winners)) for who in (ONE, OTHER)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert len(winners) < 2
        assert stored(store) >= {winner.key(backup_id) for winner in winners}


def test_it_is_renewed(store: ActingStore) -> None:
    with holding(store, ONE, keep_seconds=0.06) as leases:
        leases.take(["x1", "x2"], CHANGE)
        before = store.stored()
        wait_until(lambda: _are_newer(store, before), 10, "the renewal of both leases", 0.01)
        leases.require_held()
        content = json.loads((store.root / ONE.key("x1")).read_bytes())
    assert content == {"owner": "Dag one", "purpose": "copy", "hold": "change", "seconds": 0.06}
    assert stored(store) == set()


def _are_newer(store: ActingStore, before: Mapping[str, object]) -> bool:
    return all(store.stored()[key] != was for key, was in before.items())


def test_renewal_that_fails_is_told(store: ActingStore, caplog: pytest.LogCaptureFixture) -> None:
    with holding(store, ONE, keep_seconds=0.06) as leases:
        leases.require_held()
        leases.take(["x1"], CHANGE)
        store.before = Faults(lambda: StorageUnreachable("No answer."), lambda call: call.name == "write", 8)
        wait_until(lambda: not _holds(leases), 10, "leases that others don't respect any more", 0.01)
        wait_until(lambda: _holds(leases), 10, "leases that are renewed again", 0.01)
    assert "A lease can't be renewed: No answer." in caplog.text
    assert stored(store) == set()


def _holds(leases: Leases) -> bool:
    try:
        leases.require_held()
    except StorageUnreachable:
        return False
    return True


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize(
    ("release", "on_success", "on_error"),
    [(Release.ALWAYS, True, True), (Release.ON_ERROR, False, True), (Release.NEVER, False, False)],
)
def test_release(store: ActingStore, release: Release, *, on_success: bool, on_error: bool, fails: bool) -> None:
    def hold() -> None:
        with holding(store, ONE, release=release) as leases:
            leases.take(["x1", "x2"], CHANGE)
            assert len(stored(store)) == 2
            if fails:
                raise KeyError

    if fails:
        with pytest.raises(KeyError):
            hold()
    else:
        hold()
    assert (stored(store) == set()) is (on_error if fails else on_success)


def test_others_are_left_alone(store: ActingStore) -> None:
    Leases(store, OTHER).take(["x1"], READ)
    with holding(store, ONE) as leases:
        leases.take(["x1"], READ)
    assert stored(store) == {OTHER.key("x1")}


def test_what_is_in_the_way_is_told_though_the_own_can_not_be_deleted(store: ActingStore) -> None:
    Leases(store, ONE).take(["x1"], READ)
    store.before = Faults(lambda: StorageError("No."), lambda call: call.name == "delete")
    with pytest.raises(BackupInUse):
        Leases(store, OTHER).take(["x1"], CHANGE)


@pytest.mark.parametrize(
    ("location", "policy", "can"),
    [
        ("gs://x@bucket", "", True),
        ("gs://x@bucket", None, True),
        ("gs://x@bucket", "a retention policy", False),
        ("s3://x@bucket", "Object Lock", True),
    ],
)
def test_where_they_can_be_ended(
    store: ActingStore, monkeypatch: pytest.MonkeyPatch, location: str, policy: str | None, *, can: bool
) -> None:
    monkeypatch.setattr(store, "lock_policy", lambda: policy)
    assert can_be_ended(store, Location.parse(location)) is can


def test_release_that_fails_is_no_failure(store: ActingStore) -> None:
    with holding(store, ONE) as leases:
        leases.take(["x1"], READ)
        store.before = Faults(lambda: StorageError("No."), lambda call: call.name == "delete")
    assert stored(store) == {ONE.key("x1")}


class TestGivingBack:
    def test_one_of_several(self, store: ActingStore) -> None:
        leases = Leases(store, ONE)
        leases.take(["x1", "x2", "x3"], CHANGE)
        leases.give_back(["x1", "x3", "never held"])
        assert stored(store) == {ONE.key("x2")}
        assert set(store.called("delete")) == {ONE.key("x1"), ONE.key("x3")}
        leases.release()
        assert stored(store) == set()

    def test_what_others_hold_stays(self, store: ActingStore) -> None:
        Leases(store, ONE).take(["x1"], CHANGE)
        Leases(store, ONE).give_back(["x1"])
        assert stored(store) == {ONE.key("x1")}

    def test_it_can_be_taken_again(self, store: ActingStore) -> None:
        leases = Leases(store, ONE)
        leases.take(["x1"], CHANGE)
        leases.give_back(["x1"])
        Leases(store, OTHER).take(["x1"], READ)
        with pytest.raises(BackupInUse):
            leases.take(["x1"], CHANGE)

    def test_none_is_written_again(self, store: ActingStore) -> None:
        """Though it was just being renewed."""
        with holding(store, ONE, keep_seconds=0.03) as leases:
            for number in range(30):
                leases.take([f"x{number}"], CHANGE)
                wait_until(partial(_is_renewed, store, f"x{number}"), 10, "a renewal", 0.001)
                leases.give_back([f"x{number}"])
            leases.take(["other"], CHANGE)
            wait_until(partial(_is_renewed, store, "other"), 10, "one more renewal", 0.001)
            assert stored(store) == {ONE.key("other")}

    def test_a_renewal_that_has_begun_ends_first(self, store: ActingStore) -> None:
        begun, may_end = threading.Event(), threading.Event()

        def slowly(call: Call) -> None:
            if call.name == "write" and store.called("write").count(call.key) > 1:
                begun.set()
                assert may_end.wait(10)

        with holding(store, ONE, keep_seconds=0.03) as leases:
            leases.take(["x1"], CHANGE)
            store.before = slowly
            assert begun.wait(10)
            giving = threading.Thread(target=leases.give_back, args=(["x1"],))
            giving.start()
            giving.join(0.05)
            assert store.called("delete") == []
            may_end.set()
            giving.join()
            assert stored(store) == set()


def _is_renewed(store: ActingStore, backup_id: str) -> bool:
    return store.called("write").count(ONE.key(backup_id)) > 1


class TestHolderOf:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def test_nobody(self, store: ActingStore) -> None:
        assert holder_of(store, "x1", self.now()) == ""

    @pytest.mark.parametrize("hold", Hold)
    def test_somebody(self, store: ActingStore, hold: Hold) -> None:
        Leases(store, ONE).take(["x1"], hold)
        assert holder_of(store, "x1", self.now(), OTHER) == "Dag one holds a lease on it (copy)"
        assert holder_of(store, "x2", self.now()) == ""
        assert store.called("write") == [ONE.key("x1")]

    def test_but_for_one(self, store: ActingStore) -> None:
        Leases(store, ONE).take(["x1"], READ)
        assert holder_of(store, "x1", self.now(), ONE) == ""
        Leases(store, OTHER).take(["x1"], READ)
        assert holder_of(store, "x1", self.now(), ONE) == "Dag other holds a lease on it (prune)"

    @pytest.mark.parametrize(("seconds", "holds"), [(115, True), (125, False)])
    def test_one_that_has_ended(self, store: ActingStore, seconds: float, *, holds: bool) -> None:
        Leases(store, ONE).take(["x1"], CHANGE)
        aged(store, ONE, "x1", seconds)
        assert bool(holder_of(store, "x1", self.now())) is holds

    def test_one_that_can_not_be_read(self, store: ActingStore) -> None:
        store.put("x1/_vectorbackup/lease-0.json", b"{")
        assert holder_of(store, "x1", self.now()) == "somebody holds a lease on it (unknown)"
