"""A prune that deletes nothing, or not all: it can't believe what it read, or may not, or the storage keeps it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest

from airflow_provider_vectorbackup.actions import prune as prune_module
from airflow_provider_vectorbackup.actions import prune_claims, prune_work
from airflow_provider_vectorbackup.actions.prune import PruneOrder
from airflow_provider_vectorbackup.backups.retention import Retention, Rules
from airflow_provider_vectorbackup.exceptions import DeletionFailed, PruneRefused, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.store import Lock
from tests.actions.copies import Killed
from tests.actions.prunes import (
    GONE,
    KEPT,
    LAST,
    Once,
    PrunedStore,
    Pruning,
    killed_once_hidden,
    raising,
    small_chains,
)
from tests.transfer.acting_store import Call, Faults

THIRD = "third/backup_config.json"


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_work, "SETTLE_SECONDS", 0)


@pytest.fixture
def pruning(tmp_path: Path) -> Pruning:
    return small_chains(tmp_path)


def changed(pruning: Pruning) -> list[str]:
    """Return the keys of what was changed."""
    return [call.key for call in pruning.store.calls if call.changes]


def require_refused(pruning: Pruning, match: str) -> None:
    """Check that a prune is refused, before anything is written, and a dry run, too."""
    before = pruning.keys()
    with pytest.raises(PruneRefused, match=match):
        pruning.plan()
    with pytest.raises(PruneRefused, match=match):
        pruning.prune()
    assert changed(pruning) == []
    assert pruning.keys() == before


class TestWhatCanNotBeBelieved:
    def test_nothing_is_there(self, tmp_path: Path) -> None:
        require_refused(Pruning(tmp_path), "holds no backups")

    def test_only_others_things_are_there(self, tmp_path: Path) -> None:
        pruning = Pruning(tmp_path)
        pruning.put_node("x1")
        pruning.put("notes.txt")
        require_refused(pruning, "holds no backups")

    @pytest.mark.parametrize("key", ["other/backup_config.json", "newest/backup_config.json", "third/w1/backup.json"])
    @pytest.mark.parametrize("content", ["", "{", '{"version": "9.0"}'])
    def test_descriptor_that_can_not_be_read(self, pruning: Pruning, key: str, content: str) -> None:
        pruning.put(key, content)
        require_refused(pruning, "can't be read, so anything may be their base")

    def test_descriptor_that_must_not_be_read(self, pruning: Pruning) -> None:
        pruning.store.before = Faults(lambda: StorageError("AccessDenied"), lambda call: call == Call("read", THIRD))
        require_refused(pruning, "AccessDenied")

    def test_storage_that_is_away(self, pruning: Pruning) -> None:
        pruning.store.before = Faults(lambda: StorageUnreachable("No."), lambda call: call == Call("read", THIRD))
        with pytest.raises(StorageUnreachable):
            pruning.prune()
        assert changed(pruning) == []

    @pytest.mark.parametrize("minutes", [6, 100_000])
    def test_clock_that_is_behind(self, pruning: Pruning, minutes: float) -> None:
        pruning.put("newest/backup_config.json", (pruning.root / "newest/backup_config.json").read_bytes())
        time = (datetime.now(UTC) + timedelta(minutes=minutes)).timestamp()
        os.utime(pruning.root / "newest/backup_config.json", (time, time))
        require_refused(pruning, "By the worker's clock it is")

    @pytest.mark.parametrize(("days", "is_refused"), [(20, True), (-0.003, False), (0.003, False), (0.004, True)])
    def test_clock_that_is_not_the_storages(
        self, pruning: Pruning, monkeypatch: pytest.MonkeyPatch, days: float, *, is_refused: bool
    ) -> None:
        """Ahead, it would make all look old: what is written first tells, before anything is deleted."""

        class Clock(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return cls.fromtimestamp((datetime.now(tz) + timedelta(days=days)).timestamp(), tz)

        monkeypatch.setattr(prune_module, "datetime", Clock)
        monkeypatch.setattr(prune_claims, "datetime", Clock)
        if not is_refused:
            assert set(pruning.prune().deleted) == set(GONE)
            return
        with pytest.raises(PruneRefused, match="what was just written is of"):
            pruning.prune()
        assert pruning.backups() == {*GONE, *KEPT}
        assert not pruning.leases() | pruning.marks()

    def test_clock_that_is_ahead_and_leftovers(self, pruning: Pruning, monkeypatch: pytest.MonkeyPatch) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return cls.fromtimestamp((datetime.now(tz) + timedelta(days=20)).timestamp(), tz)

        pruning.put_node("x1")
        monkeypatch.setattr(prune_module, "datetime", Clock)
        monkeypatch.setattr(prune_claims, "datetime", Clock)
        with pytest.raises(PruneRefused, match="what was just written is of"):
            pruning.prune(retention=Retention((Rules(keep_last=-1),)))
        assert pruning.has("x1/w1/backup.json")

    def test_what_is_written_after_the_plan(self, pruning: Pruning) -> None:
        """A descriptor that can't be read by then: what was hidden for the first batch is back."""
        pruning.store.before = Once(
            lambda call: call == Call("delete", THIRD), lambda: pruning.put("other/backup_config.json", "{")
        )
        with pytest.raises(PruneRefused, match="What other builds on can't be read any more"):
            pruning.prune()
        assert pruning.damage(*GONE, *KEPT) == {}
        assert not pruning.leases() | pruning.marks()


