"""Parsing a Dag must not load what only a running task needs; some tests load no Airflow."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

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

_ROOT = Path(__file__).parents[1]
_COLLECT_WITHOUT_AIRFLOW = """
import importlib.abc, sys, pytest

class Refusal(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "airflow":
            raise RuntimeError("airflow is imported here")

sys.meta_path.insert(0, Refusal())
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
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


def _collected_without_airflow(*folders: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _COLLECT_WITHOUT_AIRFLOW, *(f"tests/{folder}" for folder in folders)]
    return subprocess.run(command, cwd=_ROOT, check=False, capture_output=True, text=True, timeout=300)


def test_what_is_left_out_under_another_airflow_knows_none() -> None:
    found = re.search(r"^WITHOUT_AIRFLOW := (.+)$", (_ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert found
    folders = found[1].split()
    collected = _collected_without_airflow(*folders)
    assert collected.returncode == 0, collected.stdout + collected.stderr
    here = re.compile(r"^\s*(?:from|import) airflow\b", flags=re.MULTILINE)  # inside of functions
    files = [path for folder in folders for path in (_ROOT / "tests" / folder).rglob("*.py")]
    assert [path for path in files if here.search(path.read_text())] == []


def test_the_look_sees_airflow() -> None:
    collected = _collected_without_airflow("triggers")
    assert collected.returncode != 0
    assert "airflow is imported here" in collected.stdout + collected.stderr
