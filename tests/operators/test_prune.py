"""The operator of prunes; what a prune does is tested in tests/actions."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions import prune as prune_action
from airflow_provider_vectorbackup.actions.leases import Hold, Holder, holding
from airflow_provider_vectorbackup.compat import AirflowException, AirflowFailException
from airflow_provider_vectorbackup.exceptions import BackupInUse, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.hooks import storage
from airflow_provider_vectorbackup.storage.store import Lock
from tests.actions.copies import Killed
from tests.actions.prunes import Pruning
from tests.actions.watching import CHAIN
from tests.operators.contexts import Log, TaskRun, killed_when
from tests.operators.prunes import GONE, KEYS, TORN, changes, plan, prune, pruning
from tests.transfer.acting_store import Faults

__all__ = ["pruning"]


def test_prune(pruning: Pruning, run: TaskRun, log: Log) -> None:
    before = pruning.place.files()
    result = prune(pruning).execute(run.context)
    assert json.loads(json.dumps(result)) == result
    assert set(result) == KEYS
    assert set(pruning.place.files()) == {key for key in before if key.startswith("whole/")} | {"readme.md"}
    gone = {key: size for key, size in before.items() if key not in pruning.place.files()}
    assert (result["deleted"], result["deleted_backups"], result["deleted_leftovers"], result["kept"]) == (
        GONE,
        4,
        1,
        1,
    )
    assert (result["objects"], result["deleted_bytes"], result["freed_bytes"]) == (
        len(gone),
        sum(gone.values()),
        sum(gone.values()),
    )
    assert (result["location"], result["dry_run"], result["refused"]) == (str(pruning.place.location), False, "")
    assert (result["spared"], result["locked"], result["failed"], result["foreign"]) == ({}, {}, {}, ["readme.md"])
    assert result["reasons"]["whole"] == "newest good one; last 1"
    assert run.xcoms == {}
    assert "4 backups and 1 leftovers deleted" in log()
    again = prune(pruning).execute(run.context)
    assert (again["deleted"], again["kept"]) == ([], 1)


@pytest.mark.parametrize("dry_run", [True, "True", "true"])
def test_dry_run_changes_nothing(pruning: Pruning, run: TaskRun, log: Log, dry_run: bool | str) -> None:
    before = {path: path.stat() for path in pruning.root.rglob("*")}
    result = prune(pruning, dry_run=dry_run).execute(run.context)
    assert json.loads(json.dumps(result)) == result
    assert set(result) == KEYS
    assert (result["dry_run"], result["deleted"], result["deleted_backups"], result["kept"]) == (True, GONE, 4, 1)
    assert changes(pruning) == []
    after = {path: path.stat() for path in pruning.root.rglob("*")}
    assert {path: (stat.st_mtime_ns, stat.st_ino) for path, stat in after.items()} == {
        path: (stat.st_mtime_ns, stat.st_ino) for path, stat in before.items()
    }
    assert "4 backups and 1 leftovers would be deleted" in log()
    assert "delete: fourth (" in log()
    real = prune(pruning).execute(run.context)
    assert (real["deleted"], real["deleted_bytes"]) == (result["deleted"], result["deleted_bytes"])


class TestWhatIsNotDeleted:
    CHUNK = "third/w1/Article/chunk-1"
    LOCK = Lock(CHUNK, "retention", datetime(2090, 1, 1, tzinfo=UTC))

    def test_fails_with_a_report(self, pruning: Pruning, run: TaskRun) -> None:
        pruning.store.undeletable = {self.CHUNK}
        with pytest.raises(AirflowFailException) as caught:
            prune(pruning).execute(run.context)
        assert f"{self.CHUNK}: AccessDenied" in str(caught.value)
        report = run.xcoms["report"]
        assert json.loads(json.dumps(report)) == report
        assert set(report) == KEYS
        assert report["failed"] == {self.CHUNK: "AccessDenied"}
        assert "third" not in report["deleted"]
        assert "fourth" in report["deleted"]
        pruning.store.undeletable = set()
        prune(pruning).execute(run.context)
        assert set(pruning.place.files()) == {*pruning.place.files("whole"), "readme.md"}

    def test_locked_is_no_failure(self, pruning: Pruning, run: TaskRun) -> None:
        pruning.store.locks = [self.LOCK]
        result = prune(pruning).execute(run.context)
        assert result["locked"] == {"third": "locked until 2090-01-01 00:00 UTC: retention"}
        assert result["spared"] == {"second": "third builds on it, and stays", "full": "third builds on it, and stays"}
        assert (result["deleted"], result["kept"]) == (["fourth", TORN], 4)

    @pytest.mark.parametrize("fail_on_locked", [True, "True"])
    def test_unless_it_is_said_to_be(self, pruning: Pruning, run: TaskRun, fail_on_locked: bool | str) -> None:
        pruning.store.locks = [self.LOCK]
        with pytest.raises(AirflowFailException, match="third: locked until 2090-01-01"):
            prune(pruning, fail_on_locked=fail_on_locked).execute(run.context)
        assert run.xcoms["report"]["deleted"] == ["fourth", TORN]

    def test_a_plan_tells_of_locks(self, pruning: Pruning, run: TaskRun) -> None:
        pruning.store.locks = [self.LOCK]
        result = prune(pruning, fail_on_locked=True, dry_run=True).execute(run.context)
        assert (list(result["locked"]), result["deleted"]) == (["third"], ["fourth", TORN])

    def test_in_use_is_no_failure(self, pruning: Pruning, run: TaskRun) -> None:
        """The next run looks again."""
        with holding(pruning.store, Holder("Dag checks", "verify")) as leases:
            leases.take(["fourth"], Hold.READ)
            result = prune(pruning).execute(run.context)
        assert result["spared"].keys() == set(CHAIN)
        assert "Dag checks holds a lease on it (verify)" in result["spared"]["fourth"]
        assert result["deleted"] == [TORN]


class TestOnly:
    @pytest.mark.parametrize("only", [[], (), "[]", "", "None", "null"])
    @pytest.mark.parametrize("dry_run", [True, False])
    def test_empty_list_allows_nothing(self, pruning: Pruning, run: TaskRun, only: Any, *, dry_run: bool) -> None:
        result = prune(pruning, only=only, dry_run=dry_run).execute(run.context)
        assert (result["deleted"], result["kept"]) == ([], 5)
        assert result["spared"]["fourth"] == "not among those approved"
        assert changes(pruning) == []

    def test_template_that_renders_to_none_allows_nothing(self, pruning: Pruning, run: TaskRun) -> None:
        """As with render_template_as_native_obj, where an XCom is not there."""
        task = prune(pruning, only="{{ ti.xcom_pull(task_ids='plan', key='deleted') }}")
        task.only = None
        assert task.execute(run.context)["deleted"] == []
        assert changes(pruning) == []

    @pytest.mark.parametrize("only", [["fourth", "whole", TORN], '["fourth", "whole", "chosen/", "readme.md"]'])
    def test_of_these_what_the_rules_give_up(self, pruning: Pruning, run: TaskRun, only: Any) -> None:
        result = prune(pruning, only=only).execute(run.context)
        assert (result["deleted"], result["kept"]) == (["fourth", TORN], 4)
        assert pruning.backups() == {"full", "second", "third", "whole"}
        assert (pruning.root / "readme.md").exists()

    def test_what_others_need_stays(self, pruning: Pruning, run: TaskRun) -> None:
        result = prune(pruning, only=["full"]).execute(run.context)
        assert result["deleted"] == []
        assert result["spared"]["full"].endswith(" builds on it, and stays")


class TestErrors:
    def test_refusals_fail_at_once(self, pruning: Pruning, run: TaskRun) -> None:
        with pytest.raises(AirflowFailException, match="would delete 4 good backups, 80% of those") as caught:
            prune(pruning, max_delete_fraction="0.5").execute(run.context)
        assert "raise max_delete_fraction (now 0.5) for this run" in str(caught.value)
        with pruning.place.edited("third/w1/backup.json") as descriptor:
            descriptor.clear()
        for dry_run in (True, False):
            with pytest.raises(AirflowFailException, match="third"):
                prune(pruning, dry_run=dry_run).execute(run.context)
        assert changes(pruning) == []
        assert run.xcoms == {}

    def test_dry_run_tells_of_the_refusal(self, pruning: Pruning, run: TaskRun) -> None:
        result = prune(pruning, max_delete_fraction=0.5, dry_run=True).execute(run.context)
        assert result["refused"].startswith("The rules would delete 4 good backups")
        assert result["deleted"] == GONE

    def test_no_backups(self, tmp_path: Path, run: TaskRun, monkeypatch: pytest.MonkeyPatch) -> None:
        empty = Pruning(tmp_path / "empty")
        monkeypatch.setattr(storage, "open_store", empty.open)
        for dry_run in (True, False):
            with pytest.raises(AirflowFailException, match="The location holds no backups"):
                prune(empty, dry_run=dry_run).execute(run.context)

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_storage_that_is_away_is_left_to_retries(self, pruning: Pruning, run: TaskRun, *, dry_run: bool) -> None:
        pruning.store.before = Faults(lambda: StorageUnreachable("No answer."), lambda _: True)
        with pytest.raises(StorageUnreachable, match="No answer"):
            prune(pruning, dry_run=dry_run).execute(run.context)

    def test_use_by_others_is_left_to_retries(
        self, pruning: Pruning, run: TaskRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def in_use(*_: object) -> None:
            raise BackupInUse("It is in use.")

        monkeypatch.setattr(prune_action, "prune", in_use)
        with pytest.raises(BackupInUse):
            prune(pruning).execute(run.context)

    def test_storage_that_says_no_fails_at_once(self, pruning: Pruning, run: TaskRun) -> None:
        pruning.store.before = Faults(lambda: StorageError("AccessDenied."), lambda call: call.name == "write")
        with pytest.raises(AirflowFailException, match="AccessDenied"):
            prune(pruning).execute(run.context)
        assert pruning.backups() == {*CHAIN, "whole"}


def has_called(pruning: Pruning, count: int, *names: str) -> bool:
    return len(pruning.store.called(*names)) > count


class TestKilled:
    def test_sigterm_unwinds(self, pruning: Pruning, run: TaskRun) -> None:
        """A slow prune ends, leaves no lease, and goes on when it runs again."""
        pruning.store.before = lambda call: time.sleep(0.02) if call.name == "delete" else None
        operator = prune(pruning)
        ready = partial(has_called, pruning, 8, "delete")
        with killed_when(ready, operator), pytest.raises(AirflowException, match="Task 'prune' was killed") as caught:
            operator.execute(run.context)
        assert not isinstance(caught.value, AirflowFailException)
        left = set(pruning.place.files())
        assert len(left) > len(pruning.place.files("whole")) + 1
        assert not [key for key in left if "/lease-" in key]
        pruning.store.before = lambda _: None
        prune(pruning).execute(TaskRun(run_id="another").context)
        assert set(pruning.place.files()) == {*pruning.place.files("whole"), "readme.md"}

    def test_plan_unwinds(self, pruning: Pruning, run: TaskRun) -> None:
        pruning.store.before = lambda _: time.sleep(0.02)
        operator = plan(pruning)
        ready = partial(has_called, pruning, 2, "list", "read")
        with killed_when(ready, operator), pytest.raises(AirflowException, match="Task 'plan' was killed"):
            operator.execute(run.context)

    def test_after_the_end_nothing_is_unwound(self, pruning: Pruning, run: TaskRun) -> None:
        operator = prune(pruning, dry_run=True)
        operator.execute(run.context)
        operator.on_kill()
        pruning.store.before = Faults(lambda: StorageError("AccessDenied."), lambda _: True)
        with pytest.raises(AirflowFailException):
            operator.execute(run.context)
        operator.on_kill()

    def test_a_retry_goes_on_at_once(self, pruning: Pruning, run: TaskRun) -> None:
        """Where others respect the leases of the one that was killed."""
        pruning.store.before = Faults(Killed, lambda call: call.changes and len(pruning.store.called("delete")) > 8)
        with pytest.raises(Killed):
            prune(pruning).execute(run.context)
        pruning.store.before = lambda _: None
        for other in (
            TaskRun(run_id="another"),
            TaskRun(map_index=1),
            TaskRun(task_id="other"),
            TaskRun(dag_id="other"),
        ):
            result = prune(pruning).execute(other.context)
            assert "fourth" not in result["deleted"]
            assert "Dag nightly, run manual__2026-11-22T03:00:00+00:00, backup -1" in str(result["spared"])
        assert prune(pruning).execute(run.context)["deleted"]
        assert set(pruning.place.files()) == {*pruning.place.files("whole"), "readme.md"}
