"""What a user does: back up, restore elsewhere, find everything there; waiting on the worker and on the triggerer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_vectorbackup.operators import WeaviateCreateBackupOperator, WeaviateRestoreBackupOperator
from airflow_provider_vectorbackup.sensors import WeaviateBackupSensor, WeaviateRestoreSensor
from tests.e2e.conftest import PREFIX, TARGET_CONN, Lab
from tests.e2e.running import START, DagRunResult, output, run
from tests.services import dataset
from tests.services.fixtures import BUCKET
from tests.services.weaviate import WeaviateNode

KEYS = {
    "backup_id",
    "backend",
    "bucket",
    "path",
    "location",
    "uri",
    "status",
    "started_at",
    "completed_at",
    "pre_compression_bytes",
    "collections",
    "server_version",
    "base_backup_id",
    "attempts",
}
CITY = "Denver Colorado airport"


def _chain(dag_id: str, *, deferrable: bool) -> DAG:
    with DAG(dag_id, schedule=None, start_date=START) as dag:
        backup = WeaviateCreateBackupOperator(task_id="backup", deferrable=deferrable)
        seen = WeaviateBackupSensor(
            task_id="seen", backup_id=output(backup, "backup_id"), deferrable=deferrable, poke_interval=1
        )
        restore = WeaviateRestoreBackupOperator(
            task_id="restore",
            weaviate_conn_id=TARGET_CONN,
            backup_id=output(backup, "backup_id"),
            bucket=output(backup, "bucket"),
            path=output(backup, "path"),
            deferrable=deferrable,
        )
        restored = WeaviateRestoreSensor(
            task_id="restored",
            weaviate_conn_id=TARGET_CONN,
            backup_id=output(backup, "backup_id"),
            deferrable=deferrable,
            poke_interval=1,
        )
        seen >> restore >> restored
    return dag


def _shape(value: Any) -> Any:
    """Return what must be alike in both modes: keys and kinds, and all values that are not ids, times or sizes."""
    varies = {"backup_id", "uri", "started_at", "completed_at", "pre_compression_bytes"}
    return {key: type(item) if key in varies else item for key, item in value.items()}


@pytest.fixture(scope="module")
def runs(lab: Lab) -> dict[bool, DagRunResult]:
    """One run waiting on the worker, one deferring, each into an emptied server; the last one's data stay."""
    results = {}
    for deferrable in (False, True):
        dataset.drop(lab.target.url)
        results[deferrable] = run(_chain(f"chain_{'deferred' if deferrable else 'waiting'}", deferrable=deferrable))
    return results


@pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferred"])
def test_all_tasks_succeed(runs: dict[bool, DagRunResult], deferrable: bool) -> None:
    assert runs[deferrable].state == "success", runs[deferrable].tasks


def test_everything_is_in_the_other_server(lab: Lab, runs: dict[bool, DagRunResult]) -> None:
    assert dataset.count(lab.target.url) == lab.counts
    assert dataset.near(lab.target.url, CITY) == dataset.near(lab.source.url, CITY)


@pytest.mark.parametrize("task", ["backup", "seen", "restore", "restored"])
def test_waiting_and_deferring_return_the_same(runs: dict[bool, DagRunResult], task: str) -> None:
    waiting, deferred = runs[False].values[task], runs[True].values[task]
    assert set(waiting) == KEYS
    assert _shape(waiting) == _shape(deferred)


def test_what_a_backup_returns(lab: Lab, runs: dict[bool, DagRunResult]) -> None:
    value = runs[True].values["backup"]
    assert value["status"] == "SUCCESS"
    assert value["collections"] == ["Airport", "Barley", "Car"]
    assert (value["bucket"], value["path"]) == (BUCKET, PREFIX)
    assert value["uri"] == f"s3://aws_default@{BUCKET}/{PREFIX}/{value['backup_id']}"
    assert value["pre_compression_bytes"] > 1_000_000
    assert value["server_version"] == "1.39.2"
    assert value["attempts"] == 1
    assert datetime.fromisoformat(value["started_at"]) < datetime.fromisoformat(value["completed_at"])
    assert datetime.fromisoformat(value["completed_at"]).utcoffset() is not None
    assert {"backup_config.json", "w1/backup.json", "w1/Airport/chunk-1"} <= lab.objects(value["backup_id"])


def test_incremental_on_the_latest(lab: Lab, runs: dict[bool, DagRunResult], empty_target: WeaviateNode) -> None:
    with DAG("incremental", schedule=None, start_date=START) as dag:
        backup = WeaviateCreateBackupOperator(
            task_id="backup", incremental_base_backup_id="latest", include='["Air*", "Car"]'
        )
        WeaviateRestoreBackupOperator(
            task_id="restore", weaviate_conn_id=TARGET_CONN, backup_id=output(backup, "backup_id"), include=["Car"]
        )
    result = run(dag)
    assert result.state == "success", result.tasks
    assert result.values["backup"]["base_backup_id"] == runs[True].values["backup"]["backup_id"]
    assert result.values["backup"]["collections"] == ["Airport", "Car"]
    cars = {label: count for label, count in lab.counts.items() if label.startswith("Car/")}
    assert dataset.count(empty_target.url) == cars
