"""The last step of a task group: what became of it, by what its steps have left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.operators.reports import ReportDrillOperator, ReportMigrationOperator
from tests.operators.contexts import Log, TaskRun

MIGRATION = ("preflight", "back_up", "copy", "verify", "approve", "restore", "compare", "roll_back")
DRILL = ("pick", "restore", "compare")
PLAN: dict[str, Any] = {"collections": ["Article", "Author"], "source_url": "http://one", "target_url": "http://two"}
PLAN |= {"node_mapping": {"w1": "x1"}, "makes_backup": True, "restores": True}
RESULTS: dict[str, dict[str, Any]] = {
    "preflight": PLAN,
    "back_up": {"backup_id": "x1"},
    "copy": {"bytes_moved": 4711},
    "restore": {"seconds": 12.5},
    "compare": {"seconds": 3.25, "differences": []},
    "roll_back": {"collections": ["Article"]},
}


@dataclass
class Group(TaskRun):
    """A Dag run in which the steps of a group have ended.

    :param ended: step -> state; all others succeeded.
    :param results: step -> what it returned.
    :param reports: step -> what it left as it failed.
    """

    ended: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    reports: Mapping[str, Any] = field(default_factory=dict)

    def get_task_states(self, *, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        assert (dag_id, run_ids) == (self.dag_id, [self.run_id])
        return {self.run_id: {task_id: self.ended.get(task_id.partition(".")[2], "success") for task_id in task_ids}}

    def xcom_pull(self, *, task_ids: str, key: str = "return_value") -> Any:
        group, _, step = task_ids.partition(".")
        assert group == "group"
        return {"return_value": self.results, "report": self.reports}[key].get(step)


def skipped(*steps: str) -> dict[str, str]:
    return dict.fromkeys(steps, "skipped")


def steps_of(names: tuple[str, ...]) -> dict[str, str]:
    return {name: f"group.{name}" for name in names}


def migration(group: Group) -> dict[str, Any]:
    return ReportMigrationOperator(task_id="report", steps=steps_of(MIGRATION)).execute(group.context)


def failed(group: Group) -> str:
    with pytest.raises(AirflowFailException) as caught:
        migration(group)
    return str(caught.value)


def without(*steps: str, **others: Any) -> dict[str, Any]:
    """Return the steps' results without some, and with others."""
    return {step: result for step, result in RESULTS.items() if step not in steps} | others


def test_group_that_was_never_reached_is_no_success() -> None:
    """Something before it failed."""
    told = failed(Group(ended=dict.fromkeys(MIGRATION, "upstream_failed")))
    assert told.startswith("The migration did not end well: preflight failed. preflight: Nothing was written anywhere.")


class TestMigration:
    def test_that_was_done(self, log: Log) -> None:
        group = Group(ended=skipped("approve", "roll_back"), results=without("roll_back"))
        result = migration(group)
        assert json.loads(json.dumps(result)) == result
        assert result == {
            "outcome": "migrated",
            "backup_id": "x1",
            "collections": ["Article", "Author"],
            "source_url": "http://one",
            "target_url": "http://two",
            "node_mapping": {"w1": "x1"},
            "bytes_copied": 4711,
            "restore_seconds": 12.5,
            "comparison": RESULTS["compare"],
            "rolled_back": [],
        }
        assert group.xcoms == {}
        text = log()
        assert text.index("preflight: success") < text.index("roll_back: skipped") < text.index("migrated: ")

    def test_without_a_copy(self) -> None:
        group = Group(ended=skipped("copy", "roll_back"), results=without("copy", "roll_back"))
        assert (migration(group)["outcome"], migration(group)["bytes_copied"]) == ("migrated", 0)

    def test_that_was_only_planned(self) -> None:
        plan = PLAN | {"makes_backup": False, "restores": False}
        result = migration(Group(ended=skipped(*MIGRATION[1:]), results={"preflight": plan}))
        assert (result["outcome"], result["backup_id"], result["collections"]) == ("planned", None, PLAN["collections"])
        assert (result["restore_seconds"], result["comparison"]) == (None, None)

    def test_that_was_prepared(self) -> None:
        results = without("restore", "compare", "roll_back", preflight=PLAN | {"restores": False})
        result = migration(Group(ended=skipped(*MIGRATION[4:]), results=results))
        assert (result["outcome"], result["backup_id"], result["bytes_copied"]) == ("prepared", "x1", 4711)

    def test_that_was_rejected(self) -> None:
        results = without("restore", "compare", "roll_back", approve={"chosen_options": ["Reject"]})
        result = migration(Group(ended=skipped(*MIGRATION[5:]), results=results))
        assert (result["outcome"], result["backup_id"]) == ("rejected", "x1")

    @pytest.mark.parametrize(
        ("step", "advice"),
        [
            ("preflight", "Nothing was written anywhere. Mend what it names, and clear it."),
            ("back_up", "The target is untouched. Clear it: it goes on with the backup that it started"),
            ("copy", "The target cluster is untouched. Clear it: it moves what is left."),
            ("verify", "Look at what is damaged, and clear the copy or the backup."),
            ("approve", "Nobody answered. Clear it to ask again; the backup is there."),
            ("restore", "Clear it: it restores what has not arrived. Or roll back."),
            ("compare", "The source is untouched: go on using it. Look at the differences"),
        ],
    )
    def test_step_that_failed(self, step: str, advice: str) -> None:
        later = MIGRATION[MIGRATION.index(step) + 1 :]
        ended = dict.fromkeys(later, "upstream_failed") | {step: "failed", "roll_back": "skipped"}
        group = Group(ended=ended, results=without(step, *later))
        message = failed(group)
        assert message.startswith(f"The migration did not end well: {step} failed. {step}: ")
        assert advice in message
        report = group.xcoms["report"]
        assert json.loads(json.dumps(report)) == report
        assert (report["outcome"], report["rolled_back"]) == ("failed", [])

    def test_comparison_that_failed_is_in_the_report(self) -> None:
        comparison = {"differences": ["Article: 3 objects, not 4"]}
        group = Group(
            ended={"compare": "failed"} | skipped("roll_back"),
            results=without("compare", "roll_back"),
            reports={"compare": comparison},
        )
        failed(group)
        assert group.xcoms["report"]["comparison"] == comparison
        assert group.xcoms["report"]["restore_seconds"] == 12.5

    def test_that_was_rolled_back(self) -> None:
        group = Group(ended={"compare": "failed"}, results=without("compare"))
        assert "compare failed. Rolled back: Article. compare: " in failed(group)
        assert (group.xcoms["report"]["outcome"], group.xcoms["report"]["rolled_back"]) == ("failed", ["Article"])

    def test_roll_back_that_failed(self) -> None:
        group = Group(ended={"compare": "failed", "roll_back": "failed"}, results=without("compare", "roll_back"))
        message = failed(group)
        assert "did not end well: compare, roll_back failed. compare: " in message
        assert "roll_back: Clear it: it deletes what the restore has brought, and nothing else." in message

    def test_every_step_has_its_advice(self) -> None:
        assert tuple(ReportMigrationOperator.ADVICE) == MIGRATION


