"""What a prune can't delete: it is told, and the next one goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions import prune_work
from airflow_provider_vectorbackup.actions.prune_mark import mark_key
from airflow_provider_vectorbackup.exceptions import DeletionFailed
from tests.actions.prunes import GONE, Once, Pruning, small_chains
from tests.transfer.acting_store import Call


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_work, "SETTLE_SECONDS", 0)


@pytest.fixture
def pruning(tmp_path: Path) -> Pruning:
    return small_chains(tmp_path)


class TestWhatCanNotBeDeleted:
    @pytest.mark.parametrize("name", GONE)
    def test_descriptor(self, pruning: Pruning, name: str) -> None:
        key = f"{name}/backup_config.json"
        pruning.store.undeletable = {key}
        report = pruning.prune()
        assert report.failed == {key: "AccessDenied"}
        assert report.spared[name] == "its descriptor can't be deleted: AccessDenied"
        assert pruning.damage(*GONE[: GONE.index(name) + 1]) == {}
        assert set(report.deleted) == set(GONE[GONE.index(name) + 1 :])
        assert not pruning.leases() | pruning.marks()
        with pytest.raises(DeletionFailed, match=f"{key}: AccessDenied"):
            report.require_done(fail_on_locked=False)

    @pytest.mark.parametrize("key", ["third/w1/backup.json", "third/w1/Article/chunk-1"])
    def test_other_objects(self, pruning: Pruning, key: str) -> None:
        pruning.store.undeletable = {key}
        report = pruning.prune()
        assert report.failed == {key: "AccessDenied"}
        assert set(report.deleted) == {"full", "second"}
        assert report.unfinished == ["third"]
        assert pruning.has(key)
        pruning.store.undeletable = set()
        report = pruning.prune()
        assert report.resumed == ("third",)
        assert pruning.keys("third") == set()

    def test_mark(self, pruning: Pruning) -> None:
        pruning.store.undeletable = {mark_key("third")}
        report = pruning.prune()
        assert report.failed == {mark_key("third"): "it is there all the same"}
        assert set(report.deleted) == {"full", "second"}
        pruning.store.undeletable = set()
        assert pruning.prune().resumed == ("third",)
        assert not pruning.keys("third")

    def test_lease(self, pruning: Pruning, caplog: pytest.LogCaptureFixture) -> None:
        """It ends by itself."""
        lease = pruning.order().holder.key("third")
        pruning.store.undeletable = {lease}
        report = pruning.prune()
        assert (set(report.deleted), report.failed) == (set(GONE), {})
        assert pruning.keys("third") == {lease}
        assert "can't be deleted" in caplog.text

    def test_what_is_there_all_the_same(self, pruning: Pruning) -> None:
        """A storage that says that it has deleted."""
        key = "third/w1/Article/chunk-1"
        pruning.store.after = Once(
            lambda call: call == Call("delete", "third/_vectorbackup/prune.json"), lambda: pruning.put(key)
        )
        report = pruning.prune()
        assert report.failed == {key: "it is there all the same"}
        assert set(report.deleted) == {"full", "second"}
