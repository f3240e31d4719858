"""A prune while others read and write: what somebody uses stays, with all that it builds on, whenever they begin."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions import prune as prune_module
from airflow_provider_vectorbackup.actions import prune_work
from airflow_provider_vectorbackup.actions.leases import Hold, Holder, Leases
from airflow_provider_vectorbackup.exceptions import BackupInUse, PruneRefused, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from tests.actions.copies import Killed
from tests.actions.prunes import GONE, KEPT, Nth, Once, Pruning, killed_once_hidden, raising, small_chains
from tests.transfer.acting_store import Call, Faults

BEGINS: dict[str, Callable[[Pruning, str], None]] = {
    "incremental": lambda pruning, backup_id: pruning.begin_child(backup_id),
    "restore": lambda pruning, backup_id: pruning.put_restore(backup_id),
}
COPY = Holder("Dag copy", "copy")


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_work, "SETTLE_SECONDS", 0)


def chain_of(backup_id: str) -> tuple[str, ...]:
    return GONE[: GONE.index(backup_id) + 1]


def require_whole(pruning: Pruning, *backup_ids: str) -> None:
    assert pruning.backups() >= set(backup_ids)
    assert pruning.damage(*backup_ids) == {}


@pytest.mark.parametrize("is_late", [False, True], ids=["seen at once", "seen late"])
@pytest.mark.parametrize(("backup_id", "batch"), [("third", 100), ("second", 1)])
@pytest.mark.parametrize("kind", BEGINS)
def test_what_begins_at_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, backup_id: str, batch: int, *, is_late: bool
) -> None:
    """What begins late has read the descriptor at that call, and is seen only while the prune waits for such."""
    monkeypatch.setattr(prune_module, "BATCH", batch)
    stayed = 0
    for number in itertools.count(1):
        pruning = small_chains(tmp_path / str(number))
        begun: list[bool] = []

        def act(pruning: Pruning = pruning, begun: list[bool] = begun) -> None:
            begun.append(pruning.is_visible(backup_id))
            if begun == [True] and not is_late:
                BEGINS[kind](pruning, backup_id)

        def wait(_: float, pruning: Pruning = pruning, begun: list[bool] = begun) -> None:
            if begun == [True] and is_late:
                BEGINS[kind](pruning, backup_id)

        monkeypatch.setattr("time.sleep", wait)
        pruning.store.before = Nth(number, act)
        pruning.prune()
        if not begun:
            break
        require_whole(pruning, *KEPT, *(chain_of(backup_id) if begun == [True] else ()))
        stayed += begun == [True]
    assert stayed > 20


def test_restore_that_begins_after_the_first_look(tmp_path: Path) -> None:
    """It is seen just before: nothing is hidden even for a moment."""
    pruning = small_chains(tmp_path)
    pruning.store.before = Once(
        lambda call: call.name == "write" and call.key.startswith("third/"), lambda: pruning.put_restore("third")
    )
    assert pruning.prune().deleted == {}
    assert not any(key.endswith("backup_config.json") for key in pruning.store.called("delete"))
    assert not pruning.leases() | pruning.marks()


def test_lease_on_what_stays_is_given_back_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pruning = small_chains(tmp_path)
    pruning.store.before = Once(
        lambda call: call.name == "write" and call.key.startswith("second/"), lambda: pruning.put_restore("second")
    )
    held: list[set[str]] = []
    monkeypatch.setattr("time.sleep", lambda _: held.append(pruning.leases()))
    assert set(pruning.prune().deleted) == {"third"}
    assert held == [{pruning.order().holder.key("third")}]


def test_leases_that_others_need_not_respect_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pruning = small_chains(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Leases, "require_held", lambda _: raising(StorageUnreachable("Not renewed."))())
        with pytest.raises(StorageUnreachable):
            pruning.prune()
    assert all(pruning.has(f"{name}/w1/backup.json") and pruning.has(f"{name}/w1/Article/chunk-1") for name in GONE)
    assert set(pruning.prune().deleted) == set(GONE)


@pytest.mark.parametrize("backup_id", ["second", "full"])
def test_reader_that_comes_at_any_call(tmp_path: Path, backup_id: str) -> None:
    outcomes = set()
    for number in itertools.count(1):
        pruning = small_chains(tmp_path / str(number))
        read: list[str] = []

        def act(pruning: Pruning = pruning, read: list[str] = read) -> None:
            try:
                Leases(FilesystemStore(pruning.place.location), COPY).take([backup_id], Hold.READ)
            except BackupInUse:
                read.append("refused")
                return
            read.append("whole" if pruning.is_visible(backup_id) else "gone")

        pruning.store.before = Nth(number, act)
        report = pruning.prune()
        if not read:
            break
        outcomes |= set(read)
        if read == ["whole"]:
            require_whole(pruning, *chain_of(backup_id))
            assert "Dag copy holds a lease on it (copy)" in report.spared[backup_id]
        require_whole(pruning, *KEPT)
    assert outcomes == {"refused", "whole", "gone"}


class TestDescriptorsThatChange:
    @pytest.mark.parametrize("backup_id", ["third", "newest", "other"])
    def test_unreadable_at_any_call(self, tmp_path: Path, backup_id: str) -> None:
        """Whatever it is, it may build on anything: all is back, or it came too late to be seen."""
        refused = 0
        for number in itertools.count(1):
            pruning = small_chains(tmp_path / str(number))
            pruning.store.before = end = Nth(number, partial(pruning.put, f"{backup_id}/backup_config.json", "{"))
            try:
                pruning.prune()
            except PruneRefused:
                refused += 1
                assert {path.parent.name for path in pruning.root.glob("*/backup_config.json")} >= {*GONE, *KEPT}
                assert pruning.damage(*({*GONE, *KEPT} - {backup_id, *(KEPT if backup_id == "newest" else ())})) == {}
                assert not any(pruning.keys(name) & pruning.marks() for name in GONE if name != backup_id)
            if not end.was_reached:
                break
        assert refused > 20

    @pytest.mark.parametrize("fields", [{"status": "FAILED"}, {"startedAt": "2026-01-02T03:04:05Z"}])
    def test_another_one_by_now_stays(self, tmp_path: Path, fields: dict[str, str]) -> None:
        pruning = small_chains(tmp_path)
        acts = Once(
            lambda call: call.name == "write" and "third/_vectorbackup/lease-" in call.key,
            lambda: pruning.place.descriptor("third", **fields),
        )
        pruning.store.before = acts
        report = pruning.prune()
        assert report.spared["third"] == "it changed just now"
        assert pruning.is_visible("third")
        assert not pruning.keys("third") & (pruning.marks() | pruning.leases())

    @pytest.mark.parametrize("at", ["fourth write", "descriptor"])
    def test_gone_by_now(self, tmp_path: Path, at: str) -> None:
        """Somebody else deletes it at the same time: it is not written again."""
        pruning = small_chains(tmp_path)
        concerns = {
            "fourth write": lambda call: call.name == "write" and "third/_vectorbackup/lease-" in call.key,
            "descriptor": lambda call: call == Call("read", "third/backup_config.json") and bool(pruning.leases()),
        }
        gone = pruning.root / "third/backup_config.json"
        pruning.store.before = Once(concerns[at], gone.unlink)
        pruning.prune()
        assert not gone.exists()
        require_whole(pruning, *KEPT)

    def test_while_the_catalogue_is_read(self, tmp_path: Path) -> None:
        pruning = small_chains(tmp_path)
        gone = pruning.root / "third/backup_config.json"
        pruning.store.before = Once(lambda call: call == Call("read", "third/backup_config.json"), gone.unlink)
        pruning.prune()
        assert pruning.backups() == set(KEPT)


class TestNewBackupOfTheSameId:
    def test_it_stays(self, tmp_path: Path) -> None:
        """One that begins once the old one is hidden, before anything else of that is deleted."""
        pruning = small_chains(tmp_path)
        pruning.store.before = Once(
            lambda call: call == Call("list", "third/"), lambda: pruning.put_backup("third", days=0)
        )
        report = pruning.prune()
        assert report.spared == {"third": "there is a new backup of this id"}
        require_whole(pruning, "third", *KEPT)
        assert pruning.backups() == {"third", *KEPT}
        assert not pruning.marks() | pruning.leases()

    def test_its_bases_stay(self, tmp_path: Path) -> None:
        pruning = small_chains(tmp_path)
        pruning.store.before = Once(
            lambda call: call == Call("delete", "full/backup_config.json"),
            lambda: pruning.put_backup("third", ["full", "second"], days=0),
        )
        pruning.prune()
        require_whole(pruning, *GONE, *KEPT)
        assert not pruning.marks() | pruning.leases()

    def test_it_keeps_its_descriptor(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """It began while the old one was hidden, and a restore of the old one, too."""
        pruning = small_chains(tmp_path)

        def begin() -> None:
            pruning.put_restore("third")
            pruning.place.descriptor("third", status="STARTED")

        pruning.store.before = Once(lambda call: call == Call("delete", "full/backup_config.json"), begin)
        pruning.prune()
        assert b"STARTED" in (pruning.root / "third/backup_config.json").read_bytes()
        assert "third has another descriptor by now, and stays as it is." in caplog.text
        require_whole(pruning, "full", "second")


class TestTwoPrunes:
    @pytest.mark.parametrize("owner", ["Dag other", "Dag nightly"], ids=["other", "same"])
    def test_second_at_any_call(self, tmp_path: Path, owner: str) -> None:
        for number in itertools.count(1):
            pruning = small_chains(tmp_path / str(number))
            kept = pruning.keys() - {key for name in GONE for key in pruning.keys(name)}
            other = Pruning(pruning.root)
            pruning.store.before = end = Nth(number, partial(other.prune, owner=owner))
            pruning.prune()
            require_whole(pruning, *KEPT)
            assert pruning.damage(*pruning.backups()) == {}
            pruning.prune_undisturbed()
            assert pruning.keys() == kept, number
            if not end.was_reached:
                break

    def test_what_another_deletes_is_left_to_it(self, tmp_path: Path) -> None:
        pruning = killed_once_hidden(tmp_path, *GONE)
        report = pruning.prune(owner="Dag other")
        assert set(report.spared) == set(GONE)
        assert "Dag nightly holds a lease on it (prune)" in report.spared["full"]
        assert pruning.marks()
        assert report.deleted == {}
        pruning.end_leases()
        assert set(pruning.prune(owner="Dag other").deleted) == set(GONE)

    def test_bases_of_what_another_has_hidden(self, tmp_path: Path) -> None:
        """Its leases on them have ended, that on the child not: the child may yet come back."""
        pruning = killed_once_hidden(tmp_path, *GONE)
        pruning.end_leases("full", "second")
        pruning.prune(owner="Dag other")
        require_whole(pruning, "full", "second", *KEPT)
        assert pruning.keys("third") >= {"third/w1/backup.json", "third/w1/Article/chunk-1"}

    def test_visible_bases_of_what_another_has_hidden(self, tmp_path: Path) -> None:
        pruning = killed_once_hidden(tmp_path, "third")
        report = pruning.prune(owner="Dag other")
        assert report.spared["second"] == "third builds on it, and stays"
        require_whole(pruning, "full", "second", *KEPT)

    def test_hidden_child_that_turns_out_to_be_needed(self, tmp_path: Path) -> None:
        """While it is hidden, another prune looks, and could take its bases."""
        pruning, other = small_chains(tmp_path), Pruning(tmp_path)
        hidden = Call("delete", "third/backup_config.json")
        pruning.store.after = Once(lambda call: call == hidden, lambda: other.prune(owner="Dag other"))
        pruning.store.before = Once(
            lambda call: call == Call("read", "third/restore_config.json") and not pruning.is_visible("third"),
            lambda: pruning.put_restore("third"),
        )
        pruning.prune()
        require_whole(pruning, *GONE, *KEPT)


class TestPutBack:
    def test_of_what_a_killed_run_has_hidden(self, tmp_path: Path) -> None:
        for number in range(len(GONE)):
            pruning = killed_once_hidden(tmp_path / str(number), *GONE[number:])
            pruning.put_restore("third")
            report = pruning.prune()
            require_whole(pruning, *GONE, *KEPT)
            assert "third/restore_config.json says STARTED" in report.spared["third"]
            assert not pruning.marks() | pruning.leases()

    @pytest.mark.parametrize("name", GONE)
    def test_that_fails_for_one(self, tmp_path: Path, name: str) -> None:
        pruning = small_chains(tmp_path)
        pruning.store.before = Faults(
            lambda: StorageError("No."), lambda call: call == Call("create", f"{name}/backup_config.json")
        )
        pruning.store.after = Once(
            lambda call: call == Call("delete", "full/backup_config.json"), lambda: pruning.put_restore("third")
        )
        with pytest.raises(StorageError, match="No"):
            pruning.prune()
        assert pruning.backups() == {*GONE, *KEPT} - {name}
        pruning.prune_undisturbed()
        require_whole(pruning, *GONE, *KEPT)

    def test_killed_at_any_call(self, tmp_path: Path) -> None:
        for number in itertools.count(1):
            pruning = small_chains(tmp_path / str(number))
            end = Nth(number, raising(Killed()), lasts=True)
            begin = Once(
                lambda call: call == Call("delete", "full/backup_config.json"), partial(pruning.put_restore, "third")
            )

            def act(call: Call, begin: Once = begin, end: Nth = end) -> None:
                begin(call)
                if begin.has_acted:
                    end(call)

            pruning.store.before = act
            with suppress(Killed):
                pruning.prune()
            assert pruning.damage(*pruning.backups()) == {}, number  # bases come back first
            pruning.prune_undisturbed()
            require_whole(pruning, *GONE, *KEPT)
            if not end.was_reached:
                break
        assert number > 15
