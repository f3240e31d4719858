"""What is part of no backup goes where something proves that it is of Weaviate; deletions that have begun go on."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions import prune_work
from airflow_provider_vectorbackup.actions.leases import Hold, Holder, Leases
from airflow_provider_vectorbackup.actions.prune_mark import Mark, mark_key, read_mark, write_mark
from airflow_provider_vectorbackup.backups.pruning import Deleted
from airflow_provider_vectorbackup.backups.retention import Retention, Rules
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from tests.actions.copies import Killed
from tests.actions.prunes import FILE, GONE, KEPT, LAST, Once, Pruning, killed_once_hidden, small_chains
from tests.transfer.acting_store import Call

CHUNK = "x1/w1/Article/chunk-1"


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_work, "SETTLE_SECONDS", 0)


@pytest.fixture
def pruning(tmp_path: Path) -> Pruning:
    """Of a place where all but leftovers is kept."""
    pruning = Pruning(tmp_path)
    pruning.put_backup("root", days=20)
    pruning.put_backup("newest", ["root"], days=3)
    return pruning


class TestProof:
    def test_descriptor_of_a_node(self, pruning: Pruning) -> None:
        pruning.put_node("x1")
        pruning.put(CHUNK, b"12345")
        pruning.put("x1/w1/Article/chunk-2.tmp", b"1")
        size_bytes = sum(pruning.place.files("x1").values())
        plan, report = pruning.plan(), pruning.prune()
        assert plan.deleted == {"x1/": Deleted(3, size_bytes)}
        assert report.deleted == {"x1/": Deleted(3, size_bytes)}
        assert pruning.keys("x1") == set()
        assert [row[0] for row in report.rows()] == ["keep", "keep", "deleted"]

    def test_plan_of_a_copy(self, pruning: Pruning) -> None:
        pruning.put(CHUNK)
        pruning.put("x1/_vectorbackup/copy/plan.json", "{}")
        assert list(pruning.prune().deleted) == ["x1/"]
        assert pruning.keys("x1") == set()

    def test_plan_of_a_copy_alone(self, pruning: Pruning) -> None:
        pruning.put("x1/_vectorbackup/copy/plan.json", "{}")
        pruning.put("x1/_vectorbackup/copy/journal-1.json", "{}")
        pruning.prune()
        assert pruning.keys("x1") == set()

    def test_files_without_looks_of_their_own(self, pruning: Pruning) -> None:
        """Of a backup of layout 1.0 without the coordinator's descriptor."""
        pruning.put_backup("x1", version="1.0")
        told = json.loads((pruning.root / "x1/w1/backup.json").read_bytes())
        pruning.put("x1/w1/backup.json", json.dumps(told | {"version": "1.0"}))
        (pruning.root / "x1/backup_config.json").unlink()
        pruning.put(f"x1/w1/{FILE}")
        pruning.put("x1/w1/notes.txt")
        report = pruning.prune()
        assert pruning.keys("x1") == {"x1/w1/notes.txt"}
        assert report.foreign == ["x1/w1/notes.txt"]

    @pytest.mark.parametrize("content", [b"", b"{", b"null", b'{"every": "day"}', b'{"id": "x2", "status": "SUCCESS"}'])
    def test_none(self, pruning: Pruning, content: bytes) -> None:
        pruning.put("x1/w1/backup.json", content)
        pruning.put(CHUNK)
        report = pruning.prune()
        assert pruning.keys("x1") == {"x1/w1/backup.json", CHUNK}
        assert ("keep", "nothing in it proves that it is of Weaviate") in {(row[0], row[2]) for row in report.rows()}
        assert report.deleted == {}

    def test_descriptor_of_another_folder(self, pruning: Pruning) -> None:
        pruning.put_node("x1", id="x2")
        pruning.put(CHUNK)
        assert pruning.prune().deleted == {}

    @pytest.mark.parametrize(
        "key", ["videos/user1/movie/chunk-1", "myapp/config/backup.json", "Team/w1/Article/chunk-1", "notes.txt"]
    )
    def test_look_alikes_stay(self, pruning: Pruning, key: str) -> None:
        pruning.put(key, '{"every": "day"}')
        assert pruning.prune().deleted == {}
        assert pruning.has(key)

    def test_backups_of_another_location_stay(self, pruning: Pruning) -> None:
        pruning.put_single("team/x1")
        pruning.put_backup("team/x2")
        before = pruning.keys("team")
        report = pruning.prune()
        assert report.deleted == {}
        assert pruning.keys("team") == before
        assert {each.reason for each in report.leftovers} == {"nothing in it proves that it is of Weaviate"}


