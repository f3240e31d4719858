from __future__ import annotations

import importlib
import json
import time
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, Status
from airflow_provider_vectorbackup.exceptions import InvalidConnection, OperationTimedOut, Unauthenticated
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.triggers.weaviate import WeaviateBackupTrigger, WeaviateRestoreTrigger
from tests.operators.contexts import Trigger, fire


def trigger(kind: type[Trigger] = WeaviateBackupTrigger, timeout: float = 30.0, **changes: Any) -> Trigger:
    now = time.time()
    fields: dict[str, Any] = {
        "weaviate_conn_id": "weaviate_default",
        "operation": Operation(
            kind.kind, BackupAddress("s3", "x1"), collections=("Article",), since=now, deadline=now + timeout
        ).to_json(),
        "poll_interval": 0.01,
    }
    return kind(**(fields | changes))


@pytest.mark.parametrize("kind", [WeaviateBackupTrigger, WeaviateRestoreTrigger])
def test_survives_the_database(kind: type[Trigger]) -> None:
    path, fields = trigger(kind, wait_for_existence=True).serialize()
    module, _, name = path.rpartition(".")
    rebuilt = getattr(importlib.import_module(module), name)(**json.loads(json.dumps(fields)))
    assert type(rebuilt) is kind
    assert rebuilt.serialize() == (path, fields)


def test_backup(server: WeaviateStandIn) -> None:
    server.add_backup("x1", ["Article"])
    outcome = fire(trigger())
    assert outcome.error is None
    assert outcome.status is not None
    assert (outcome.status.kind, outcome.status.status) == (OperationKind.BACKUP, Status.SUCCESS)
    assert outcome.operation.collections == ("Article",)


def test_restore(server: WeaviateStandIn) -> None:
    server.add_restore("x1", "FAILED", error="disk full")
    outcome = fire(trigger(WeaviateRestoreTrigger))
    assert outcome.status is not None
    assert (outcome.status.kind, outcome.status.error) == (OperationKind.RESTORE, "disk full")


def test_deadline(server: WeaviateStandIn) -> None:
    server.add_backup("x1", status="STARTED")
    assert isinstance(fire(trigger(timeout=0.05)).error, OperationTimedOut)


def test_deadline_that_passed_while_no_triggerer_ran(server: WeaviateStandIn) -> None:
    server.add_backup("x1", ["Article"])
    assert fire(trigger(timeout=-3600.0)).status is not None
    server.add_backup("x1", status="STARTED")
    assert isinstance(fire(trigger(timeout=-3600.0)).error, OperationTimedOut)


def test_waits_for_what_is_not_there_yet(server: WeaviateStandIn) -> None:
    server.add_backup("x1", ["Article"])
    server.fail_next("GET", "/backups/s3/x1", status=404, times=3)
    assert fire(trigger(wait_for_existence=True)).status is not None


def test_error_is_told_and_the_key_is_not(server: WeaviateStandIn) -> None:
    server.api_keys = {"another"}
    outcome = fire(trigger())
    assert isinstance(outcome.error, Unauthenticated)
    assert "kEy-0123456789" not in json.dumps(outcome.to_json())


def test_connection_that_can_not_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WEAVIATE_DEFAULT", json.dumps({"conn_type": "weaviate_backup"}))
    assert isinstance(fire(trigger()).error, InvalidConnection)
