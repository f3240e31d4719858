"""What a Dag file with each of our operators and sensors costs over ``import airflow.sdk``.

Each measurement is a process of its own that imports ``airflow.sdk`` and then times the Dag file: ours, or, beside it,
one with as many operators and sensors of Airflow's standard provider. The two take turns; the medians count.

A bar is on the time, and none of ``UNWANTED`` may have been loaded by the end.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile

BAR_MS = 60.0
ROUNDS = 11
UNWANTED = ("requests", "aiohttp", "boto3", "botocore", "google.cloud.storage", "azure")

BEGIN = """
import json, sys, time
from datetime import datetime
import airflow.sdk

begun = time.perf_counter()
from airflow.sdk import DAG
"""
OURS = """
from airflow_provider_vectorbackup.operators import (
    WeaviateCancelBackupOperator, WeaviateCreateBackupOperator, WeaviateRestoreBackupOperator
)
from airflow_provider_vectorbackup.sensors import WeaviateBackupSensor, WeaviateRestoreSensor

with DAG("ours", start_date=datetime(2026, 1, 1)):
    WeaviateCreateBackupOperator(task_id="create", deferrable=True)
    WeaviateRestoreBackupOperator(task_id="restore", backup_id="x", deferrable=True)
    WeaviateCancelBackupOperator(task_id="cancel", backup_id="x")
    WeaviateBackupSensor(task_id="backup", backup_id="x", deferrable=True)
    WeaviateRestoreSensor(task_id="restored", backup_id="x", deferrable=True)
"""
PEER = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.providers.standard.sensors.filesystem import FileSensor

with DAG("peer", start_date=datetime(2026, 1, 1)):
    BashOperator(task_id="bash", bash_command="true")
    PythonOperator(task_id="python", python_callable=print)
    TriggerDagRunOperator(task_id="trigger", trigger_dag_id="x", deferrable=True)
    ExternalTaskSensor(task_id="external", external_dag_id="x", deferrable=True)
    FileSensor(task_id="file", filepath="x", deferrable=True)
"""
END = f"""
added_ms = (time.perf_counter() - begun) * 1000
print(json.dumps([added_ms, [name for name in {UNWANTED!r} if name in sys.modules]]))
"""


def main() -> int:
    """Measure, print, and return 0 if the bar is kept."""
    added: dict[str, list[float]] = {OURS: [], PEER: []}
    unwanted: set[str] = set()
    with tempfile.TemporaryDirectory() as home:
        for code in added:
            _measure(code, home)  # the first one writes the bytecode, and Airflow's configuration
        for _ in range(ROUNDS):
            for code, values in added.items():
                value, loaded = _measure(code, home)
                values.append(value)
                unwanted |= loaded if code is OURS else set()
    ours, peer = (statistics.median(values) for values in added.values())
    verdict = "ok" if ours <= BAR_MS and not unwanted else "short"
    print(f"ours: {_spread(added[OURS])}; loaded that should not be: {', '.join(sorted(unwanted)) or 'none'}")
    print(f"standard provider, five operators and sensors: {_spread(added[PEER])}; ours is {ours / peer:.2f} of it")
    print(f"BENCH parse peer_added_ms {peer:.1f}")
    print(f"BENCH parse added_ms {ours:.1f} bar {BAR_MS:g} {verdict}")
    return 0 if verdict == "ok" else 1


def _measure(code: str, home: str) -> tuple[float, set[str]]:
    """Return the milliseconds that ``code`` adds, and what is loaded that should not be."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code + END],
        env=env | {"AIRFLOW_HOME": home},
        capture_output=True,
        text=True,
        check=True,
    )
    added_ms, loaded = json.loads(done.stdout.splitlines()[-1])
    return float(added_ms), set(loaded)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ms added (median of {len(values)}, {min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    sys.exit(main())