class TestWhoIsAskedFirst:
    @pytest.mark.parametrize(
        ("retention", "reason"),
        [
            (Retention(LAST.rules, pinned=frozenset({"x1"})), "pinned"),
            (Retention((Rules("n", keep_last=1),)), "no rule is about it"),
            (Retention(LAST.rules, leftover_grace=timedelta(days=31)), "young"),
        ],
    )
    def test_rules(self, pruning: Pruning, retention: Retention, reason: str) -> None:
        pruning.put_node("x1")
        report = pruning.prune(retention=retention)
        assert pruning.keys("x1")
        assert {each.reason for each in report.leftovers} == {reason}

    def test_one_young_object_keeps_all(self, pruning: Pruning) -> None:
        pruning.put_node("x1")
        pruning.put(CHUNK, days=6)
        pruning.prune()
        assert pruning.has(CHUNK)

    def test_what_a_kept_backup_takes_files_from(self, pruning: Pruning) -> None:
        (pruning.root / "root/backup_config.json").unlink()
        report = pruning.prune()
        assert report.deleted == {}
        assert pruning.has("root/w1/Article/chunk-1")

    @pytest.mark.parametrize("why", ["leased", "restored", "restored after the first look", "not approved"])
    def test_what_a_useless_backup_takes_files_from(self, tmp_path: Path, why: str) -> None:
        """It would go for want of its base's descriptor, and stays; so does its base."""
        pruning = small_chains(tmp_path)
        (pruning.root / "full/backup_config.json").unlink()
        if why == "leased":
            Leases(FilesystemStore(pruning.place.location), Holder("Dag copy", "copy")).take(["second"], Hold.READ)
        elif why == "restored":
            pruning.put_restore("second")
        elif why == "restored after the first look":
            pruning.store.before = Once(
                lambda call: call.name == "write" and call.key.startswith("second/"),
                lambda: pruning.put_restore("second"),
            )
        order: dict[str, Any] = {"retention": Retention(LAST.rules, delete_damaged=True)}
        order |= {"only": frozenset({"full/"})} if why == "not approved" else {}
        only = order.get("only")
        if why != "restored after the first look":
            assert "full/" not in pruning.plan(**order).deleted
        report = pruning.prune(**order)
        assert set(report.deleted) == ({"third"} if only is None else set())
        assert pruning.keys("full") == {"full/w1/backup.json", "full/w1/Article/chunk-1"}
        assert pruning.backups() >= {"second", *KEPT}

    def test_lease(self, pruning: Pruning) -> None:
        pruning.put_node("x1")
        leases = Leases(FilesystemStore(pruning.place.location), Holder("Dag copy", "copy"))
        pruning.store.before = Once(
            lambda call: call.name == "write" and call.key.startswith("x1/"), lambda: leases.take(["x1"], Hold.READ)
        )
        report = pruning.prune()
        assert "Dag copy holds a lease on it (copy)" in report.spared["x1"]
        assert pruning.has("x1/w1/backup.json")
        leases.give_back(["x1"])
        assert list(pruning.prune_undisturbed().deleted) == ["x1/"]

    def test_lease_from_the_beginning(self, pruning: Pruning) -> None:
        pruning.put_node("x1")
        Leases(FilesystemStore(pruning.place.location), Holder("Dag copy", "copy")).take(["x1"], Hold.READ)
        pruning.put_restore("x1", "SUCCESS")
        report = pruning.prune(retention=Retention(LAST.rules, leftover_grace=timedelta(0)))
        assert report.spared == {"x1": "in use: Dag copy holds a lease on it (copy)"}
        assert pruning.store.called("write") == []

    def test_backup_that_begins(self, pruning: Pruning) -> None:
        pruning.put_node("x1")
        pruning.store.before = Once(
            lambda call: call.name == "write" and call.key.startswith("x1/"), lambda: pruning.put_backup("x1", days=0)
        )
        assert pruning.prune().spared == {"x1": "there is a new backup of this id"}
        assert pruning.damage("x1") == {}

    def test_only(self, pruning: Pruning) -> None:
        for name in ("x1", "x2"):
            pruning.put_node(name)
        pruning.put("newest/access-check-1")
        pruning.put("newest/access-check-2")
        report = pruning.prune(only=frozenset({"x2/", "newest/access-check-2"}))
        assert set(report.deleted) == {"x2/", "newest/access-check-2"}
        assert pruning.keys("x1")
        assert pruning.has("newest/access-check-1")


