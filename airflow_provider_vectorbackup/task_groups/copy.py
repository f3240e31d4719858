"""Copy a backup by several workers."""

from __future__ import annotations

from typing import Any

from airflow.sdk import TaskGroup

from airflow_provider_vectorbackup.operators.copy import CopyShareOperator, FinishCopyOperator, PlanCopyOperator


def copy_backup(
    *,
    source: str,
    target: str,
    backup_id: str = "latest",
    workers: int = 1,
    group_id: str = "copy_backup",
    dry_run: bool | str = False,
    default_args: dict[str, Any] | None = None,
    **options: Any,
) -> TaskGroup:
    """Return a task group that copies a backup with all of its bases, its bytes shared out among workers.

    ``plan`` looks at both ends and writes down what is to be moved; ``move`` is mapped, one task a share, each of about
    as many bytes; ``finish`` checks that all shares are there and makes the copy a backup. A worker that is lost
    repeats its own share only. The result, as of ``WeaviateCopyBackupOperator``, is the XCom of ``<group_id>.finish``.

    :param source: the location that the backup lies in; templated, as are the others.
    :param target: the location that it goes to, under the same id.
    :param backup_id: the backup, or ``latest``.
    :param workers: how many tasks share the bytes.
    :param group_id: what the tasks' ids begin with.
    :param dry_run: whether to tell only what would be done.
    :param default_args: for all tasks of the group, such as ``retries``.
    :param options: ``method``, ``on_conflict``, ``threads``, ``buffer_mib`` and ``max_mib_per_second``, for each
        worker, as of ``WeaviateCopyBackupOperator``.
    """
    arguments: Any = default_args or {}
    with TaskGroup(group_id, default_args=arguments, tooltip="Copy a backup to another location") as group:
        places: dict[str, Any] = {"source": source, "target": target, **options}
        plan = PlanCopyOperator(task_id="plan", backup_id=backup_id, workers=workers, dry_run=dry_run, **places)
        planned: Any = plan.output
        share: dict[str, Any] = {"backup_id": planned["backup_id"], "plan": planned["plan"], **places}
        move = CopyShareOperator.partial(task_id="move", **share).expand(share=planned)
        # Without shares, nothing is to be moved, and the mapped task is skipped.
        finish = FinishCopyOperator(task_id="finish", moved=move.output, trigger_rule="none_failed", **share)
        plan >> move >> finish
    return group
