"""The group of tasks that migrates an environment, as a Dag file makes it and as the scheduler sees it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, TaskGroup

from airflow_provider_vectorbackup.operators import (
    WeaviateCompareContentOperator,
    WeaviateCopyBackupOperator,
    WeaviateCreateBackupOperator,
    WeaviateVerifyBackupOperator,
)
from airflow_provider_vectorbackup.operators.migration import PlanMigrationOperator
from airflow_provider_vectorbackup.operators.own_restore import OwnRestoreOperator, WeaviateRollBackRestoreOperator
from airflow_provider_vectorbackup.operators.reports import ReportMigrationOperator
from airflow_provider_vectorbackup.task_groups import migrate_environment
from tests.task_groups.dags import loaded_by, rendered, scheduled, skips

STEPS = ("preflight", "back_up", "copy", "verify", "approve", "restore", "compare", "roll_back")
ALL = (*STEPS, "report")


def made(**fields: Any) -> DAG:
    with DAG("migrations", schedule=None) as dag:
        migrate_environment(**({"source": "old", "target": "new"} | fields))
    return dag


class TestOrder:
    @pytest.fixture
    def tasks(self) -> dict[str, dict[str, Any]]:
        return {name.removeprefix("migrate."): task for name, task in scheduled(made()).items()}

    def test_of_the_steps(self, tasks: dict[str, dict[str, Any]]) -> None:
        """None but its successor waits for the preflight: else a rule would count it as a success."""
        assert {name: {after.removeprefix("migrate.") for after in task["after"]} for name, task in tasks.items()} == {
            "preflight": set(),
            "back_up": {"preflight"},
            "copy": {"back_up"},
            "verify": {"back_up", "copy"},
            "approve": {"verify"},
            "restore": {"verify", "approve"},
            "compare": {"restore"},
            "roll_back": {"restore", "compare"},
            "report": {"compare", "roll_back"},
        }

    def test_rules(self, tasks: dict[str, dict[str, Any]]) -> None:
        """A copy and an approval may be left out; a failure before leaves all else out, but for the last two."""
        rules = {name: task["rule"] for name, task in tasks.items()}
        assert {name: rule for name, rule in rules.items() if rule != "all_success"} == {
            "verify": "none_failed_min_one_success",
            "restore": "none_failed_min_one_success",
            "roll_back": "one_failed",
            "report": "all_done",
        }

    def test_nothing_is_set_up_or_torn_down(self, tasks: dict[str, dict[str, Any]]) -> None:
        assert not any(task["is_setup"] or task["is_teardown"] for task in tasks.values())


def test_what_each_step_is() -> None:
    dag = made()
    kinds: dict[str, type[BaseOperator]] = {
        "preflight": PlanMigrationOperator,
        "back_up": WeaviateCreateBackupOperator,
        "copy": WeaviateCopyBackupOperator,
        "verify": WeaviateVerifyBackupOperator,
        "restore": OwnRestoreOperator,
        "compare": WeaviateCompareContentOperator,
        "roll_back": WeaviateRollBackRestoreOperator,
        "report": ReportMigrationOperator,
    }
    assert set(dag.task_dict) == {f"migrate.{name}" for name in ALL}
    for name, kind in kinds.items():
        assert isinstance(dag.get_task(f"migrate.{name}"), kind)


class TestWhatIsLeftOut:
    """By what the preflight has found, or the form says."""

    @pytest.mark.parametrize(
        ("step", "flag"),
        [
            ("back_up", "makes_backup"),
            ("copy", "is_copied"),
            ("approve", "asks"),
            ("restore", "restores"),
            ("roll_back", "rolls_back"),
        ],
    )
    def test_steps_that_are_asked_for_only(self, step: str, flag: str) -> None:
        dag = made()
        assert not skips(dag, f"migrate.{step}", **{flag: True})
        assert skips(dag, f"migrate.{step}", **{flag: False})
        assert skips(dag, f"migrate.{step}", **{flag: None})  # there was no preflight that told

    def test_others_are_always_done(self) -> None:
        dag = made()
        for step in set(ALL) - {"back_up", "copy", "approve", "restore", "roll_back"}:
            task: Any = dag.get_task(f"migrate.{step}")
            assert task._pre_execute_hook is None


class TestApproval:
    def test_no_answer_is_a_reject(self) -> None:
        task: Any = made(approval=True, approval_timeout=timedelta(hours=8)).get_task("migrate.approve")
        assert task.defaults == ["Reject"]
        assert task.options == ["Approve", "Reject"]
        assert task.response_timeout == timedelta(hours=8)

    def test_shows_the_plan(self) -> None:
        task = rendered(made(target="prod"), "migrate.approve")
        assert (task.subject, task.body) == ("Restore into prod?", "markdown of migrate.preflight")

    def test_a_reject_leaves_out_the_restore_alone(self) -> None:
        """The report is to come in any case."""
        task: Any = made().get_task("migrate.approve")
        assert (task.ignore_downstream_trigger_rules, task.fail_on_reject) == (False, False)
        assert task.downstream_task_ids == {"migrate.restore"}


class TestWhatStepsAreTold:
    def test_by_earlier_ones(self) -> None:
        dag = made()
        source, target = "source_location of migrate.preflight", "target_location of migrate.preflight"
        backup_id = "backup_id of migrate.back_up"
        assert rendered(dag, "migrate.back_up").location == source
        copy = rendered(dag, "migrate.copy")
        assert (copy.source, copy.target, copy.backup_id) == (source, target, backup_id)
        verify = rendered(dag, "migrate.verify")
        assert (verify.location, verify.backup_id) == (target, backup_id)
        for step in ("restore", "roll_back"):
            task = rendered(dag, f"migrate.{step}")
            assert (task.location, task.backup_id) == (target, backup_id)
            assert (task.bucket, task.path) == ("bucket of migrate.preflight", "path of migrate.preflight")
        assert rendered(dag, "migrate.compare").expected == f"{target}/{backup_id}"

    def test_clusters(self) -> None:
        dag = made(source_backend="s3", target_backend="gcs", source_location="s3://a@b", target_location="gs://c@d")
        plan: Any = dag.get_task("migrate.preflight")
        assert (plan.source, plan.source_backend, plan.source_location) == ("old", "s3", "s3://a@b")
        assert (plan.target, plan.target_backend, plan.target_location) == ("new", "gcs", "gs://c@d")
        back_up: Any = dag.get_task("migrate.back_up")
        assert (back_up.weaviate_conn_id, back_up.backend) == ("old", "s3")
        for step in ("restore", "roll_back"):
            task: Any = dag.get_task(f"migrate.{step}")
            assert (task.weaviate_conn_id, task.backend) == ("new", "gcs")
        compare: Any = dag.get_task("migrate.compare")
        assert compare.weaviate_conn_id == "new"

    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("include", ["A*"], {"preflight": "include", "back_up": "include"}),
            ("exclude", ["B"], {"preflight": "exclude", "back_up": "exclude"}),
            ("node_mapping", {"w1": "x1"}, {"preflight": "node_mapping", "restore": "node_mapping"}),
            (
                "incremental_base",
                "latest",
                {"preflight": "incremental_base", "back_up": "incremental_base_backup_id"},
            ),
            ("compression", "ZstdBestSpeed", {"preflight": "compression", "back_up": "compression"}),
            ("inactive_tenants", "activate", {"back_up": "inactive_tenants", "compare": "inactive_tenants"}),
            ("overwrite_alias", True, {"restore": "overwrite_alias"}),
            ("roles_options", "all", {"preflight": "roles_options", "restore": "roles_options"}),
            ("users_options", "all", {"preflight": "users_options", "restore": "users_options"}),
            ("ignore_mismatch", True, {"preflight": "ignore_mismatch", "restore": "ignore_mismatch"}),
            ("verify_level", "quick", {"verify": "level"}),
            ("strict", True, {"compare": "strict"}),
            ("min_recall", 0.5, {"compare": "min_recall"}),
            ("dry_run", True, {"preflight": "dry_run"}),
            ("prepare_only", True, {"preflight": "prepare_only"}),
            ("approval", True, {"preflight": "approval"}),
            ("rollback", True, {"preflight": "rollback"}),
            ("deferrable", True, {"back_up": "deferrable", "restore": "deferrable"}),
            ("timeout", 60.0, {"back_up": "timeout", "restore": "timeout"}),
        ],
    )
    def test_by_whoever_makes_the_group(self, name: str, value: Any, told: dict[str, str]) -> None:
        dag = made(**{name: value})
        usual = made()
        for step, attribute in told.items():
            assert getattr(dag.get_task(f"migrate.{step}"), attribute) == value
            assert getattr(usual.get_task(f"migrate.{step}"), attribute) != value

    def test_by_templates(self) -> None:
        dag = made(include="{{ params.chosen }}", source="{{ params.chosen }}", target="{{ params.chosen }}")
        plan = rendered(dag, "migrate.preflight")
        assert (plan.source, plan.target, plan.include) == ("Art*", "Art*", "Art*")
        assert rendered(dag, "migrate.back_up").include == "Art*"
        for step in ("back_up", "restore", "compare", "roll_back"):
            assert rendered(dag, f"migrate.{step}").weaviate_conn_id == "Art*"
        assert rendered(dag, "migrate.approve").subject == "Restore into Art*?"

    def test_nodes_are_mapped_and_contents_recorded(self) -> None:
        dag = made()
        back_up: Any = dag.get_task("migrate.back_up")
        restore: Any = dag.get_task("migrate.restore")
        assert (back_up.content_record, restore.map_nodes, restore.include, restore.exclude) == (True, True, None, None)


def test_report_looks_at_each_step() -> None:
    report: Any = made().get_task("migrate.report")
    assert report.steps == {step: f"migrate.{step}" for step in STEPS}
    assert set(report.ADVICE) == set(STEPS)


def test_inside_another_group() -> None:
    with DAG("migrations", schedule=None) as dag, TaskGroup("outer"):
        migrate_environment("old", "new", group_id="move")
    assert set(dag.task_dict) == {f"outer.move.{name}" for name in ALL}
    assert rendered(dag, "outer.move.restore").backup_id == "backup_id of outer.move.back_up"
    report: Any = dag.get_task("outer.move.report")
    assert report.steps == {step: f"outer.move.{step}" for step in STEPS}
    assert scheduled(dag)["outer.move.verify"]["after"] == {"outer.move.back_up", "outer.move.copy"}


def test_two_after_one_another() -> None:
    with DAG("migrations", schedule=None) as dag:
        first = migrate_environment("old", "new", group_id="prepare", prepare_only=True)
        second = migrate_environment("old", "new", group_id="cut_over", incremental_base="latest", strict=True)
        first >> second
    tasks = scheduled(dag)
    assert tasks["cut_over.preflight"]["after"] == {"prepare.report"}
    assert rendered(dag, "cut_over.copy").backup_id == "backup_id of cut_over.back_up"


def test_default_arguments() -> None:
    dag = made(default_args={"retries": 7, "pool": "moves"})
    assert {(task.retries, task.pool) for task in dag.tasks} == {(7, "moves")}


def test_option_that_there_is_none_of() -> None:
    with pytest.raises(TypeError, match="approve"):
        made(approve=True)


def test_a_dag_file_loads_nothing_heavy() -> None:
    code = """
from airflow_provider_vectorbackup.task_groups import migrate_environment, restore_drill
with DAG("dag", schedule=None):
    migrate_environment("old", "new", approval=True, rollback=True)
    restore_drill("s3://one@bucket/a", "scratch")
"""
    assert loaded_by(code) == set()
    assert "requests" in loaded_by(code + "import requests")