class TestFraction:
    @pytest.mark.parametrize(("most", "is_refused"), [(0.5, True), (0.59, True), (0.6, False), (1.0, False)])
    def test_bound(self, pruning: Pruning, most: float, *, is_refused: bool) -> None:
        plan = pruning.plan(max_delete_fraction=most)
        assert set(plan.deleted) == set(GONE)
        assert bool(plan.refused) is is_refused
        if is_refused:
            with pytest.raises(PruneRefused, match="would delete 3 good backups, 60%"):
                pruning.prune(max_delete_fraction=most)
            assert changed(pruning) == []
        else:
            assert set(pruning.prune(max_delete_fraction=most).deleted) == set(GONE)

    def test_half_is_usual(self) -> None:
        assert {each.name: each.default for each in fields(PruneOrder)}["max_delete_fraction"] == 0.5


class TestOnly:
    def test_what_it_builds_on_stays_with_it(self, pruning: Pruning) -> None:
        only = frozenset({"full", "second"})
        for report in (pruning.plan(only=only), pruning.prune(only=only)):
            assert report.deleted == {}
            assert report.spared == {
                "third": "not among those approved",
                "second": "third builds on it, and stays",
                "full": "third builds on it, and stays",
            }
        assert changed(pruning) == []

    def test_children(self, pruning: Pruning) -> None:
        report = pruning.prune(only=frozenset({"third", "newest"}))
        assert set(report.deleted) == {"third"}
        assert pruning.damage("second", "newest") == {}
        assert pruning.backups() == {"full", "second", *KEPT}

    def test_nothing(self, pruning: Pruning) -> None:
        assert pruning.prune(only=frozenset()).deleted == {}
        assert changed(pruning) == []


