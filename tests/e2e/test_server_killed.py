"""The server dies in mid-backup and comes back: the backup stays STARTED for ever, and the task says what is known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.operators import WeaviateCreateBackupOperator
from tests.e2e.conftest import set_connection
from tests.operators.contexts import TaskRun, deferred, fire
from tests.services import dataset
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.services.process import wait_until
from tests.services.weaviate import WeaviateNode, weaviate_server

CONN = "mortal"
PREFIX = "mortal"
SLOW_UPLOADS = "slow:20000"
TIMEOUT_SECONDS = 12.0

Execute = Callable[[WeaviateCreateBackupOperator, TaskRun], object]


@dataclass(frozen=True)
class Mortal:
    """A server with data whose store lies behind a line that can be made slow; the worker reaches the store itself."""

    node: WeaviateNode
    line: FaultProxy

    def status(self, backup_id: str) -> str:
        """Return the server's own word; nothing while it is away."""
        try:
            answer = requests.get(f"{self.node.url}/v1/backups/s3/{backup_id}", timeout=5)
        except requests.ConnectionError:
            return ""
        return str(answer.json().get("status", ""))

    def die_and_come_back(self, backup_id: str) -> None:
        """Crash while the backup runs, and start again on a line that is fast."""
        wait_until(lambda: self.status(backup_id) == "STARTED", 30, f"start of {backup_id}")
        self.node.kill()
        self.line.mode = "ok"
        self.node.start()


def on_worker(operator: WeaviateCreateBackupOperator, run: TaskRun) -> object:
    return operator.execute(run.context)


def on_triggerer(operator: WeaviateCreateBackupOperator, run: TaskRun) -> object:
    operator.deferrable = True
    outcome = fire(deferred(operator, run))
    return operator.execute_complete(run.context, json.loads(json.dumps(outcome.to_json())))


@pytest.fixture(scope="module")
def mortal_server(services_folder: Path, minio: S3Settings, airflow_db: Path) -> Iterator[Mortal]:
    with fault_proxy(int(minio.endpoint.split(":")[1])) as line:
        store = replace(minio, endpoint=f"127.0.0.1:{line.port}")
        with weaviate_server(services_folder / PREFIX, backups=[store.weaviate_env(BUCKET, PREFIX)]) as node:
            dataset.load(node.url)
            yield Mortal(node, line)


@pytest.fixture
def mortal(mortal_server: Mortal, minio: S3Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mortal]:
    node = mortal_server.node
    location = f"s3://mortal_store@{BUCKET}/{PREFIX}"
    set_connection(
        monkeypatch,
        CONN,
        host=node.host,
        port=node.port,
        extra={"default_backend": "s3", "s3_location": location},
    )
    set_connection(monkeypatch, "mortal_store", **minio.airflow_connection)
    mortal_server.line.mode = SLOW_UPLOADS
    yield mortal_server
    mortal_server.line.mode = "ok"


@pytest.mark.parametrize("execute", [on_worker, on_triggerer])
def test_time_out_tells_what_is_known(mortal: Mortal, execute: Execute) -> None:
    backup_id = f"orphan-{execute.__name__.replace('_', '-')}"
    operator = WeaviateCreateBackupOperator(
        task_id="back_up", weaviate_conn_id=CONN, backup_id=backup_id, poll_interval=1, timeout=TIMEOUT_SECONDS
    )
    began = datetime.now(UTC)
    with ThreadPoolExecutor(1) as aside:
        fate = aside.submit(mortal.die_and_come_back, backup_id)
        with pytest.raises(AirflowFailException) as caught:
            execute(operator, TaskRun())
        fate.result()
    message = str(caught.value)
    assert mortal.status(backup_id) == "STARTED"
    told = re.match(rf"Backup '{backup_id}' on s3 did not end before ([\d: -]+) UTC: STARTED after \d+ s, ", message)
    assert told, message
    waited = (datetime.fromisoformat(told[1]).replace(tzinfo=UTC) - began).total_seconds()
    assert TIMEOUT_SECONDS - 1 <= waited <= TIMEOUT_SECONDS + 5
    assert "with no change seen since 20" in message
    assert "Nodes: w1 HEALTHY." in message
    assert f"In storage, {backup_id}/backup_config.json says STARTED." in message
    assert "Written by nodes: w1 nothing." in message
    assert "if the server was restarted since, nobody works on it any more" in message


def test_another_run_makes_a_whole_backup_afterwards(mortal: Mortal) -> None:
    """The one that nobody works on any more holds nothing up: not the server, not another run."""
    first = WeaviateCreateBackupOperator(
        task_id="back_up", weaviate_conn_id=CONN, backup_id="orphan", wait_for_completion=False
    )
    first.execute(TaskRun(run_id="first").context)
    mortal.die_and_come_back("orphan")
    second = WeaviateCreateBackupOperator(task_id="back_up", weaviate_conn_id=CONN, poll_interval=1)
    assert second.execute(TaskRun(run_id="second").context)["status"] == "SUCCESS"
    assert mortal.status("orphan") == "STARTED"
