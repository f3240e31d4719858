"""The operators of copies; what a copy does is tested in tests/actions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_vectorbackup.compat import AirflowException, AirflowFailException
from airflow_provider_vectorbackup.exceptions import BackupInUse, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.hooks import storage
from airflow_provider_vectorbackup.operators.copy import (
    CopyShareOperator,
    FinishCopyOperator,
    PlanCopyOperator,
    WeaviateCopyBackupOperator,
)
from airflow_provider_vectorbackup.transfer import moving
from tests.actions.copies import CHAIN, Copying, Killed, at, change_byte, date, is_chunk
from tests.operators.contexts import Log, TaskRun, killed_when
from tests.transfer.acting_store import Call, Faults

KEYS = {
    *("backup_id", "source", "target", "uri", "location", "chain", "copied", "skipped", "objects", "bytes_moved"),
    *("bytes_skipped", "seconds", "rate_bytes_per_second", "method", "manifests", "dry_run"),
}


@pytest.fixture
def copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copying:
    """A chain of four, and an empty target."""
    found = Copying(tmp_path, "chain-1.39.2")
    date(found, *CHAIN)
    monkeypatch.setattr(storage, "open_store", found.open)
    return found


def places(copying: Copying) -> dict[str, Any]:
    return {"source": str(at(copying.source)), "target": str(at(copying.target))}


def copy(copying: Copying, **fields: Any) -> WeaviateCopyBackupOperator:
    return WeaviateCopyBackupOperator(task_id="copy", **(places(copying) | fields))


def test_copy(copying: Copying, run: TaskRun, log: Log) -> None:
    result = copy(copying, backup_id="second").execute(run.context)
    assert json.loads(json.dumps(result)) == result
    assert set(result) == KEYS
    assert (result["backup_id"], result["uri"]) == ("second", at(copying.target).uri_of("second"))
    assert (result["chain"], result["copied"], result["skipped"]) == (["full", "second"], ["full", "second"], [])
    assert (result["method"], result["dry_run"]) == ("streamed", False)
    copying.require_whole("full", "second")
    assert "second is copied: file:///" in log()
    again = copy(copying, backup_id="second").execute(run.context)
    assert (again["copied"], again["skipped"], again["bytes_moved"]) == ([], ["full", "second"], 0)


def test_latest_is_what_is_copied_if_nothing_is_said(copying: Copying, run: TaskRun) -> None:
    given: list[dict[str, Any]] = [{}, {"backup_id": "latest"}, {"backup_id": "None"}]
    for fields in given:
        assert copy(copying, dry_run=True, **fields).execute(run.context)["backup_id"] == "fourth"


def test_retry_copies_what_was_the_latest(copying: Copying, run: TaskRun) -> None:
    """Else the copy that was begun would stay half for ever."""
    date(copying, "fourth", "third", "second", "full")
    copying.target.before = Faults(lambda: StorageError("AccessDenied."), is_chunk)
    with pytest.raises(AirflowException, match="AccessDenied"):
        copy(copying).execute(run.context)
    copying.target.before = lambda _: None
    date(copying, "fourth", "third", "full", "second")
    assert copy(copying).execute(run.context)["backup_id"] == "full"
    assert copy(copying).execute(run.context)["backup_id"] == "second"


def test_dry_run(copying: Copying, run: TaskRun) -> None:
    result = copy(copying, backup_id="full", dry_run="True").execute(run.context)
    assert (result["dry_run"], result["copied"]) == (True, ["full"])
    assert result["bytes_moved"] == sum(stored.size_bytes for stored in copying.source.stored("full/").values())
    assert copying.target.stored() == {}


def test_texts_from_templates(copying: Copying, run: TaskRun) -> None:
    values = places(copying) | {
        "backup_id": "full",
        "method": "streamed",
        "on_conflict": "replace",
        "threads": "3",
        "buffer_mib": "16",
        "max_mib_per_second": "500.5",
        "dry_run": "False",
    }
    assert set(values) == set(WeaviateCopyBackupOperator.template_fields)
    templates: dict[str, Any] = {name: f"{{{{ params.{name} }}}}" for name in values}
    with DAG("copies", schedule=None):
        task = WeaviateCopyBackupOperator(task_id="copy", **templates)
    task.render_template_fields({"params": values})
    assert {name: getattr(task, name) for name in values} == values
    assert task.execute(run.context)["copied"] == ["full"]
    assert copy(copying, backup_id="full", max_mib_per_second="None").execute(run.context)["copied"] == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"source": "bucket/path"}, "'bucket/path' is not a location"),
        ({"target": ""}, "is not a location"),
        ({"backup_id": "Bad Id"}, "'Bad Id' is not a backup id"),
        ({"backup_id": "../full"}, "is not a backup id"),
        ({"method": "fast"}, "method is 'fast'. Use one of auto, streamed, server_side."),
        ({"method": "server_side"}, "inside the storage"),
        ({"on_conflict": "merge"}, "on_conflict is 'merge'. Use one of fail, replace."),
        ({"threads": "many"}, "threads is 'many'"),
        ({"threads": "17"}, "threads is 17. Give 1 to 16."),
        ({"threads": None}, "threads is 0"),
        ({"buffer_mib": "0"}, "buffer_mib is 0. Give 1 or more."),
        ({"buffer_mib": None}, "buffer_mib is None"),
        ({"max_mib_per_second": "fast"}, "max_mib_per_second is 'fast'"),
        ({"max_mib_per_second": "0"}, "max_mib_per_second is '0'. Give a number above 0."),
        ({"max_mib_per_second": -1}, "max_mib_per_second is -1. Give a number above 0."),
        ({"dry_run": "maybe"}, "dry_run is 'maybe'"),
    ],
)
def test_bad_input(copying: Copying, run: TaskRun, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException) as caught:
        copy(copying, **({"backup_id": "full"} | fields)).execute(run.context)
    assert text in str(caught.value)
    assert (copying.source.calls, copying.target.calls) == ([], [])


class TestFailures:
    def test_damage_and_conflicts_fail_at_once(self, copying: Copying, run: TaskRun) -> None:
        with pytest.raises(AirflowFailException, match=r"fifth/backup_config\.json is not there"):
            copy(copying, backup_id="fifth").execute(run.context)
        copy(copying, backup_id="full").execute(run.context)
        change_byte(copying.target.root / "full/w1/Photo/chunk-1")
        with pytest.raises(AirflowFailException, match="holds other bytes as full/w1/Photo/chunk-1"):
            copy(copying, backup_id="full").execute(run.context)
        copy(copying, backup_id="full", on_conflict="replace").execute(run.context)
        copying.require_whole("full")

    def test_refusal_fails_at_once(self, copying: Copying, run: TaskRun) -> None:
        copying.target.before = Faults(lambda: StorageError("AccessDenied."), is_chunk)
        with pytest.raises(AirflowFailException, match="AccessDenied"):
            copy(copying).execute(run.context)

    def test_storage_that_is_away_is_left_to_retries(
        self, copying: Copying, run: TaskRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(moving, "PAUSES_SECONDS", (0.01, 0.01))
        copying.target.before = Faults(lambda: StorageUnreachable("No answer."), is_chunk)
        with pytest.raises(StorageUnreachable, match="Given up after 3 attempts"):
            copy(copying).execute(run.context)
        assert copying.backups() == set()

    def test_backup_in_use_is_left_to_retries(self, copying: Copying, run: TaskRun) -> None:
        killed(copying, run)
        with pytest.raises(BackupInUse, match="Dag nightly, run manual__"):
            copy(copying, backup_id="full").execute(TaskRun(run_id="another").context)
        with pytest.raises(BackupInUse):
            copy(copying, backup_id="full").execute(TaskRun(map_index=1).context)


def killed(copying: Copying, run: TaskRun) -> None:
    """Have a try of the task end as by SIGKILL: nothing more comes of it, its leases included."""
    copying.target.before = Faults(
        Killed, lambda call: call.changes and len([each for each in copying.target.calls if is_chunk(each)]) > 5
    )
    with pytest.raises(Killed):
        copy(copying, backup_id="full").execute(run.context)
    copying.target.before = lambda _: None


class TestKilled:
    def test_next_try_goes_on_at_once(self, copying: Copying, run: TaskRun) -> None:
        killed(copying, run)
        assert copy(copying, backup_id="full").execute(run.context)["copied"] == ["full"]
        copying.require_whole("full")

    def test_sigterm_unwinds(self, copying: Copying, run: TaskRun) -> None:
        """A slow copy ends, leaves no lease, and tells in the journal what it moved."""
        operator = copy(copying, backup_id="full", max_mib_per_second=0.005, threads=2)
        with (
            killed_when(lambda: len(moved_whole(copying)) > 0, operator),
            pytest.raises(AirflowException, match="was killed"),
        ):
            operator.execute(run.context)
        first = set(moved_whole(copying))
        assert copying.backups() == set()
        assert not [key for key in copying.target.stored() if "/lease-" in key]
        copying.forget_calls()
        result = copy(copying, backup_id="full").execute(run.context)
        assert result["bytes_skipped"] > 0
        assert not first & {call.key for call in copying.target.calls if is_chunk(call)}
        copying.require_whole("full")


def moved_whole(copying: Copying) -> list[str]:
    return [key for key in copying.target.stored() if is_chunk(Call("write", key))]


class TestShared:
    def plan(self, copying: Copying, run: TaskRun, **fields: Any) -> dict[str, Any]:
        given: dict[str, Any] = {"backup_id": "second", "workers": "3"} | places(copying) | fields
        shares = PlanCopyOperator(task_id="x.plan", **given).execute(run.context)
        planned: dict[str, Any] = json.loads(json.dumps({"shares": shares} | run.xcoms))
        return planned

    def rest(self, copying: Copying, planned: dict[str, Any]) -> dict[str, Any]:
        """Do what follows the plan, each step as a task of its own."""
        given = {"backup_id": planned["backup_id"], "plan": planned["plan"]} | places(copying)
        moved = [
            CopyShareOperator(task_id="x.move", share=share, **given).execute(
                TaskRun(task_id="x.move", map_index=share).context
            )
            for share in planned["shares"]
        ]
        finish = FinishCopyOperator(task_id="x.finish", moved=moved or None, **given)
        return finish.execute(TaskRun(task_id="x.finish").context)

    @pytest.fixture
    def run(self) -> TaskRun:
        return TaskRun(task_id="x.plan")

    def test_three_workers(self, copying: Copying, run: TaskRun) -> None:
        planned = self.plan(copying, run)
        assert planned["shares"] == [0, 1, 2]
        assert set(planned) == {"shares", "plan", "backup_id"}
        result = self.rest(copying, planned)
        assert set(result) == KEYS
        assert json.loads(json.dumps(result)) == result
        assert (result["copied"], result["chain"]) == (["full", "second"], ["full", "second"])
        copying.require_whole("full", "second")

    def test_nothing_to_move(self, copying: Copying, run: TaskRun) -> None:
        copy(copying, backup_id="second").execute(run.context)
        planned = self.plan(copying, run)
        assert planned["shares"] == []
        assert self.rest(copying, planned)["skipped"] == ["full", "second"]

    def test_dry_run(self, copying: Copying, run: TaskRun) -> None:
        planned = self.plan(copying, run, backup_id="latest", dry_run="True")
        assert (planned["backup_id"], planned["shares"]) == ("fourth", [])
        assert self.rest(copying, planned)["dry_run"] is True
        assert copying.target.stored() == {}

    @pytest.mark.parametrize("workers", ["0", "some", None])
    def test_bad_number_of_workers(self, copying: Copying, run: TaskRun, workers: str | None) -> None:
        with pytest.raises(AirflowFailException, match="workers is "):
            self.plan(copying, run, workers=workers)
        assert copying.target.calls == []

    def test_without_a_plan(self, copying: Copying, run: TaskRun) -> None:
        share = CopyShareOperator(task_id="x.move", share=0, plan=None, **places(copying), backup_id="full")
        with pytest.raises(AirflowFailException, match="There is no plan to go by"):
            share.execute(run.context)