class TestDryRun:
    def test_writes_nothing(self, pruning: Pruning) -> None:
        pruning.put_node("x1")
        pruning.put_upload("newest/w1/Article/chunk-9")
        before = pruning.place.files()
        plan = pruning.plan()
        assert set(plan.deleted) == {*GONE, "x1/", "newest/w1/Article/chunk-9"}
        assert (plan.total.objects, plan.total.uploads) == (10, 1)
        assert plan.dry_run
        assert changed(pruning) == []
        assert pruning.place.files() == before

    def test_tells_what_has_begun(self, tmp_path: Path) -> None:
        pruning = killed_once_hidden(tmp_path, *GONE)
        before = pruning.place.files()
        plan = pruning.plan()
        assert set(plan.resumed) == set(plan.deleted) == set(GONE)
        assert plan.total.objects == sum(key.partition("/")[0] in GONE for key in before)
        assert pruning.place.files() == before

    @pytest.mark.parametrize(
        "order",
        [
            {"retention": Retention(LAST.rules, pinned=frozenset(GONE))},
            {"retention": Retention((Rules("n", keep_last=1),))},
            {"only": frozenset()},
            {"owner": "Dag other"},
        ],
        ids=["pinned", "no rule", "not approved", "leased"],
    )
    def test_what_has_begun_and_is_not_to_be_finished(self, tmp_path: Path, order: dict[str, Any]) -> None:
        pruning = killed_once_hidden(tmp_path, *GONE)
        plan = pruning.plan(**order)
        assert plan.deleted == pruning.prune(**order).deleted == {}
        assert plan.spared == dict.fromkeys(GONE, "not for this run to finish")

    def test_what_has_begun_and_a_pinned_one_builds_on(self, tmp_path: Path) -> None:
        pruning = killed_once_hidden(tmp_path, *GONE)
        order = {"retention": Retention(LAST.rules, pinned=frozenset({"third"}))}
        assert pruning.plan(**order).deleted == {}
        assert set(pruning.prune(**order).spared) == set(GONE)

    def test_tells_what_is_in_use(self, pruning: Pruning) -> None:
        pruning.put_restore("second")
        plan = pruning.plan()
        assert set(plan.deleted) == {"third"}
        assert plan.spared["full"] == "second builds on it, and stays"


