"""Prune a location, with a plan to be read before."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import TaskGroup

from airflow_provider_vectorbackup.operators.prune import PlanPruneOperator, WeaviatePruneBackupsOperator
from airflow_provider_vectorbackup.task_groups.steps import only_if, pulled

_AFTER_SKIPPED = "none_failed_min_one_success"


def prune_backups(
    location: str,
    *,
    group_id: str = "prune_backups",
    dry_run: bool | str = True,
    approval: bool | str = False,
    approval_timeout: timedelta | None = None,
    approval_users: Any = None,
    default_args: dict[str, Any] | None = None,
    **rules: Any,
) -> TaskGroup:
    """Return a task group that tells what would be deleted from a location, asks if it may, and deletes it.

    ``plan`` tells what the rules give up, ``approve`` shows that to somebody, and ``prune`` deletes it: nothing that
    was not in the plan, and nothing of it that is needed by then. Unless it is to, ``prune`` is skipped, and with it
    what follows the group by the trigger rule ``all_success``. What of this is templated, docs/retention.md tells.

    :param location: where the backups lie, as a worker reaches them.
    :param group_id: what the tasks' ids begin with.
    :param dry_run: whether to do no more than ``plan``.
    :param approval: whether somebody must approve before anything is deleted.
    :param approval_timeout: after how long no answer is a Reject; never if not given.
    :param approval_users: who may answer, as ``assigned_users`` of Airflow's ``ApprovalOperator``.
    :param default_args: for all tasks of the group, such as ``retries``.
    :param rules: arguments of :class:`~airflow_provider_vectorbackup.operators.WeaviatePruneBackupsOperator`.
    """
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    arguments: Any = default_args or {}
    with TaskGroup(group_id, default_args=arguments, tooltip="Delete what no rule keeps") as group:
        # Each key of the plan is an XCom: the other steps go by them.
        told: Any = {**rules, "multiple_outputs": True}
        plan = PlanPruneOperator(task_id="plan", location=location, dry_run=dry_run, approval=approval, **told)
        approve = ApprovalOperator(
            task_id="approve",
            subject="Delete these backups?",
            body=pulled(plan, "markdown"),
            defaults="Reject",
            response_timeout=approval_timeout,
            assigned_users=approval_users,
            pre_execute=only_if(plan, "asks"),
        )
        prune = WeaviatePruneBackupsOperator(
            task_id="prune",
            location=location,
            only=pulled(plan, "deleted", as_json=True),
            trigger_rule=_AFTER_SKIPPED,
            pre_execute=only_if(plan, "prunes"),
            **rules,
        )
        plan >> approve >> prune
        plan >> prune
    return group
