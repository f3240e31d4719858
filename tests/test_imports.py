"""Parsing a Dag must not load what only a running task needs."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = ("requests", "aiohttp", "boto3", "botocore", "google.cloud.storage", "azure", "flask_appbuilder", "wtforms")
_LOADED = "import json, sys; print(json.dumps(sorted(sys.modules)))"
_AIRFLOW = "from airflow.sdk import DAG, BaseOperator, BaseSensorOperator; from airflow.configuration import conf;"
_OURS = """
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook
from airflow_provider_vectorbackup.operators import *
from airflow_provider_vectorbackup.provider_info import get_provider_info
from airflow_provider_vectorbackup.sensors import *

get_provider_info()
with DAG("dag"):
    WeaviateCreateBackupOperator(task_id="backup")
    WeaviateRestoreBackupOperator(task_id="restore", backup_id="x1")
    WeaviateCancelBackupOperator(task_id="cancel", backup_id="x1")
    WeaviateBackupSensor(task_id="seen", backup_id="x1")
    WeaviateRestoreSensor(task_id="restored", backup_id="x1")
"""


def _heavy_after(*code: str) -> set[str]:
    command = [sys.executable, "-c", "\n".join([*code, _LOADED])]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    loaded = json.loads(run.stdout.splitlines()[-1])
    return {name for name in loaded if name.startswith(tuple(f"{heavy}." for heavy in HEAVY)) or name in HEAVY}


def test_a_dag_loads_no_sdk_and_no_http_client() -> None:
    by_airflow_itself = _heavy_after(_AIRFLOW)
    assert _heavy_after(_AIRFLOW, _OURS) - by_airflow_itself == set()


def test_the_look_sees_what_it_looks_for() -> None:
    assert "requests" in _heavy_after("import requests")
