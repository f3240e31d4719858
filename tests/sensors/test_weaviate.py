from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import PokeReturnValue

from airflow_provider_vectorbackup.compat import AirflowFailException, AirflowSensorTimeout, AirflowSkipException
from airflow_provider_vectorbackup.exceptions import OperationFailed, OperationInProgress, OperationTimedOut
from airflow_provider_vectorbackup.sensors import WeaviateBackupSensor, WeaviateRestoreSensor
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from tests.operators.contexts import TaskRun, deferred, fire


def sensor(**fields: Any) -> WeaviateBackupSensor:
    return WeaviateBackupSensor(task_id="seen", backup_id="x1", poke_interval=0.01, **fields)


def result_of(poked: bool | PokeReturnValue) -> dict[str, Any]:
    assert isinstance(poked, PokeReturnValue)
    assert poked.is_done
    assert poked.xcom_value is not None
    return dict(poked.xcom_value)


def test_one_look_after_another(server: WeaviateStandIn, run: TaskRun) -> None:
    waiting = sensor()
    assert waiting.poke(run.context) is False  # not there yet
    server.add_backup("x1", ["Article"], status="STARTED")
    assert waiting.poke(run.context) is False
    server.add_backup("x1", ["Article"])
    result = result_of(waiting.poke(run.context))
    assert (result["status"], result["collections"]) == ("SUCCESS", ["Article"])


def test_waiting_on_the_worker(server: WeaviateStandIn, run: TaskRun) -> None:
    server.add_backup("x1", ["Article"])
    server.fail_next("GET", "/backups/s3/x1", status=404, times=2)
    assert sensor().execute(run.context)["status"] == "SUCCESS"


def test_failed_backup(server: WeaviateStandIn, run: TaskRun) -> None:
    server.add_backup("x1", status="FAILED", error="disk full")
    with pytest.raises(OperationFailed, match="disk full"):
        sensor().poke(run.context)


def test_restore(server: WeaviateStandIn, run: TaskRun) -> None:
    server.add_restore("x1", "SUCCESS")
    waiting = WeaviateRestoreSensor(task_id="seen", backup_id="x1")
    assert result_of(waiting.poke(run.context))["status"] == "SUCCESS"


def test_deferring(server: WeaviateStandIn, run: TaskRun) -> None:
    waiting = sensor(deferrable=True)
    trigger = deferred(waiting, run)
    assert "kEy-0123456789" not in json.dumps(trigger.serialize())
    server.add_backup("x1", ["Article"])
    result = waiting.execute_complete(run.context, fire(trigger).to_json())
    assert (result["status"], result["collections"]) == ("SUCCESS", ["Article"])


def test_not_deferring_what_is_there_already(server: WeaviateStandIn, run: TaskRun) -> None:
    server.add_backup("x1", ["Article"])
    assert sensor(deferrable=True).execute(run.context)["status"] == "SUCCESS"


@pytest.mark.parametrize(("soft_fail", "kind"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)])
def test_deadline_while_deferred(server: WeaviateStandIn, run: TaskRun, soft_fail: bool, kind: type[Exception]) -> None:
    server.add_backup("x1", status="STARTED")
    waiting = sensor(deferrable=True, soft_fail=soft_fail, timeout=0.1)
    outcome = fire(deferred(waiting, run))
    assert isinstance(outcome.error, OperationTimedOut)
    with pytest.raises(kind, match=r"did not end before .* Nodes: node1 HEALTHY\."):
        waiting.execute_complete(run.context, outcome.to_json())


def test_deadline_while_poking(server: WeaviateStandIn, run: TaskRun) -> None:
    server.add_backup("x1", status="STARTED")
    waiting = sensor(timeout=0.05)
    with pytest.raises(AirflowSensorTimeout):
        waiting.execute(run.context)


@pytest.mark.parametrize("backup_id", ["Bad Id", "", None])
def test_illegal_id(server: WeaviateStandIn, run: TaskRun, backup_id: Any) -> None:
    waiting = WeaviateBackupSensor(task_id="seen", backup_id=backup_id)
    with pytest.raises(AirflowFailException, match="is not a backup id"):
        waiting.poke(run.context)
    assert server.requests == []


def test_key_that_is_not_known(server: WeaviateStandIn, run: TaskRun) -> None:
    server.api_keys = {"another"}
    waiting = sensor()
    with pytest.raises(AirflowFailException, match="401"):
        waiting.poke(run.context)


@pytest.mark.parametrize("deferrable", [False, True])
def test_end_of_another_of_the_same_id(server: WeaviateStandIn, run: TaskRun, *, deferrable: bool) -> None:
    """Trap 11: while one runs on another backend, the server tells of that one; its success is not this one's."""
    done = {"id": "x1", "status": "SUCCESS", "path": "gs://b/x1", "completedAt": "2026-11-22T00:00:00Z"}
    server.fail_next("GET", "/backups/s3/x1", status=200, body=done)
    with pytest.raises(OperationInProgress, match="same id 'x1' is running at gs://b/x1"):
        sensor(deferrable=deferrable).execute(run.context)