class TestUploads:
    KEY = "newest/w1/Article/chunk-9"

    def test_old_one_is_aborted(self, pruning: Pruning) -> None:
        pruning.put_upload(self.KEY)
        report = pruning.prune()
        assert report.deleted == {self.KEY: Deleted(uploads=1)}
        assert list(pruning.store.list_unfinished_uploads()) == []
        assert not pruning.leases()

    @pytest.mark.parametrize("key", ["newest/w1/Article/chunk-9", "x1/w1/chunk-9", ".hidden", "a"])
    def test_young_or_of_nobody(self, pruning: Pruning, key: str) -> None:
        pruning.put_upload(key, days=6 if key.startswith("newest") else 30)
        assert pruning.prune().deleted == {}
        assert [upload.key for upload in pruning.store.list_unfinished_uploads()] == [key]

    def test_younger_one_to_the_same_key_goes_on(self, pruning: Pruning) -> None:
        pruning.put_upload(self.KEY)
        pruning.put("newest/w1/Article/.chunk-9.89abcdef.partial", days=1)
        assert pruning.prune().deleted == {self.KEY: Deleted(uploads=1)}
        assert [upload.upload_id for upload in pruning.store.list_unfinished_uploads()] == [".chunk-9.89abcdef.partial"]

    def test_in_a_backup_that_somebody_reads(self, pruning: Pruning) -> None:
        pruning.put_upload(self.KEY)
        Leases(FilesystemStore(pruning.place.location), Holder("Dag copy", "copy")).take(["newest"], Hold.READ)
        assert "Dag copy" in pruning.prune().spared["newest"]
        assert list(pruning.store.list_unfinished_uploads())

    def test_in_what_goes(self, pruning: Pruning) -> None:
        """However young: what it was to be part of is gone."""
        pruning.put_node("x1")
        pruning.put_upload("x1/w1/Article/chunk-9", days=0)
        assert pruning.prune().deleted["x1/"].uploads == 1
        assert list(pruning.store.list_unfinished_uploads()) == []


class TestAccessChecks:
    @pytest.mark.parametrize("key", ["newest/access-check-1", "newest/w1/access-check-1", "x1/access-check-1"])
    def test_old_one_goes(self, pruning: Pruning, key: str) -> None:
        pruning.put(key, b"123")
        assert pruning.prune().deleted == {key: Deleted(1, 3)}
        assert not pruning.has(key)

    def test_young_one_stays(self, pruning: Pruning) -> None:
        pruning.put("newest/access-check-1", days=6)
        assert pruning.prune().deleted == {}

    def test_one_that_can_not_be_deleted(self, pruning: Pruning) -> None:
        pruning.put("newest/access-check-1")
        pruning.store.undeletable = {"newest/access-check-1"}
        report = pruning.prune()
        assert (report.deleted, report.failed) == ({}, {"newest/access-check-1": "AccessDenied"})


