"""The group of tasks that prunes a location, as a Dag file makes it and as the scheduler sees it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, TaskGroup

from airflow_provider_vectorbackup.operators import WeaviatePruneBackupsOperator
from airflow_provider_vectorbackup.operators.prune import PlanPruneOperator
from airflow_provider_vectorbackup.task_groups import prune_backups
from airflow_provider_vectorbackup.task_groups.steps import pulled
from tests.task_groups.dags import TaskInstance, loaded_by, rendered, scheduled, skips

LOCATION = "s3://one@bucket/a"
PLAN, APPROVE, PRUNE = (f"prune_backups.{name}" for name in ("plan", "approve", "prune"))
RULES: dict[str, Any] = {
    "keep_last": "3",
    "keep_within": timedelta(days=30),
    "keep_hourly": 24,
    "keep_daily": 7,
    "keep_weekly": 4,
    "keep_monthly": 12,
    "keep_yearly": -1,
    "min_count": 2,
    "max_total_gib": 0.5,
    "id_prefix": "nightly-",
    "rules": [{"keep_last": 3}],
    "timezone": "Europe/Berlin",
    "pinned": ["full"],
    "grace": 60.0,
    "leftover_grace": timedelta(days=3),
    "delete_damaged": True,
    "max_delete_fraction": 0.25,
    "fail_on_locked": True,
}


def made(location: str = LOCATION, **fields: Any) -> DAG:
    with DAG("retention", schedule=None) as dag:
        prune_backups(location, **({"keep_daily": 7} | fields))
    return dag


def test_order() -> None:
    """What is approved is what was planned; without an approval, the plan alone must have succeeded."""
    tasks = scheduled(made())
    assert {name: (task["after"], task["rule"]) for name, task in tasks.items()} == {
        PLAN: (set(), "all_success"),
        APPROVE: ({PLAN}, "all_success"),
        PRUNE: ({PLAN, APPROVE}, "none_failed_min_one_success"),
    }
    assert not any(task["is_setup"] or task["is_teardown"] for task in tasks.values())


def test_what_each_step_is() -> None:
    dag = made()
    kinds: dict[str, type[BaseOperator]] = {PLAN: PlanPruneOperator, PRUNE: WeaviatePruneBackupsOperator}
    for name, kind in kinds.items():
        assert type(dag.get_task(name)) is kind


class TestWhatIsLeftOut:
    """By what the plan has found, or the form says."""

    @pytest.mark.parametrize(("step", "flag"), [(APPROVE, "asks"), (PRUNE, "prunes")])
    def test_steps_that_are_asked_for_only(self, step: str, flag: str) -> None:
        dag = made()
        other = {"asks": "prunes", "prunes": "asks"}[flag]
        assert not skips(dag, step, **{flag: True, other: False})
        assert skips(dag, step, **{flag: False, other: True})
        assert skips(dag, step, **{flag: None, other: True})  # there was no plan that told

    def test_the_plan_is_always_made(self) -> None:
        plan: Any = made().get_task(PLAN)
        assert plan._pre_execute_hook is None


class TestApproval:
    def test_no_answer_is_a_reject(self) -> None:
        people = [{"id": "1", "name": "admin"}]
        dag = made(approval=True, approval_timeout=timedelta(hours=8), approval_users=people)
        task: Any = dag.get_task(APPROVE)
        assert (task.defaults, task.options) == (["Reject"], ["Approve", "Reject"])
        assert task.response_timeout == timedelta(hours=8)
        assert task.assigned_users == people

    def test_waits_for_ever_for_anybody_if_nothing_is_said(self) -> None:
        task: Any = made(approval=True).get_task(APPROVE)
        assert (task.response_timeout, task.assigned_users) == (None, None)

    def test_shows_the_plan(self) -> None:
        task = rendered(made(), APPROVE)
        assert (task.subject, task.body) == ("Delete these backups?", f"markdown of {PLAN}")

    def test_a_reject_leaves_out_the_prune(self) -> None:
        task: Any = made().get_task(APPROVE)
        assert (task.ignore_downstream_trigger_rules, task.fail_on_reject) == (False, False)
        assert task.downstream_task_ids == {PRUNE}


class TestWhatStepsAreTold:
    def test_if_nothing_is_said(self) -> None:
        dag = made()
        plan: Any = dag.get_task(PLAN)
        prune: Any = dag.get_task(PRUNE)
        assert (plan.dry_run, plan.approval, plan.only, prune.dry_run) == (True, False, None, False)

    def test_rules(self) -> None:
        """The same to both steps: all that the operator takes, but what the group says itself."""
        own = {"location", "only", "dry_run"}
        assert set(RULES) == set(WeaviatePruneBackupsOperator.template_fields) - own
        dag = made(**RULES)
        for step in (PLAN, PRUNE):
            task: Any = dag.get_task(step)
            assert {name: getattr(task, name) for name in RULES} == RULES
            assert task.location == LOCATION

    @pytest.mark.parametrize(("name", "value"), [("dry_run", False), ("approval", True)])
    def test_flags(self, name: str, value: Any) -> None:
        assert getattr(made(**{name: value}).get_task(PLAN), name) is value

    def test_by_templates(self) -> None:
        chosen = "{{ params.chosen }}"
        dag = made(chosen, dry_run=chosen, approval=chosen, keep_daily=chosen, pinned=[chosen])
        plan, prune = rendered(dag, PLAN), rendered(dag, PRUNE)
        assert (plan.dry_run, plan.approval) == ("Art*", "Art*")
        for task in (plan, prune):
            assert (task.location, task.keep_daily, task.pinned) == ("Art*", "Art*", ["Art*"])

    @pytest.mark.parametrize("deleted", [["x1", "x2/w1/chunk"], ['"odd"'], []])
    @pytest.mark.parametrize("is_native", [False, True])
    def test_what_was_planned(self, deleted: list[str], *, is_native: bool) -> None:
        with DAG("retention", schedule=None, render_template_as_native_obj=is_native) as dag:
            prune_backups(LOCATION, keep_daily=7)
        task: Any = dag.get_task(PRUNE)
        task.render_template_fields({"ti": TaskInstance(deleted=deleted)})
        read = json.loads(task.only) if isinstance(task.only, str) else task.only
        assert read == deleted

    @pytest.mark.parametrize("is_native", [False, True])
    def test_no_plan_is_none_for_all(self, *, is_native: bool) -> None:
        """What is not given would let all be deleted."""
        with DAG("retention", schedule=None, render_template_as_native_obj=is_native) as dag:
            prune_backups(LOCATION, keep_daily=7)
        task: Any = dag.get_task(PRUNE)
        task.render_template_fields({"ti": TaskInstance(deleted=None)})
        assert task.only == "null"


def test_template_of_what_an_earlier_step_has_found() -> None:
    plan: Any = made().get_task(PLAN)
    assert pulled(plan, "deleted") == f"{{{{ ti.xcom_pull(task_ids='{PLAN}', key='deleted') }}}}"
    assert pulled(plan, "deleted", as_json=True) == f"{{{{ ti.xcom_pull(task_ids='{PLAN}', key='deleted') | tojson }}}}"


def test_inside_another_group() -> None:
    with DAG("retention", schedule=None) as dag, TaskGroup("outer"):
        prune_backups(LOCATION, group_id="old", keep_daily=7)
    assert set(dag.task_dict) == {f"outer.old.{name}" for name in ("plan", "approve", "prune")}
    assert json.loads(rendered(dag, "outer.old.prune").only) == "deleted of outer.old.plan"
    assert rendered(dag, "outer.old.approve").body == "markdown of outer.old.plan"
    assert skips(dag, "outer.old.prune", prunes=False)


def test_two_after_one_another() -> None:
    with DAG("retention", schedule=None) as dag:
        prune_backups(LOCATION, group_id="first", keep_daily=7) >> prune_backups(
            LOCATION, group_id="second", keep_last=3
        )
    tasks = scheduled(dag)
    assert tasks["second.plan"]["after"] == {"first.prune"}


def test_default_arguments() -> None:
    dag = made(default_args={"retries": 7, "pool": "prunes"})
    assert {(task.retries, task.pool) for task in dag.tasks} == {(7, "prunes")}


@pytest.mark.parametrize("name", ["keep", "backup_id", "only"])
def test_argument_that_there_is_none_of(name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        made(**{name: "x"})


def test_a_dag_file_loads_nothing_heavy() -> None:
    code = """
from airflow_provider_vectorbackup.task_groups import prune_backups
with DAG("dag", schedule=None):
    prune_backups("s3://one@bucket/a", keep_daily=7, approval=True)
"""
    assert loaded_by(code) == set()