class TestLocks:
    UNTIL = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)

    def test_locked_one_stays_with_its_bases(self, pruning: Pruning) -> None:
        pruning.store.locks = [Lock("second/w1/Article/chunk-1", "a retention period", self.UNTIL)]
        for report in (pruning.plan(), pruning.prune()):
            assert set(report.deleted) == {"third"}
            assert report.locked == {"second": "locked until 2030-01-02 03:04 UTC: a retention period"}
            assert report.spared == {"full": "second builds on it, and stays"}
        assert pruning.damage("second", "full") == {}
        report.require_done(fail_on_locked=False)
        with pytest.raises(DeletionFailed, match="second: locked until"):
            report.require_done(fail_on_locked=True)

    def test_several(self, pruning: Pruning) -> None:
        pruning.store.locks = [
            Lock("full/w1/Article/chunk-1", "a retention period", self.UNTIL - timedelta(days=1)),
            Lock("full/w1/backup.json", "a retention period", self.UNTIL),
            Lock("third/w1/backup.json", "a retention period", self.UNTIL),
            Lock("third/w1/Article/chunk-1", "a legal hold"),
        ]
        assert pruning.prune().locked == {
            "full": "locked until 2030-01-02 03:04 UTC: a retention period",
            "third": "locked until somebody lifts it: a retention period, a legal hold",
        }

    def test_own_files_lock_nothing(self, pruning: Pruning) -> None:
        pruning.store.locks = [Lock("full/_vectorbackup/manifest.json", "a legal hold")]
        assert set(pruning.prune().deleted) == set(GONE)

    @pytest.mark.parametrize("is_locked", [True, False])
    def test_one_that_may_have_ended(self, pruning: Pruning, *, is_locked: bool) -> None:
        pruning.store.locks = [Lock(THIRD, "a retention period", may_have_ended=True)]
        pruning.store.undeletable = {THIRD} if is_locked else set()
        report = pruning.prune()
        told = {"third": "locked until somebody lifts it: a retention period"}
        assert (report.locked, report.failed) == (told if is_locked else {}, {})
        assert pruning.backups() == ({*GONE, *KEPT} if is_locked else set(KEPT))
        assert not pruning.leases() | pruning.marks()

    def test_identity_that_may_not_look(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        pruning = with_store(small_chains(tmp_path), Blind(tmp_path, StorageError("AccessDenied")))
        assert set(pruning.prune().deleted) == set(GONE)
        assert caplog.text.count("Whether the storage locks anything can't be told") == 1

    def test_storage_that_is_away_is_not_unlocked(self, tmp_path: Path) -> None:
        pruning = with_store(small_chains(tmp_path), Blind(tmp_path, StorageUnreachable("No.")))
        with pytest.raises(StorageUnreachable):
            pruning.prune()
        assert pruning.backups() == {*GONE, *KEPT}

    @pytest.mark.parametrize(("keeps", "freed"), [("", True), ("versions for 7 days", False), (None, None)])
    def test_what_is_freed(self, pruning: Pruning, keeps: str | None, *, freed: bool | None) -> None:
        pruning.store.keeps = keeps
        report = pruning.prune()
        assert report.keeps == keeps
        assert report.freed_bytes == (None if freed is None else report.total.size_bytes if freed else 0)


class TestPolicyOnWhatIsNew:
    """Nothing new can be replaced or deleted for a time: no leases nor marks are left; those of others count."""

    def test_nothing_is_written(self, pruning: Pruning) -> None:
        pruning.store.policy = "a retention policy of 86400 seconds"
        assert set(pruning.prune().deleted) == set(GONE)
        assert pruning.store.called("write", "create") == []
        assert pruning.backups() == set(KEPT)
        assert not any(pruning.keys(name) for name in GONE)

    def test_it_is_put_back_all_the_same(self, pruning: Pruning) -> None:
        pruning.store.policy = "a retention policy of 86400 seconds"
        pruning.store.before = Once(
            lambda call: call == Call("delete", "full/backup_config.json"), lambda: pruning.begin_child("third")
        )
        report = pruning.prune()
        assert pruning.damage(*GONE) == {}
        assert report.spared["third"] == "child builds on it"

    def test_leases_of_others(self, pruning: Pruning) -> None:
        """One that comes after the first look."""
        pruning.store.policy = "a retention policy of 86400 seconds"
        lease = pruning.order(owner="Dag other").holder.key("third")
        content = b'{"owner": "Dag other", "purpose": "copy", "hold": "read", "seconds": 120}'
        listings = iter(range(99))
        pruning.store.before = Once(
            lambda call: call.name == "list" and call.key.startswith("third/_v") and next(listings) == 1,
            lambda: pruning.put(lease, content, days=0),
        )
        assert pruning.prune().spared["third"] == "Dag other holds a lease on it (copy)"
        assert pruning.damage(*GONE) == {}

    def test_killed_once_hidden(self, pruning: Pruning) -> None:
        """What is left is known by its looks, and goes after the grace period of leftovers."""
        pruning.store.policy = "a retention policy of 86400 seconds"
        pruning.store.before = Once(lambda call: call == Call("list", "third/"), raising(Killed()))
        with pytest.raises(Killed):
            pruning.prune()
        assert pruning.backups() == set(KEPT)
        assert set(pruning.prune_undisturbed().deleted) == {f"{name}/" for name in GONE}
        assert not any(pruning.keys(name) for name in GONE)

    def test_mark_of_before(self, tmp_path: Path) -> None:
        """It goes with the rest; what is left of the lease has ended."""
        pruning = killed_once_hidden(tmp_path, *GONE)
        pruning.end_leases()
        pruning.store.policy = "a retention policy of 86400 seconds"
        report = pruning.prune()
        assert (set(report.deleted), report.failed) == (set(GONE), {})
        assert pruning.prune().deleted == {}
        assert not pruning.marks()
        assert pruning.keys() - pruning.leases() == pruning.keys("root") | pruning.keys("newest")


class Blind(PrunedStore):
    """May not, or can't, look at locks."""

    def __init__(self, root: Path, error: StorageError) -> None:
        super().__init__(root, is_settling=False)
        self._error = error

    def list_locks(self, _: str = "") -> Iterator[Lock]:
        raise self._error


def with_store(pruning: Pruning, store: PrunedStore) -> Pruning:
    pruning.store = store
    return pruning
