"""Dags for test_process_kills.py: each waits once on the worker, once on the triggerer; none has a schedule."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param

from airflow_provider_vectorbackup.operators import WeaviateCreateBackupOperator, WeaviateRestoreBackupOperator
from airflow_provider_vectorbackup.sensors import WeaviateBackupSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vectorbackup.actions.memory import Memory
    from airflow_provider_vectorbackup.backups.operation import Operation
    from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

RETRY: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(seconds=1)}
BACKUP_ID = "{{ params.backup_id }}"


class DiesOnceOperator(WeaviateCreateBackupOperator):
    """Loses its process in its first try, when the backup has just been started."""

    def begin(self, client: WeaviateClient, context: Context, memory: Memory) -> Operation:
        """Start the backup and die, or attach to it."""
        operation = super().begin(client, context, memory)
        if context["ti"].try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return operation


for place, deferrable in (("worker", False), ("triggerer", True)):
    waiting: dict[str, Any] = {"deferrable": deferrable, "poll_interval": 1, **RETRY}
    with DAG(f"worker_dies_{place}", schedule=None):
        DiesOnceOperator(task_id="back_up", weaviate_conn_id="source", **waiting)
    with DAG(f"back_up_{place}", schedule=None):
        WeaviateCreateBackupOperator(task_id="back_up", weaviate_conn_id="source", **waiting)
    with DAG(f"both_{place}", schedule=None, params={"backup_id": Param(type="string")}):
        WeaviateCreateBackupOperator(task_id="back_up", weaviate_conn_id="source", **waiting)
        WeaviateRestoreBackupOperator(task_id="restore", weaviate_conn_id="target", backup_id=BACKUP_ID, **waiting)

with DAG(
    "triggerer_dies", schedule=None, params={"backup_id": Param(type="string"), "hanging_id": Param(type="string")}
):
    WeaviateCreateBackupOperator(
        task_id="hang",
        weaviate_conn_id="target",
        backup_id="{{ params.hanging_id }}",
        deferrable=True,
        poll_interval=1,
        timeout=timedelta(seconds=30),
    )
    WeaviateCreateBackupOperator(
        task_id="back_up", weaviate_conn_id="source", backup_id=BACKUP_ID, deferrable=True, poll_interval=1
    )
    WeaviateBackupSensor(
        task_id="see", weaviate_conn_id="source", backup_id=BACKUP_ID, deferrable=True, poke_interval=1, timeout=300
    )
