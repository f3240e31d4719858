"""Prunes of backups that real servers wrote, and in what order, and how many at once, things are deleted."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions import prune as prune_module
from airflow_provider_vectorbackup.actions import prune_work
from airflow_provider_vectorbackup.backups.pruning import Deleted
from airflow_provider_vectorbackup.backups.retention import Cause, Retention, Rules
from tests.actions.prunes import FILE, GONE, KEPT, LAST, NOW, Pruning, small_chains
from tests.trees import NAMES

FULL_ONES = {"old-1.20.6", "old-1.24.26", "old-1.30.22", "old-1.34.10"}
"""Trees of two backups, of which the second does not build on the first."""

CHAINS = {
    "chain-1.39.2": ("full", "second", "third", "fourth"),
    "users-roles-1.39.2": ("whole", "chosen"),
    **dict.fromkeys(FULL_ONES, ("first", "second")),
}
"""By tree, its backups in their order, where these are not ``full`` and ``second``."""


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_work, "SETTLE_SECONDS", 0)


def unpacked(tree: str, folder: Path) -> tuple[Pruning, tuple[str, ...]]:
    """Return a tree's backups, old by now, and a newer one of nothing."""
    pruning, names = Pruning(folder, tree), CHAINS.get(tree, ("full", "second"))
    pruning.date(*names)
    pruning.put_backup("newest", days=3)
    return pruning, names


class TestRecordedTrees:
    @pytest.mark.parametrize("tree", sorted(set(NAMES) - {"ended-otherwise-1.39.2"}))
    def test_all_goes(self, tmp_path: Path, tree: str) -> None:
        """But what belongs to none of them; the report tells what was on disk."""
        pruning, names = unpacked(tree, tmp_path)
        for own in ("content.json", "manifest.json", "lease-0123456789abcdef.json"):
            pruning.put(f"{names[0]}/_vectorbackup/{own}", "{}")
        had = {name: pruning.place.files(name) for name in names}
        foreign = {f"{names[0]}/notes.txt", f"{names[-1]}/w1/notes/a.db"}
        for key in foreign:
            pruning.put(key)
        report = pruning.prune()
        assert report.deleted == {name: Deleted(len(files), sum(files.values())) for name, files in had.items()}
        assert pruning.keys() == {*foreign, *pruning.keys("newest")}
        assert set(report.foreign) == foreign
        assert report.freed_bytes == sum(sum(files.values()) for files in had.values())
        assert report.failed == report.spared == report.locked == {}

    @pytest.mark.parametrize("tree", sorted(set(NAMES) - {"ended-otherwise-1.39.2"}))
    def test_what_the_newest_builds_on_stays(self, tmp_path: Path, tree: str) -> None:
        pruning, names = unpacked(tree, tmp_path)
        before = pruning.store.contents()
        report = pruning.prune(retention=Retention(LAST.rules, pinned=frozenset({names[-1]})))
        is_chain = tree not in FULL_ONES and tree != "users-roles-1.39.2"
        gone = set() if is_chain else set(names[:-1])
        assert set(report.deleted) == gone
        left = {key: content for key, content in before.items() if key.partition("/")[0] not in gone}
        assert pruning.store.contents() == left

    def test_middle_of_a_chain(self, tmp_path: Path) -> None:
        pruning, _ = unpacked("chain-1.39.2", tmp_path)
        before = pruning.damage("full", "second")
        report = pruning.prune(retention=Retention(LAST.rules, pinned=frozenset({"second"})))
        assert set(report.deleted) == {"third", "fourth"}
        assert pruning.damage("full", "second") == before == {}

    def test_ended_otherwise(self, tmp_path: Path) -> None:
        """Failed, canceled and abandoned ones go once they are old; what was restored is a backup like others."""
        pruning, names = Pruning(tmp_path, "ended-otherwise-1.39.2"), ("failed", "killed", "canceled", "restored")
        for days in (6, 8):
            for name in names:
                with pruning.place.edited(f"{name}/backup_config.json") as told:
                    told["completedAt"] = (NOW - timedelta(days=days)).isoformat()
            pruning.date(*names, days=days + 0.1)
            if days == 6:
                assert pruning.prune().deleted == {}
        pruning.put("canceled/access-check-1")
        pruning.put_upload("failed/w1/Article/chunk-9")
        report = pruning.prune()
        causes = {each.backup_id: each.cause for each in report.decisions}
        assert causes == {
            "failed": Cause.FAILED,
            "killed": Cause.ABANDONED,
            "canceled": Cause.CANCELED,
            "restored": Cause.NEWEST,
        }
        assert set(report.deleted) == {"failed", "killed", "canceled"}
        assert report.deleted["failed"].uploads == 1
        assert pruning.keys() == pruning.keys("restored")
        assert not list(pruning.store.list_unfinished_uploads())

    def test_as_1_15_wrote_it(self, tmp_path: Path) -> None:
        pruning = small_chains(tmp_path)
        pruning.put_single("x1")
        pruning.put("x1/notes.txt")
        had = {key: size for key, size in pruning.place.files("x1").items() if "notes" not in key}
        report = pruning.prune()
        assert report.deleted["x1"] == Deleted(2, sum(had.values()))
        assert report.foreign == ["x1/notes.txt"]
        assert pruning.keys("x1") == {"x1/notes.txt"}


