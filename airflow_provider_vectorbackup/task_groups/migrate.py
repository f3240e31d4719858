"""Migrate an environment to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import TaskGroup

from airflow_provider_vectorbackup.operators.content import WeaviateCompareContentOperator
from airflow_provider_vectorbackup.operators.copy import WeaviateCopyBackupOperator
from airflow_provider_vectorbackup.operators.create import WeaviateCreateBackupOperator
from airflow_provider_vectorbackup.operators.migration import PlanMigrationOperator
from airflow_provider_vectorbackup.operators.own_restore import OwnRestoreOperator, WeaviateRollBackRestoreOperator
from airflow_provider_vectorbackup.operators.reports import ReportMigrationOperator
from airflow_provider_vectorbackup.operators.verify import WeaviateVerifyBackupOperator
from airflow_provider_vectorbackup.task_groups.steps import only_if, pulled

_AFTER_SKIPPED = "none_failed_min_one_success"
"""For a step before which one may be left out: not all of them, as in a dry run."""


def migrate_environment(
    source: str,
    target: str,
    *,
    group_id: str = "migrate",
    source_backend: str | None = None,
    target_backend: str | None = None,
    source_location: str | None = None,
    target_location: str | None = None,
    include: Sequence[str] | str | None = None,
    exclude: Sequence[str] | str | None = None,
    node_mapping: Mapping[str, str] | str | None = None,
    incremental_base: str | None = None,
    compression: str | None = None,
    inactive_tenants: str = "warn",
    overwrite_alias: bool | str = False,
    roles_options: str | None = None,
    users_options: str | None = None,
    ignore_mismatch: bool | str = False,
    verify_level: str = "deep",
    strict: bool | str = False,
    min_recall: float | str = 0.95,
    dry_run: bool | str = False,
    prepare_only: bool | str = False,
    approval: bool | str = False,
    approval_timeout: timedelta | None = None,
    approval_users: Any = None,
    rollback: bool | str = False,
    deferrable: bool | None = None,
    timeout: float | timedelta = timedelta(hours=24),
    default_args: dict[str, Any] | None = None,
) -> TaskGroup:
    """Return a task group that brings what one cluster has to another, and proves it.

    ``preflight`` looks at both clusters and their storage and fails, before anything is written, with all that is in
    the way. ``back_up`` makes a backup of the source, with content records of just before and just after. ``copy``
    copies it to the target's location, if that is another one. ``verify`` verifies it there, offline. ``approve`` waits
    for somebody who has read the plan. ``restore`` restores it, ``compare`` compares the target with the records, and
    ``report`` tells what became of it. The source is only ever read; a task that failed goes on where it was when it is
    cleared. All parameters but the last ones are templated.

    :param source: the Weaviate connection of the cluster that is migrated.
    :param target: the one of the cluster that takes over. It must not have the collections.
    :param group_id: what the tasks' ids begin with.
    :param source_backend: where the source backs up to; its connection's default if not given. As ``target_backend``.
    :param source_location: where these backups lie, as a worker reaches them; its connection's if not given.
    :param target_location: where the target restores from; its connection's if not given. Where that is not the
        target's own bucket and path, it is told to restore from there.
    :param include: the collections; wildcards are allowed. If neither ``include`` nor ``exclude`` is given: all.
    :param exclude: the collections to leave out.
    :param node_mapping: nodes of the source -> nodes of the target. Nodes that the target lacks, and that are not
        named, go to nodes that are free.
    :param incremental_base: a backup id, or ``latest``, to build on, so that little is left to be copied.
    :param compression: as of ``WeaviateCreateBackupOperator``.
    :param inactive_tenants: about tenants of the source that are not active: ``warn`` and don't compare what they hold,
        ``fail`` in ``preflight``, or ``activate`` to record and compare it, and put them back.
    :param overwrite_alias: as of ``WeaviateRestoreBackupOperator``; as ``roles_options``, ``users_options`` and
        ``ignore_mismatch``, which here also lets an older target pass.
    :param verify_level: ``deep``, or ``quick``.
    :param strict: whether the source is not written to meanwhile, so that all must be equal.
    :param min_recall: as of ``WeaviateCompareContentOperator``.
    :param dry_run: whether to do no more than ``preflight``.
    :param prepare_only: whether to end with ``verify``: the backup lies ready, and a later incremental one is short.
    :param approval: whether somebody must approve before the target is changed.
    :param approval_timeout: after how long no answer is a Reject; never if not given.
    :param approval_users: who may answer, as ``assigned_users`` of Airflow's ``ApprovalOperator``.
    :param rollback: whether what was restored is deleted from the target if ``restore`` or ``compare`` fails.
    :param deferrable: whether backup and restore wait on the triggerer; Airflow's setting if not given.
    :param timeout: how long each of them may take.
    :param default_args: for all tasks of the group, such as ``retries``.
    """
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    arguments: Any = default_args or {}
    waits: dict[str, Any] = {"deferrable": deferrable, "timeout": timeout}
    chosen: dict[str, Any] = {"include": include, "exclude": exclude}
    access: dict[str, Any] = {"roles_options": roles_options, "users_options": users_options}
    with TaskGroup(group_id, default_args=arguments, tooltip="Bring what one cluster has to another") as group:
        preflight = PlanMigrationOperator(
            task_id="preflight",
            source=source,
            target=target,
            source_backend=source_backend,
            target_backend=target_backend,
            source_location=source_location,
            target_location=target_location,
            node_mapping=node_mapping,
            incremental_base=incremental_base,
            compression=compression,
            ignore_mismatch=ignore_mismatch,
            overwrite_alias=overwrite_alias,
            inactive_tenants=inactive_tenants,
            verify_level=verify_level,
            strict=strict,
            min_recall=min_recall,
            approval=approval,
            dry_run=dry_run,
            prepare_only=prepare_only,
            rollback=rollback,
            **chosen,
            **access,
        )
        back_up = WeaviateCreateBackupOperator(
            task_id="back_up",
            weaviate_conn_id=source,
            backend=source_backend,
            location=pulled(preflight, "source_location"),
            incremental_base_backup_id=incremental_base,
            compression=compression,
            inactive_tenants=inactive_tenants,
            content_record=True,
            pre_execute=only_if(preflight, "makes_backup"),
            **chosen,
            **waits,
        )
        backup_id = pulled(back_up, "backup_id")
        there: dict[str, Any] = {"location": pulled(preflight, "target_location"), "backup_id": backup_id}
        copy = WeaviateCopyBackupOperator(
            task_id="copy",
            source=pulled(preflight, "source_location"),
            target=pulled(preflight, "target_location"),
            backup_id=backup_id,
            pre_execute=only_if(preflight, "is_copied"),
        )
        verify = WeaviateVerifyBackupOperator(
            task_id="verify", level=verify_level, trigger_rule=_AFTER_SKIPPED, **there
        )
        approve = ApprovalOperator(
            task_id="approve",
            subject=f"Restore into {target}?",
            body=pulled(preflight, "markdown"),
            defaults="Reject",
            response_timeout=approval_timeout,
            assigned_users=approval_users,
            pre_execute=only_if(preflight, "asks"),
        )
        at_target: dict[str, Any] = {
            "weaviate_conn_id": target,
            "backend": target_backend,
            "bucket": pulled(preflight, "bucket"),
            "path": pulled(preflight, "path"),
            **there,
        }
        restore = OwnRestoreOperator(
            task_id="restore",
            node_mapping=node_mapping,
            map_nodes=True,
            overwrite_alias=overwrite_alias,
            ignore_mismatch=ignore_mismatch,
            trigger_rule=_AFTER_SKIPPED,
            pre_execute=only_if(preflight, "restores"),
            **access,
            **at_target,
            **waits,
        )
        compare = WeaviateCompareContentOperator(
            task_id="compare",
            weaviate_conn_id=target,
            expected=f"{pulled(preflight, 'target_location')}/{backup_id}",
            inactive_tenants=inactive_tenants,
            strict=strict,
            min_recall=min_recall,
        )
        roll_back = WeaviateRollBackRestoreOperator(
            task_id="roll_back",
            trigger_rule="one_failed",
            pre_execute=only_if(preflight, "rolls_back"),
            **at_target,
        )
        tasks = (preflight, back_up, copy, verify, approve, restore, compare, roll_back)
        steps = {task.task_id.rpartition(".")[2]: task.task_id for task in tasks}
        report = ReportMigrationOperator(task_id="report", steps=steps, trigger_rule="all_done")
        preflight >> back_up >> copy >> verify >> approve >> restore >> compare >> roll_back >> report
        back_up >> verify >> restore >> roll_back
        compare >> report
    return group
