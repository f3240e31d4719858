"""Reads and writes go on all through a backup."""

from __future__ import annotations

import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import requests

from airflow_provider_vectorbackup.operators import WeaviateCreateBackupOperator
from tests.e2e.conftest import set_connection
from tests.e2e.running import context_of
from tests.services import dataset
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.services.weaviate import WeaviateNode, weaviate_server

SLOW_BYTES_A_SECOND = 400_000


@dataclass
class Load:
    """A user of the server: writes an object, reads it, searches near it, over and over."""

    url: str
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"writes": [], "reads": [], "searches": []})
    failures: list[str] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        """Go on until told to stop; bounded to 20,000 rounds."""
        with requests.Session() as session:
            for _ in range(20_000):
                if stop.is_set():
                    return
                self._round(session)

    def _round(self, session: requests.Session) -> None:
        identity = str(uuid.uuid4())
        vector = dataset.vector(identity)
        written = {"class": "Airport", "id": identity, "properties": {"name": identity}, "vector": vector}
        near = f"{{ Get {{ Airport(nearVector: {{ vector: {vector} }}, limit: 1) {{ name }} }} }}"
        self._timed("writes", lambda: session.post(f"{self.url}/v1/objects", json=written, timeout=10))
        self._timed("reads", lambda: session.get(f"{self.url}/v1/objects/Airport/{identity}", timeout=10))
        found = self._timed(
            "searches", lambda: session.post(f"{self.url}/v1/graphql", json={"query": near}, timeout=10)
        )
        if found is not None and found.json()["data"]["Get"]["Airport"][0]["name"] != identity:
            self.failures.append(f"search did not find {identity}")

    def _timed(self, kind: str, send: Callable[[], requests.Response]) -> requests.Response | None:
        started = time.perf_counter()
        try:
            answer = send()
            answer.raise_for_status()
        except requests.RequestException as error:
            self.failures.append(f"{kind}: {error}")
            return None
        self.seconds[kind].append(time.perf_counter() - started)
        return answer


@pytest.fixture
def slow_store(minio: S3Settings) -> Iterator[tuple[S3Settings, FaultProxy]]:
    """The store behind a line that is slow enough for the backup to take a while."""
    with fault_proxy(int(minio.endpoint.split(":")[1])) as proxy:
        yield replace(minio, endpoint=f"127.0.0.1:{proxy.port}"), proxy


def test_reads_and_writes_go_on(
    services_folder: Path,
    slow_store: tuple[S3Settings, FaultProxy],
    airflow_db: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store, proxy = slow_store
    with weaviate_server(services_folder / "busy", backups=[store.weaviate_env(BUCKET, "busy")]) as node:
        dataset.load(node.url)
        set_connection(monkeypatch, "busy", host=node.host, port=node.port, extra={"default_backend": "s3"})
        proxy.mode = f"slow:{SLOW_BYTES_A_SECOND}"
        load, result = _backup_under_load(node)
    assert result["status"] == "SUCCESS"
    assert load.failures == []
    with capsys.disabled():
        print(f"\nDuring a backup of {result['pre_compression_bytes']} bytes, none failed:", *_lines(load), sep="\n  ")
    assert min(map(len, load.seconds.values())) > 100, "too few requests to show anything"


def _lines(load: Load) -> list[str]:
    return [
        f"{len(seconds)} {kind}, p99 {statistics.quantiles(seconds, n=100)[98] * 1000:.1f} ms"
        for kind, seconds in load.seconds.items()
    ]


def _backup_under_load(node: WeaviateNode) -> tuple[Load, dict[str, object]]:
    load, stop = Load(node.url), threading.Event()
    thread = threading.Thread(target=load.run, args=(stop,))
    thread.start()
    try:
        operator = WeaviateCreateBackupOperator(task_id="backup", weaviate_conn_id="busy", poll_interval=1)
        return load, operator.execute(context_of("busy"))
    finally:
        stop.set()
        thread.join()