class TestOrder:
    def test_of_one(self, tmp_path: Path) -> None:
        """First what Weaviate sees it with, last our own; then uploads; then it is looked whether all is gone."""
        pruning = small_chains(tmp_path)
        pruning.put("full/_vectorbackup/manifest.json")
        pruning.put_restore("full", "SUCCESS")
        pruning.put_upload("full/w1/Article/chunk-9")
        pruning.prune()
        calls = [call for call in pruning.store.calls if call.key.startswith("full/") and call.name != "read"]
        lease, mark = pruning.order().holder.key("full"), "full/_vectorbackup/prune.json"
        begun = next(place for place, call in enumerate(calls) if call.key == lease)
        told = [(call.name, call.key.removeprefix("full/")) for call in calls[begun:]]
        short = {lease.removeprefix("full/"): "lease", mark.removeprefix("full/"): "mark"}
        assert [(name, short.get(key, key)) for name, key in told] == [
            ("write", "lease"),
            ("list", "_vectorbackup/lease-"),
            ("write", "mark"),
            ("delete", "backup_config.json"),
            ("list", ""),
            ("write", "mark"),
            ("delete", "w1/backup.json"),
            ("delete", "restore_config.json"),
            ("delete", "w1/Article/chunk-1"),
            ("delete", "_vectorbackup/manifest.json"),
            ("list", ""),
            ("abort", "w1/Article/chunk-9"),
            ("delete", "lease"),
            ("delete", "mark"),
            ("list", ""),
        ]

    def test_of_one_whose_files_have_no_looks_of_their_own(self, tmp_path: Path) -> None:
        pruning = small_chains(tmp_path)
        pruning.put_single("x1")
        pruning.prune()
        ends = [key for key in pruning.store.called("delete") if key.startswith("x1/") and "_vectorb" not in key]
        assert ends == ["x1/backup.json", f"x1/{FILE}"]

    @pytest.mark.parametrize("batch", [1, 2, 100])
    def test_of_several(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
        """All of a batch are hidden before anything else of them goes; what builds on others before these."""
        monkeypatch.setattr(prune_module, "BATCH", batch)
        pruning = small_chains(tmp_path)
        pruning.prune()
        names = [key for key in pruning.store.called("delete") if key.endswith((".json", "/chunk-1"))]
        hidden = [key.partition("/")[0] for key in names if key.endswith("backup_config.json")]
        erased = [key.partition("/")[0] for key in names if key.endswith("chunk-1")]
        assert hidden == erased == ["third", "second", "full"]
        before_first = names[: next(place for place, key in enumerate(names) if key.endswith("chunk-1"))]
        assert sum(key.endswith("backup_config.json") for key in before_first) == min(batch, 3)

    @pytest.mark.parametrize(("status", "waits"), [("SUCCESS", 1), ("FAILED", 0)])
    def test_waits_for_servers_that_have_just_looked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, waits: int
    ) -> None:
        """Once a batch, after its last is hidden; nobody builds on what failed."""
        pruning = small_chains(tmp_path)
        for name in GONE:
            with pruning.place.edited(f"{name}/backup_config.json") as told:
                told["status"] = status
        waited: list[float] = []
        monkeypatch.setattr(prune_work, "SETTLE_SECONDS", 15)

        def wait(seconds: float) -> None:
            waited.append(seconds)
            assert not any(pruning.is_visible(name) for name in GONE)

        monkeypatch.setattr("time.sleep", wait)
        assert set(pruning.prune().deleted) == set(GONE)
        assert waited == [15] * waits