class TestDrill:
    @pytest.fixture
    def results(self, tmp_path: Path) -> dict[str, Any]:
        """What the steps of a drill have returned; the backup lies in a directory, and is a day old."""
        began = datetime.now(UTC) - timedelta(days=1)
        (tmp_path / "x1").mkdir()
        place = {"location": f"file://{tmp_path}", "uri": f"file://{tmp_path}/x1"}
        pick = {"backup_id": "x1", "started_at": began.isoformat()} | place
        return {"pick": pick, "restore": RESULTS["restore"], "compare": RESULTS["compare"]}

    def drill(self, group: Group) -> dict[str, Any]:
        return ReportDrillOperator(task_id="report", steps=steps_of(DRILL)).execute(group.context)

    def failed(self, group: Group) -> str:
        with pytest.raises(AirflowFailException) as caught:
            self.drill(group)
        return str(caught.value)

    def kept(self, folder: Path) -> Any:
        return json.loads((folder / "x1/_vectorbackup/drill.json").read_bytes())

    def test_that_proved_it(self, tmp_path: Path, results: dict[str, Any]) -> None:
        group = Group(results=results)
        result = self.drill(group)
        assert json.loads(json.dumps(result)) == result
        assert set(result) == {
            *("is_recoverable", "backup_id", "uri", "at", "data_age_seconds", "restore_seconds", "compare_seconds"),
            *("recovery_seconds", "comparison"),
        }
        assert (result["is_recoverable"], result["backup_id"], result["uri"]) == (True, "x1", f"file://{tmp_path}/x1")
        seconds = (result["restore_seconds"], result["compare_seconds"], result["recovery_seconds"])
        assert seconds == (12.5, 3.25, 15.75)
        assert result["data_age_seconds"] == pytest.approx(24 * 3600, abs=60)
        assert abs(datetime.fromisoformat(result["at"]) - datetime.now(UTC)) < timedelta(minutes=1)
        assert result["comparison"] == RESULTS["compare"]
        assert group.xcoms == {}

    def test_is_kept_beside_the_backup(self, tmp_path: Path, results: dict[str, Any]) -> None:
        result = self.drill(Group(results=results))
        assert self.kept(tmp_path) == {"version": 1} | result

    @pytest.mark.parametrize(
        ("ended", "named"),
        [
            ({"compare": "failed"}, "compare"),
            ({"restore": "failed", "compare": "upstream_failed"}, "restore, compare"),
            ({"restore": "skipped", "compare": "skipped"}, "a step was skipped"),
        ],
    )
    def test_that_did_not(self, tmp_path: Path, results: dict[str, Any], ended: dict[str, str], named: str) -> None:
        left = {step: result for step, result in results.items() if step not in ended}
        group = Group(ended=ended, results=left)
        assert self.failed(group) == (
            f"The drill did not prove that file://{tmp_path}/x1 can be restored: {named}. "
            "Look at the logs of these tasks."
        )
        report = group.xcoms["report"]
        assert (report["is_recoverable"], report["recovery_seconds"]) == (False, None)
        assert self.kept(tmp_path) == {"version": 1} | report

    def test_that_found_differences_tells_them(self, tmp_path: Path, results: dict[str, Any]) -> None:
        comparison = {"seconds": 7.5, "differences": ["Article: 3 objects, not 4"]}
        del results["compare"]
        group = Group(ended={"compare": "failed"}, results=results, reports={"compare": comparison})
        self.failed(group)
        report = self.kept(tmp_path)
        assert (report["is_recoverable"], report["comparison"]) == (False, comparison)
        assert (report["restore_seconds"], report["recovery_seconds"]) == (12.5, 20.0)

    def test_without_a_backup_to_try(self, tmp_path: Path) -> None:
        group = Group(ended={"pick": "failed", "restore": "upstream_failed", "compare": "upstream_failed"})
        assert self.failed(group).startswith("The drill did not prove that a backup can be restored: pick, restore, ")
        assert group.xcoms["report"]["backup_id"] is None
        assert list(tmp_path.iterdir()) == []

    def test_of_a_backup_whose_start_is_not_known(self, results: dict[str, Any]) -> None:
        results["pick"]["started_at"] = None
        result = self.drill(Group(results=results))
        assert (result["is_recoverable"], result["data_age_seconds"]) == (True, None)
