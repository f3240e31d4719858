"""Prove by drill that a backup can be restored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import TaskGroup

from airflow_provider_vectorbackup.operators.content import WeaviateCompareContentOperator
from airflow_provider_vectorbackup.operators.drill import PickRestorePointOperator
from airflow_provider_vectorbackup.operators.own_restore import OwnRestoreOperator, WeaviateRollBackRestoreOperator
from airflow_provider_vectorbackup.operators.reports import ReportDrillOperator
from airflow_provider_vectorbackup.task_groups.steps import pulled


def restore_drill(
    location: str,
    scratch_conn_id: str,
    *,
    pick: str = "latest",
    group_id: str = "drill",
    backend: str | None = None,
    id_prefix: str | None = None,
    inactive_tenants: str = "activate",
    min_recall: float | str = 0.95,
    ignore_mismatch: bool | str = False,
    deferrable: bool | None = None,
    timeout: float | timedelta = timedelta(hours=24),
    default_args: dict[str, Any] | None = None,
) -> TaskGroup:
    """Return a task group that restores a backup into a scratch cluster, compares it, and deletes it again.

    ``pick`` picks a backup that has content records beside it (``content_record=True`` of
    ``WeaviateCreateBackupOperator``), ``restore`` restores it, ``compare`` compares with the records, ``clean_up``
    deletes what was restored, and nothing else, also after a failure, and ``report`` publishes the result and the
    recovery time. All parameters but the last ones are templated.

    :param location: where the backups lie, as a worker reaches them.
    :param scratch_conn_id: the Weaviate connection of the scratch cluster. It is told to read that location, and must
        have nothing of the same name.
    :param pick: ``latest``, ``random`` (another one in each Dag run), or a backup id.
    :param group_id: what the tasks' ids begin with.
    :param backend: what the cluster calls the location's provider; by the location's scheme if not given.
    :param id_prefix: what the ids of the backups begin with that may be picked.
    :param inactive_tenants: as of ``WeaviateCompareContentOperator``.
    :param min_recall: as there.
    :param ignore_mismatch: as of ``WeaviateRestoreBackupOperator``.
    :param deferrable: whether the restore waits on the triggerer; Airflow's setting if not given.
    :param timeout: how long it may take.
    :param default_args: for all tasks of the group, such as ``retries``.
    """
    arguments: Any = default_args or {}
    with TaskGroup(group_id, default_args=arguments, tooltip="Prove that a backup can be restored") as group:
        picking = PickRestorePointOperator(
            task_id="pick",
            location=location,
            scratch_conn_id=scratch_conn_id,
            pick=pick,
            backend=backend,
            id_prefix=id_prefix,
        )
        there: dict[str, Any] = {
            name: pulled(picking, name) for name in ("backup_id", "backend", "location", "bucket", "path")
        }
        restore = OwnRestoreOperator(
            task_id="restore",
            weaviate_conn_id=scratch_conn_id,
            map_nodes=True,
            ignore_mismatch=ignore_mismatch,
            deferrable=deferrable,
            timeout=timeout,
            **there,
        )
        compare = WeaviateCompareContentOperator(
            task_id="compare",
            weaviate_conn_id=scratch_conn_id,
            expected=pulled(picking, "uri"),
            inactive_tenants=inactive_tenants,
            min_recall=min_recall,
        )
        clean_up = WeaviateRollBackRestoreOperator(task_id="clean_up", weaviate_conn_id=scratch_conn_id, **there)
        steps = {"pick": picking.task_id, "restore": restore.task_id, "compare": compare.task_id}
        report = ReportDrillOperator(task_id="report", steps=steps, trigger_rule="all_done")
        picking >> restore >> compare >> clean_up.as_teardown(setups=picking, on_failure_fail_dagrun=True)
        compare >> report
    return group
