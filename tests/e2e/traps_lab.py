"""A lab for the traps of the backup API, numbered as in our notes on it: servers whose storage line can misbehave.

An old and a new real server share one place for backups. Each reaches it over a line of its own; tests, and tasks that
are given a location, reach it directly.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import requests
from airflow.sdk import BaseOperator

from airflow_provider_vectorbackup.operators import (
    WeaviateCancelBackupOperator,
    WeaviateCreateBackupOperator,
    WeaviateRestoreBackupOperator,
)
from tests.actions.conftest import TaskMemory
from tests.operators.contexts import TaskRun
from tests.services import binaries, dataset
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.fixtures import BUCKET
from tests.services.loopback import session
from tests.services.object_stores import S3Settings
from tests.services.process import wait_until
from tests.services.weaviate import WeaviateNode, filesystem_env, weaviate_server

try:
    from airflow.sdk.exceptions import TaskDeferred
except ImportError:  # Airflow 3.1
    from airflow.exceptions import TaskDeferred  # type: ignore[no-redef]

PREFIX = "traps"
STORE_CONN = "traps_store"
LOCATION = f"s3://{STORE_CONN}@{BUCKET}/{PREFIX}"
VERSIONS = {"new": binaries.WEAVIATE, "old": "1.37.0"}
TEMPLATE = "template"
COLLECTIONS = ["Airport", "Barley", "Car"]
SLOW_UPLOADS = "slow:20000"
SLOW_DOWNLOADS = "slowdown:50000"
_ANSWER_SECONDS = 90.0
_END_SECONDS = 60.0

Way = Callable[[BaseOperator, TaskRun], Any]
"""How a task waits."""


def on_worker(operator: BaseOperator, run: TaskRun) -> Any:
    """Run a task on a worker, to its end."""
    return operator.execute(run.context)


def on_triggerer(operator: BaseOperator, run: TaskRun) -> Any:
    """Run a task that defers wherever it can; every trigger is rebuilt from JSON, as the triggerer does."""
    operator.deferrable = True
    method, arguments = "execute", dict[str, Any]()
    while True:
        try:
            return getattr(operator, method)(run.context, **arguments)
        except TaskDeferred as deferral:
            method, arguments = deferral.method_name, {"event": fired(deferral.trigger)}


def fired(trigger: Any) -> Any:
    """Run a trigger and return the payload of its only event."""
    path, arguments = trigger.serialize()
    module, _, name = path.rpartition(".")
    rebuilt = getattr(import_module(module), name)(**json.loads(json.dumps(arguments)))

    async def payloads() -> list[Any]:
        return [event.payload async for event in rebuilt.run()]

    (payload,) = asyncio.run(payloads())
    return json.loads(json.dumps(payload))


def start(aside: Executor, way: Way, operator: BaseOperator, memory: TaskMemory | None = None) -> Future[Any]:
    """Run a task in another thread; return when it has begun its operation, or found it, or failed to."""
    run = TaskRun(memory=memory or TaskMemory())
    task = aside.submit(way, operator, run)
    wait_until(lambda: "backup_id" in run.xcoms or task.done(), _END_SECONDS, "the operation to begin")
    return task


def start_both_ways(
    aside: Executor, make: Callable[[], BaseOperator], memory: TaskMemory | None = None
) -> list[Future[Any]]:
    """Run a task on a worker, and a retry of it, which must follow the same operation, on the triggerer."""
    shared = memory or TaskMemory()
    return [start(aside, way, make(), shared) for way in (on_worker, on_triggerer)]


both_ways = pytest.mark.parametrize("way", [on_worker, on_triggerer])
both_servers = pytest.mark.parametrize("server", ["new", "old"], indirect=True)
one_way_each = pytest.mark.parametrize(
    ("server", "way"), [("new", on_worker), ("old", on_triggerer)], indirect=["server"]
)
"""For what takes long."""


@dataclass(frozen=True)
class Bucket:
    """The place that the servers share, reached directly; keys are those below the backups' root."""

    client: Any

    def keys(self, prefix: str) -> set[str]:
        """Return the keys that begin so."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{PREFIX}/{prefix}")
        return {entry["Key"].removeprefix(f"{PREFIX}/") for page in pages for entry in page.get("Contents", [])}

    def read(self, key: str) -> Any:
        """Return a descriptor, None where there is none."""
        if key not in self.keys(key):
            return None
        return json.loads(self.client.get_object(Bucket=BUCKET, Key=f"{PREFIX}/{key}")["Body"].read())

    def write(self, key: str, content: Any) -> None:
        """Put a descriptor there."""
        self.client.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{key}", Body=json.dumps(content).encode())

    def delete(self, key: str) -> None:
        """Delete an object that is there."""
        assert key in self.keys(key)
        self.client.delete_object(Bucket=BUCKET, Key=f"{PREFIX}/{key}")

    def add_backup(self, backup_id: str) -> str:
        """Put a finished backup of all collections there, a copy of the template, and return its id."""
        for key in self.keys(f"{TEMPLATE}/"):
            target = key.replace(TEMPLATE, backup_id, 1)
            if key.endswith(".json"):
                self.write(target, self.read(key) | {"id": backup_id})
            else:
                source = {"Bucket": BUCKET, "Key": f"{PREFIX}/{key}"}
                self.client.copy_object(Bucket=BUCKET, Key=f"{PREFIX}/{target}", CopySource=source)
        return backup_id


@dataclass(frozen=True, eq=False)
class Server:
    """A real server, and how tests do things on it by hand, with `headers`, past our clients."""

    name: str
    node: WeaviateNode
    line: FaultProxy
    bucket: Bucket
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def conn_id(self) -> str:
        """Of the Airflow connection to it, which names no location."""
        return f"traps_{self.name}"

    @property
    def backup_folder(self) -> Path:
        """Where its backend `filesystem` writes."""
        return _backup_folder(self.node.data_path.parent.parent)

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        """Send a request; an error is an answer too."""
        with session() as direct:
            direct.headers.update(self.headers)
            return direct.request(method, f"{self.node.url}/v1{path}", json=body, timeout=_ANSWER_SECONDS)

    def do(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that must succeed."""
        answer = self.ask(method, path, body)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def status(self, path: str) -> str:
        """Return the status of a backup, or of `<id>/restore`; what else is answered counts as none."""
        answer = self.ask("GET", f"/backups/s3/{path}")
        return str(answer.json().get("status", ""))

    def await_status(self, path: str, *wanted: str) -> None:
        """Wait until the server says one of these."""
        wait_until(lambda: self.status(path) in wanted, _END_SECONDS, f"{path} to be {' or '.join(wanted)}")

    def listed(self) -> list[str]:
        """Return the ids in the server's list."""
        return sorted(entry["id"] for entry in self.do("GET", "/backups/s3"))

    def collections(self) -> list[str]:
        """Return the names of all collections."""
        return sorted(schema["class"] for schema in self.do("GET", "/schema")["classes"])

    def fill(self) -> None:
        """Load the data set, unless it is there."""
        if self.collections() != COLLECTIONS:
            self.empty()
            dataset.load(self.node.url, self.headers)

    def empty(self) -> None:
        """Delete all collections."""
        dataset.drop(self.node.url, self.headers)

    def create(self, backup_id: str, **fields: Any) -> WeaviateCreateBackupOperator:
        """Return an operator for a backup on this server."""
        return WeaviateCreateBackupOperator(backup_id=backup_id, **self._of_task("backup", fields))

    def restore(self, backup_id: str, **fields: Any) -> WeaviateRestoreBackupOperator:
        """Return an operator for a restore on this server."""
        return WeaviateRestoreBackupOperator(backup_id=backup_id, **self._of_task("restore", fields))

    def cancel(self, backup_id: str, **fields: Any) -> WeaviateCancelBackupOperator:
        """Return an operator for a cancellation on this server."""
        return WeaviateCancelBackupOperator(backup_id=backup_id, **self._of_task("cancel", fields))

    def _of_task(self, task_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        return {"task_id": task_id, "weaviate_conn_id": self.conn_id, "poll_interval": 1, "timeout": 120} | fields


def _backup_folder(folder: Path) -> Path:
    return folder / "backups"


def connect(conn_id: str, **fields: Any) -> None:
    """Give Airflow a connection for the rest of the session."""
    os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(fields)


def connect_server(server: Server, **extra: Any) -> Server:
    """Give Airflow the server's connection, and return the server."""
    node, extra = server.node, {"default_backend": "s3"} | extra
    connect(server.conn_id, conn_type="weaviate_backup", host=node.host, port=node.port, extra=extra)
    return server


@contextmanager
def _server(name: str, folder: Path, minio: S3Settings, bucket: Bucket) -> Iterator[Server]:
    with fault_proxy(int(minio.endpoint.rpartition(":")[2])) as line:
        store = replace(minio, endpoint=f"127.0.0.1:{line.port}").weaviate_env(BUCKET, PREFIX)
        backups = [store, filesystem_env(_backup_folder(folder / name))]
        with weaviate_server(folder / name, backups=backups, version=VERSIONS[name]) as node:
            yield connect_server(Server(name, node, line, bucket))


@pytest.fixture(scope="session")
def trap_bucket(minio: S3Settings) -> Iterator[Bucket]:
    connect(STORE_CONN, **minio.airflow_connection)
    with minio.client() as client:
        yield Bucket(client)


@pytest.fixture(scope="session")
def trap_servers(
    services_folder: Path, minio: S3Settings, airflow_db: Path, trap_bucket: Bucket
) -> Iterator[dict[str, Server]]:
    folder = services_folder / "traps"
    with ExitStack() as stack:

        def started(name: str) -> Server:
            server = stack.enter_context(_server(name, folder, minio, trap_bucket))
            server.fill()
            return server

        with ThreadPoolExecutor(2) as aside:
            servers = dict(zip(VERSIONS, aside.map(started, VERSIONS), strict=True))
        servers["new"].do("POST", "/backups/s3", {"id": TEMPLATE})
        wait_until(lambda: trap_bucket.read(f"{TEMPLATE}/backup_config.json")["status"] == "SUCCESS", 30, TEMPLATE)
        yield servers


def _on_a_good_line(server: Server) -> Iterator[Server]:
    server.line.mode = "ok"
    yield server
    server.line.mode = "ok"


@pytest.fixture
def new(trap_servers: dict[str, Server]) -> Iterator[Server]:
    yield from _on_a_good_line(trap_servers["new"])


@pytest.fixture
def old(trap_servers: dict[str, Server]) -> Iterator[Server]:
    yield from _on_a_good_line(trap_servers["old"])


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Server:
    """One of them, as `both_servers` says."""
    found: Server = request.getfixturevalue(request.param)
    return found
