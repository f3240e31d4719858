"""Cancel what is running, and find out what really became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.operators import (
    WeaviateCancelBackupOperator,
    WeaviateCreateBackupOperator,
    WeaviateRestoreBackupOperator,
)
from airflow_provider_vectorbackup.sensors import WeaviateBackupSensor
from tests.e2e.conftest import set_connection
from tests.e2e.running import context_of
from tests.services import dataset
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.services.weaviate import WeaviateNode, weaviate_server

CONN = "far_away"
BYTES_A_SECOND = 50_000


@dataclass(frozen=True)
class FarAway:
    """A server with data whose store is behind a line that can be made slow."""

    node: WeaviateNode
    line: FaultProxy


@pytest.fixture(scope="module")
def far_away_server(services_folder: Path, minio: S3Settings, airflow_db: Path) -> Iterator[FarAway]:
    with fault_proxy(int(minio.endpoint.split(":")[1])) as line:
        store = replace(minio, endpoint=f"127.0.0.1:{line.port}")
        with weaviate_server(services_folder / "far", backups=[store.weaviate_env(BUCKET, "far")]) as node:
            dataset.load(node.url)
            yield FarAway(node, line)


@pytest.fixture
def far_away(far_away_server: FarAway, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarAway]:
    node = far_away_server.node
    set_connection(monkeypatch, CONN, host=node.host, port=node.port, extra={"default_backend": "s3"})
    yield far_away_server
    far_away_server.line.mode = "ok"


def test_running_backup_is_canceled(far_away: FarAway) -> None:
    far_away.line.mode = f"slow:{BYTES_A_SECOND}"
    create = WeaviateCreateBackupOperator(
        task_id="backup", weaviate_conn_id=CONN, backup_id="to-cancel", wait_for_completion=False
    )
    assert create.execute(context_of("cancel"))["status"] == "STARTED"
    cancel = WeaviateCancelBackupOperator(task_id="cancel", weaviate_conn_id=CONN, backup_id="to-cancel")
    result = cancel.execute(context_of("cancel"))
    assert result["status"] == "CANCELED"
    assert result["uri"] == f"s3://{BUCKET}/far/to-cancel"
    sensor = WeaviateBackupSensor(task_id="seen", weaviate_conn_id=CONN, backup_id="to-cancel")
    with pytest.raises(AirflowFailException, match="Backup 'to-cancel' on s3 was canceled"):
        sensor.execute(context_of("cancel"))


def test_spent_id_gets_an_attempt_suffix(far_away: FarAway) -> None:
    """A retry after a failed or canceled backup can't use its id again; the new one is in the result."""
    far_away.line.mode = f"slow:{BYTES_A_SECOND}"
    create = WeaviateCreateBackupOperator(
        task_id="backup", weaviate_conn_id=CONN, backup_id="spent", wait_for_completion=False
    )
    create.execute(context_of("spent"))
    WeaviateCancelBackupOperator(task_id="cancel", weaviate_conn_id=CONN, backup_id="spent").execute(
        context_of("spent")
    )
    far_away.line.mode = "ok"
    again = WeaviateCreateBackupOperator(task_id="backup", weaviate_conn_id=CONN, backup_id="spent", include=["Barley"])
    result = again.execute(context_of("spent"))
    assert (result["backup_id"], result["attempts"], result["status"]) == ("spent-a2", 2, "SUCCESS")


def test_finished_one_stays_as_it_is(far_away: FarAway) -> None:
    create = WeaviateCreateBackupOperator(
        task_id="backup", weaviate_conn_id=CONN, backup_id="finished", include=["Barley"]
    )
    create.execute(context_of("finished"))
    cancel = WeaviateCancelBackupOperator(task_id="cancel", weaviate_conn_id=CONN, backup_id="finished")
    assert cancel.execute(context_of("finished"))["status"] == "SUCCESS"


def test_unknown_one_is_an_error(far_away: FarAway) -> None:
    """Trap 15: the server answers 204 to that."""
    cancel = WeaviateCancelBackupOperator(task_id="cancel", weaviate_conn_id=CONN, backup_id="never-was")
    with pytest.raises(AirflowFailException, match="404"):
        cancel.execute(context_of("unknown"))


def test_running_restore_is_canceled(far_away: FarAway) -> None:
    create = WeaviateCreateBackupOperator(task_id="backup", weaviate_conn_id=CONN, backup_id="to-restore")
    create.execute(context_of("restore"))
    dataset.drop(far_away.node.url)
    far_away.line.mode = f"slowdown:{BYTES_A_SECOND}"
    restore = WeaviateRestoreBackupOperator(
        task_id="restore", weaviate_conn_id=CONN, backup_id="to-restore", wait_for_completion=False
    )
    restore.execute(context_of("restore"))
    cancel = WeaviateCancelBackupOperator(
        task_id="cancel", weaviate_conn_id=CONN, backup_id="to-restore", operation="restore"
    )
    assert cancel.execute(context_of("restore"))["status"] == "CANCELED"
    assert dataset.count(far_away.node.url) == {}