class TestMany:
    def test_more_than_a_batch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pruning = small_chains(tmp_path)
        names = [f"x{number:03}" for number in range(prune_work.BATCH + 20)]
        for name in names:
            pruning.put_backup(name)
        waits: list[float] = []
        monkeypatch.setattr("time.sleep", waits.append)
        assert set(pruning.prune().deleted) == {*GONE, *names}
        assert pruning.backups() == set(KEPT)
        assert len(waits) == 2

    def test_requests(self, tmp_path: Path) -> None:
        """Deletions are batched: a thousand chunks are one request to delete."""
        pruning = small_chains(tmp_path)
        chunks = {f"full/w1/Article/chunk-{number}" for number in range(1, 1001)}
        for key in chunks:
            pruning.put(key, b"")
        pruning.prune()
        assert [len(keys) for keys in pruning.store.deletions if chunks.intersection(keys)] == [1000]
        assert len(pruning.store.deletions) < 25

    def test_what_has_not_changed_is_read_once(self, tmp_path: Path) -> None:
        pruning = small_chains(tmp_path)
        pruning.prune()
        reads = pruning.store.called("read")
        assert reads.count("newest/backup_config.json") == 1
        assert reads.count("third/backup_config.json") == 2  # once more just before it is deleted


class TestReport:
    def test_all_that_goes_with_a_backup_is_counted(self, tmp_path: Path) -> None:
        """And is not told once more, by itself."""
        pruning = small_chains(tmp_path)
        pruning.put("third/access-check-1")
        had = {key: size for name in GONE for key, size in pruning.place.files(name).items()}
        pruning.put_upload("third/w1/Article/chunk-9")
        pruning.put("third/notes.txt")
        report = pruning.prune()
        assert set(report.deleted) == set(GONE)
        assert report.total == Deleted(len(had), sum(had.values()), 1)
        assert pruning.keys("third") == {"third/notes.txt"}
        assert "not deleted" not in {row[0] for row in report.rows()}

    def test_it_is_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        pruning = small_chains(tmp_path)
        pruning.put("full/notes.txt")
        pruning.put_restore("second")
        report = pruning.prune()
        assert "Left alone, as it is no part of a backup" not in caplog.text
        assert "deleted: third (" in caplog.text
        assert "keep: full (" in caplog.text
        assert report.headline() in caplog.text
        assert report.seconds > 0
        pruning.put_restore("second", "SUCCESS")
        pruning.prune()
        assert "Left alone, as it is no part of a backup: full/notes.txt" in caplog.text

    @pytest.mark.parametrize("status", ["SUCCESS", "FAILED", "CANCELED"])
    def test_restores_that_have_ended_are_not_in_the_way(self, tmp_path: Path, status: str) -> None:
        pruning = small_chains(tmp_path)
        pruning.put_restore("third", status)
        assert set(pruning.prune().deleted) == set(GONE)

    @pytest.mark.parametrize("status", ["STARTED", "TRANSFERRING", "TRANSFERRED", "CANCELLING", "FINALIZING", "NEW"])
    def test_restores_that_have_not(self, tmp_path: Path, status: str) -> None:
        pruning = small_chains(tmp_path)
        pruning.put_restore("third", status)
        report = pruning.prune()
        assert report.deleted == {}
        assert report.spared["third"].startswith("may be being restored just now: third/restore_config.json says")
        assert pruning.backups() == {*GONE, *KEPT}

    def test_state_of_a_restore_that_can_not_be_read(self, tmp_path: Path) -> None:
        pruning = small_chains(tmp_path)
        pruning.put("second/restore_config.json", "{")
        report = pruning.prune()
        assert set(report.deleted) == {"third"}
        assert report.spared["second"].startswith("may be being restored just now: ")

    def test_rules_and_pins_for_nothing_are_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        pruning = small_chains(tmp_path)
        rules = (Rules(keep_last=1), Rules("nightly", keep_last=1))
        pruning.prune(retention=Retention(rules, pinned=frozenset({"third", "absent"}), grace=timedelta(days=1)))
        assert "No backup's id begins with 'nightly': is it the right id_prefix?" in caplog.text
        assert "Pinned, and not there: absent" in caplog.text
        assert pruning.backups() == {*GONE, *KEPT}

    def test_nobodys_prune(self, tmp_path: Path) -> None:
        """Without an owner, each has leases of its own."""
        pruning = small_chains(tmp_path)
        one, other = pruning.order(owner=""), pruning.order(owner="")
        assert one.holder.key("x1") != other.holder.key("x1")
        assert pruning.order().holder == pruning.order().holder
        assert set(pruning.prune(owner="").deleted) == set(GONE)
        assert not pruning.leases()
