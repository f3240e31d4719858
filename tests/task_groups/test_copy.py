"""The group of tasks that share a copy, as a Dag file makes it; the steps themselves are tested with the operators."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_vectorbackup.operators.copy import CopyShareOperator, FinishCopyOperator, PlanCopyOperator
from airflow_provider_vectorbackup.task_groups import copy_backup

PLACES = {"source": "s3://one@bucket/a", "target": "gs://two@bucket/{{ ds }}"}
OPTIONS = {
    "method": "streamed",
    "on_conflict": "replace",
    "threads": "{{ params.threads }}",
    "buffer_mib": 64,
    "max_mib_per_second": 20,
}


def made(**fields: Any) -> DAG:
    with DAG("copies", schedule=None) as dag:
        copy_backup(**(PLACES | fields))
    return dag


def test_one_task_after_the_other() -> None:
    dag = made()
    assert set(dag.task_dict) == {"copy_backup.plan", "copy_backup.move", "copy_backup.finish"}
    assert dag.get_task("copy_backup.plan").upstream_task_ids == set()
    assert dag.get_task("copy_backup.move").upstream_task_ids == {"copy_backup.plan"}
    assert dag.get_task("copy_backup.finish").upstream_task_ids == {"copy_backup.plan", "copy_backup.move"}


def test_moves_are_mapped_and_the_others_are_not() -> None:
    dag = made()
    assert {task_id: task.is_mapped for task_id, task in dag.task_dict.items()} == {
        "copy_backup.plan": False,
        "copy_backup.move": True,
        "copy_backup.finish": False,
    }
    assert isinstance(dag.get_task("copy_backup.plan"), PlanCopyOperator)
    assert isinstance(dag.get_task("copy_backup.finish"), FinishCopyOperator)
    move: Any = dag.get_task("copy_backup.move")
    assert move.operator_class is CopyShareOperator
    assert set(move.expand_input.value) == {"share"}


def test_end_follows_also_where_nothing_is_to_be_moved() -> None:
    dag = made()
    assert dag.get_task("copy_backup.finish").trigger_rule == "none_failed"
    assert {dag.get_task(f"copy_backup.{name}").trigger_rule for name in ("plan", "move")} == {"all_success"}


def test_two_groups_in_one_dag() -> None:
    with DAG("copies", schedule=None) as dag:
        first = copy_backup(**PLACES, group_id="first")  # type: ignore[arg-type]
        second = copy_backup(**PLACES, group_id="second")  # type: ignore[arg-type]
        first >> second
    assert dag.get_task("second.plan").upstream_task_ids == {"first.finish"}


def test_every_worker_is_told_the_options() -> None:
    dag = made(**OPTIONS, backup_id="nightly", workers=5, dry_run="{{ params.dry }}")
    plan: Any = dag.get_task("copy_backup.plan")
    move: Any = dag.get_task("copy_backup.move")
    finish: Any = dag.get_task("copy_backup.finish")
    for name, value in (PLACES | OPTIONS).items():
        assert (getattr(plan, name), move.partial_kwargs[name], getattr(finish, name)) == (value, value, value)
    assert (plan.backup_id, plan.workers, plan.dry_run) == ("nightly", 5, "{{ params.dry }}")


def test_default_arguments() -> None:
    dag = made(default_args={"retries": 7, "pool": "copies"})
    assert {(task.retries, task.pool) for task in dag.tasks} == {(7, "copies")}


def test_option_that_there_is_none_of() -> None:
    with pytest.raises(TypeError, match="thread"):
        made(thread=3)
