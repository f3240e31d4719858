"""The group of tasks that proves a backup by restoring it, as a Dag file makes it and as the scheduler sees it."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, TaskGroup

from airflow_provider_vectorbackup.operators import WeaviateCompareContentOperator
from airflow_provider_vectorbackup.operators.drill import PickRestorePointOperator
from airflow_provider_vectorbackup.operators.own_restore import OwnRestoreOperator, WeaviateRollBackRestoreOperator
from airflow_provider_vectorbackup.operators.reports import ReportDrillOperator
from airflow_provider_vectorbackup.task_groups import restore_drill
from tests.task_groups.dags import rendered, scheduled

STEPS = ("pick", "restore", "compare")
ALL = (*STEPS, "clean_up", "report")
LOCATION = "s3://aws@backups/a"


def made(**fields: Any) -> DAG:
    with DAG("drills", schedule=None) as dag:
        restore_drill(**({"location": LOCATION, "scratch_conn_id": "scratch"} | fields))
    return dag


def test_what_each_step_is() -> None:
    dag = made()
    kinds: dict[str, type[BaseOperator]] = {
        "pick": PickRestorePointOperator,
        "restore": OwnRestoreOperator,
        "compare": WeaviateCompareContentOperator,
        "clean_up": WeaviateRollBackRestoreOperator,
        "report": ReportDrillOperator,
    }
    assert set(dag.task_dict) == {f"drill.{name}" for name in kinds}
    for name, kind in kinds.items():
        assert isinstance(dag.get_task(f"drill.{name}"), kind)


class TestOrder:
    @pytest.fixture
    def tasks(self) -> dict[str, dict[str, Any]]:
        return {name.removeprefix("drill."): task for name, task in scheduled(made()).items()}

    def test_of_the_steps(self, tasks: dict[str, dict[str, Any]]) -> None:
        assert {name: {after.removeprefix("drill.") for after in task["after"]} for name, task in tasks.items()} == {
            "pick": set(),
            "restore": {"pick"},
            "compare": {"restore"},
            "clean_up": {"pick", "compare"},
            "report": {"compare"},
        }

    def test_clean_up_follows_whatever_happens_after_the_pick(self, tasks: dict[str, dict[str, Any]]) -> None:
        assert [name for name, task in tasks.items() if task["is_teardown"]] == ["clean_up"]
        assert [name for name, task in tasks.items() if task["is_setup"]] == ["pick"]
        assert tasks["clean_up"]["rule"] == "all_done_setup_success"

    def test_report_comes_in_any_case(self, tasks: dict[str, dict[str, Any]]) -> None:
        assert tasks["report"]["rule"] == "all_done"
        assert {tasks[name]["rule"] for name in STEPS} == {"all_success"}


def test_scratch_cluster_that_is_left_full_fails_the_run() -> None:
    assert made().get_task("drill.clean_up").on_failure_fail_dagrun


class TestWhatStepsAreTold:
    @pytest.mark.parametrize("step", ["restore", "clean_up"])
    def test_what_was_picked(self, step: str) -> None:
        task = rendered(made(), f"drill.{step}")
        for name in ("backup_id", "backend", "location", "bucket", "path"):
            assert getattr(task, name) == f"{name} of drill.pick"
        assert task.weaviate_conn_id == "scratch"

    def test_what_the_cluster_is_compared_with(self) -> None:
        task = rendered(made(), "drill.compare")
        assert (task.expected, task.weaviate_conn_id) == ("uri of drill.pick", "scratch")
        assert task.probe_writes is True

    def test_restore_is_of_the_whole_backup_to_whatever_nodes_there_are(self) -> None:
        restore: Any = made().get_task("drill.restore")
        assert (restore.include, restore.exclude, restore.map_nodes) == (None, None, True)

    @pytest.mark.parametrize(
        ("name", "value", "step", "attribute"),
        [
            ("location", "gs://google@other", "pick", "location"),
            ("pick", "random", "pick", "pick"),
            ("backend", "s3", "pick", "backend"),
            ("id_prefix", "nightly-", "pick", "id_prefix"),
            ("inactive_tenants", "warn", "compare", "inactive_tenants"),
            ("min_recall", 0.5, "compare", "min_recall"),
            ("ignore_mismatch", True, "restore", "ignore_mismatch"),
            ("deferrable", True, "restore", "deferrable"),
            ("timeout", 60.0, "restore", "timeout"),
        ],
    )
    def test_by_whoever_makes_the_group(self, name: str, value: Any, step: str, attribute: str) -> None:
        assert getattr(made(**{name: value}).get_task(f"drill.{step}"), attribute) == value
        assert getattr(made().get_task(f"drill.{step}"), attribute) != value

    def test_by_templates(self) -> None:
        dag = made(location="{{ params.chosen }}", scratch_conn_id="{{ params.chosen }}", pick="{{ params.chosen }}")
        pick = rendered(dag, "drill.pick")
        assert (pick.location, pick.scratch_conn_id, pick.pick) == ("Art*", "Art*", "Art*")
        for step in ("restore", "compare", "clean_up"):
            assert rendered(dag, f"drill.{step}").weaviate_conn_id == "Art*"


def test_report_looks_at_each_step_but_the_clean_up() -> None:
    report: Any = made().get_task("drill.report")
    assert report.steps == {step: f"drill.{step}" for step in STEPS}


def test_inside_another_group() -> None:
    with DAG("drills", schedule=None) as dag, TaskGroup("outer"):
        restore_drill(LOCATION, "scratch", group_id="weekly")
    assert set(dag.task_dict) == {f"outer.weekly.{name}" for name in ALL}
    assert rendered(dag, "outer.weekly.clean_up").backup_id == "backup_id of outer.weekly.pick"
    report: Any = dag.get_task("outer.weekly.report")
    assert report.steps == {step: f"outer.weekly.{step}" for step in STEPS}
    assert scheduled(dag)["outer.weekly.clean_up"]["is_teardown"]


def test_two_places_in_one_dag() -> None:
    with DAG("drills", schedule=None) as dag:
        first = restore_drill(LOCATION, "scratch", group_id="first")
        second = restore_drill("gs://google@other", "scratch", group_id="second")
        first >> second
    # What follows waits for the report, not for the clean-up: that is Airflow's rule for teardowns.
    assert scheduled(dag)["second.pick"]["after"] == {"first.report"}


def test_default_arguments() -> None:
    dag = made(default_args={"retries": 7, "pool": "drills"})
    assert {(task.retries, task.pool) for task in dag.tasks} == {(7, "drills")}


def test_option_that_there_is_none_of() -> None:
    with pytest.raises(TypeError, match="seed"):
        made(seed=3)
