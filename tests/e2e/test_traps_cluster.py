"""What is different when another node is asked, on a real cluster of three."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.exceptions import OperationInProgress
from tests.e2e.traps_lab import SLOW_UPLOADS, Bucket, Server, connect_server, on_triggerer, on_worker
from tests.operators.contexts import TaskRun
from tests.services import dataset
from tests.services.fault_proxy import fault_proxy
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.services.weaviate import weaviate_cluster


@pytest.fixture(scope="module")
def nodes(services_folder: Path, minio: S3Settings, airflow_db: Path, trap_bucket: Bucket) -> Iterator[list[Server]]:
    """Three nodes behind one line."""
    with fault_proxy(int(minio.endpoint.rpartition(":")[2])) as line:
        store = replace(minio, endpoint=f"127.0.0.1:{line.port}").weaviate_env(BUCKET, "traps-cluster")
        with weaviate_cluster(services_folder / "traps-cluster", backups=[store]) as cluster:
            dataset.load(cluster.url)
            yield [connect_server(Server(f"node_{node.name}", node, line, trap_bucket)) for node in cluster.nodes]


def test_trap_17_slot_taken_on_another_node(nodes: list[Server]) -> None:
    """Trap 17: another node says 500 of what the coordinator says 422: that a backup is in progress."""
    first, second, third = nodes
    first.line.mode = SLOW_UPLOADS
    first.create("first", wait_for_completion=False).execute(TaskRun().context)
    refused = second.ask("POST", "/backups/s3", {"id": "by-hand"})
    assert refused.status_code == 500
    assert "cannot commit : backup first already in progress" in refused.text
    with pytest.raises(OperationInProgress, match="cannot commit : backup first already in progress") as caught:
        second.create("impatient", slot_timeout=0).execute(TaskRun().context)
    assert "try again when it has ended" in str(caught.value)
    with ThreadPoolExecutor(2) as aside:
        tasks = [
            aside.submit(on_worker, second.create("second"), TaskRun()),
            aside.submit(on_triggerer, third.create("third"), TaskRun()),
        ]
        first.line.mode = "ok"
        for backup_id, task in zip(("second", "third"), tasks, strict=True):
            result = task.result()
            assert (result["backup_id"], result["status"], result["attempts"]) == (backup_id, "SUCCESS", 1)
    assert first.status("first") == "SUCCESS"
    assert first.listed() == ["first", "second", "third"]