class TestBegunDeletions:
    @pytest.mark.parametrize("first", range(len(GONE)))
    def test_of_hidden_ones(self, tmp_path: Path, first: int) -> None:
        pruning = killed_once_hidden(tmp_path, *GONE[first:])
        report = pruning.prune()
        assert set(report.deleted) == set(GONE)
        assert report.resumed
        assert pruning.backups() == set(KEPT)
        assert not any(pruning.keys(name) for name in GONE)

    def test_what_builds_on_others_goes_first(self, tmp_path: Path) -> None:
        pruning = killed_once_hidden(tmp_path, *GONE)
        pruning.store.calls.clear()
        pruning.prune()
        ends = [key for key in pruning.store.called("delete") if key.endswith("/chunk-1")]
        assert [key.partition("/")[0] for key in ends] == ["third", "second", "full"]

    @pytest.mark.parametrize("key", ["third/w1/backup.json", "third/w1/Article/chunk-1"])
    def test_of_one_that_is_half_gone(self, tmp_path: Path, key: str) -> None:
        """Though it is pinned by now: there is no way back."""
        pruning = small_chains(tmp_path)
        pruning.put("third/notes.txt")
        pruning.store.after = Once(lambda call: call == Call("delete", key), lambda: end(pruning))
        with pytest.raises(Killed):
            pruning.prune()
        report = pruning.prune_undisturbed(retention=Retention(LAST.rules, pinned=frozenset({"third"})))
        assert pruning.keys("third") == {"third/notes.txt"}
        assert "third/notes.txt" in report.foreign
        assert "third" in report.deleted

    @pytest.mark.parametrize("rules", [Rules(keep_last=1), Rules("n", keep_last=1)])
    def test_of_hidden_ones_that_are_to_stay_by_now(self, tmp_path: Path, rules: Rules) -> None:
        pruning = killed_once_hidden(tmp_path, *GONE)
        report = pruning.prune(retention=Retention((rules,), pinned=frozenset({"third"})))
        assert pruning.backups() == {*GONE, *KEPT}
        assert pruning.damage(*GONE) == {}
        assert report.spared["third"] == "the rules do not give it up any more"
        assert not pruning.marks() | pruning.leases()

    def test_of_one_that_no_rule_is_about_any_more(self, tmp_path: Path) -> None:
        """Half gone, it is left to those whose rules are."""
        pruning = small_chains(tmp_path)
        pruning.store.after = Once(lambda call: call == Call("delete", "third/w1/backup.json"), lambda: end(pruning))
        with pytest.raises(Killed):
            pruning.prune()
        pruning.prune_undisturbed(retention=Retention((Rules("n", keep_last=1),)))
        assert pruning.has("third/w1/Article/chunk-1")

    def test_of_those_approved_alone(self, tmp_path: Path) -> None:
        pruning = killed_once_hidden(tmp_path, *GONE)
        report = pruning.prune(only=frozenset({"third"}))
        assert set(report.deleted) == {"third"}
        assert report.spared == dict.fromkeys(["full", "second"], "not among those approved")
        assert pruning.keys("second") > {"second/w1/backup.json"}

    def test_where_nothing_else_is_left(self, tmp_path: Path) -> None:
        """Of failed backups alone, all may be hidden."""
        pruning = Pruning(tmp_path)
        pruning.put_backup("x1", status="FAILED")
        pruning.store.after = Once(lambda call: call == Call("delete", "x1/backup_config.json"), lambda: end(pruning))
        with pytest.raises(Killed):
            pruning.prune()
        assert pruning.backups() == set()
        pruning.prune_undisturbed()
        assert pruning.keys() == set()

    def test_of_a_leftover(self, pruning: Pruning) -> None:
        """What proved that it is one may be gone."""
        pruning.put_node("x1")
        pruning.put(CHUNK)
        pruning.store.after = Once(lambda call: call == Call("delete", "x1/w1/backup.json"), lambda: end(pruning))
        with pytest.raises(Killed):
            pruning.prune()
        assert list(pruning.prune_undisturbed().deleted) == ["x1"]
        assert pruning.keys("x1") == set()

    def test_file_that_can_not_be_deleted(self, tmp_path: Path) -> None:
        """Of a layout whose files have no looks of their own: what names them stays as long as they do."""
        pruning = small_chains(tmp_path)
        pruning.put_single("x1")
        pruning.store.undeletable = {f"x1/{FILE}"}
        report = pruning.prune()
        assert report.failed == {f"x1/{FILE}": "AccessDenied"}
        assert "x1" not in report.deleted
        pruning.store.undeletable = set()
        assert set(pruning.prune().deleted) == {"x1"}
        assert pruning.keys("x1") == set()


class TestMarks:
    @pytest.mark.parametrize("is_erasing", [True, False])
    def test_there_and_back(self, pruning: Pruning, *, is_erasing: bool) -> None:
        mark = Mark("x1/backup_config.json", b"\xff{}", ("root", "x0"), is_erasing=is_erasing)
        write_mark(pruning.store, "x1", mark)
        assert read_mark(pruning.store, "x1") == mark

    def test_it_is_on_the_disk_before_anything_is_deleted(self, tmp_path: Path) -> None:
        pruning = Pruning(tmp_path, is_settling=True)
        write_mark(pruning.store, "x1", Mark())
        assert pruning.store.calls == [Call("write", mark_key("x1")), Call("settle", "")]

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"version": 1}', '{"key": "", "descriptor": "?"}'])
    def test_one_that_can_not_be_read(self, pruning: Pruning, caplog: pytest.LogCaptureFixture, content: str) -> None:
        pruning.put(mark_key("x1"), content)
        pruning.put(CHUNK)
        assert pruning.prune().deleted == {}
        assert pruning.has(CHUNK)
        assert f"{mark_key('x1')} can't be read; what it is about is left as it is." in caplog.text

    def test_one_of_before_a_copy(self, pruning: Pruning) -> None:
        write_mark(pruning.store, "x1", Mark())
        pruning.put("x1/_vectorbackup/copy/plan.json", "{}", days=0)
        pruning.put(CHUNK, days=0)
        assert read_mark(pruning.store, "x1") is None
        pruning.prune()
        assert pruning.has(CHUNK)

    def test_one_beside_a_backup_tells_nothing(self, tmp_path: Path) -> None:
        pruning = small_chains(tmp_path)
        write_mark(pruning.store, "newest", Mark())
        pruning.prune()
        assert pruning.damage(*KEPT) == {}


def end(pruning: Pruning) -> None:
    """Kill the prune that is at work: nothing is cleaned up."""

    def die(_: Call) -> None:
        raise Killed

    pruning.store.before = die
    raise Killed
