"""What is checked before anything is started, on real servers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_vectorbackup.compat import AirflowFailException, AirflowSkipException
from airflow_provider_vectorbackup.exceptions import ServerNotReady
from airflow_provider_vectorbackup.operators import WeaviateCreateBackupOperator, WeaviateRestoreBackupOperator
from tests.actions.conftest import TaskMemory
from tests.e2e.conftest import TARGET_CONN, Lab, set_connection
from tests.e2e.running import context_of
from tests.services import dataset
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.services.process import wait_until
from tests.services.weaviate import WeaviateNode, weaviate_cluster


@pytest.fixture(scope="module")
def backup_id(lab: Lab) -> str:
    operator = WeaviateCreateBackupOperator(task_id="checks", if_exists="reuse")
    return str(operator.execute(context_of("checks"))["backup_id"])


def _restore(backup_id: str, **arguments: Any) -> dict[str, Any]:
    operator = WeaviateRestoreBackupOperator(
        task_id="restore", weaviate_conn_id=TARGET_CONN, backup_id=backup_id, **arguments
    )
    return operator.execute(context_of("restore"))


def _write(node: WeaviateNode, name: str) -> None:
    requests.post(f"{node.url}/v1/schema", json={"class": name}, timeout=10).raise_for_status()


@pytest.mark.parametrize("there", ["Barley", "BARLEY"])
def test_collection_in_the_way_fails_before_the_start(
    lab: Lab, backup_id: str, empty_target: WeaviateNode, there: str
) -> None:
    _write(empty_target, there)
    with pytest.raises(AirflowFailException, match=f"In the way of the restore: collection {there}"):
        _restore(backup_id)
    assert dataset.count(empty_target.url) == {there: 0}


def test_alias_in_the_way_fails_before_the_start(lab: Lab, backup_id: str, empty_target: WeaviateNode) -> None:
    _write(empty_target, "Grain")
    alias = {"alias": "Barley", "class": "Grain"}
    requests.post(f"{empty_target.url}/v1/aliases", json=alias, timeout=10).raise_for_status()
    try:
        with pytest.raises(AirflowFailException, match="In the way of the restore: alias Barley"):
            _restore(backup_id, if_collection_exists="replace", allow_replace=True)
    finally:
        requests.delete(f"{empty_target.url}/v1/aliases/Barley", timeout=10).raise_for_status()


def test_collection_in_the_way_is_skipped(lab: Lab, backup_id: str, empty_target: WeaviateNode) -> None:
    _write(empty_target, "Airport")
    result = _restore(backup_id, if_collection_exists="skip")
    assert result["collections"] == ["Barley", "Car"]
    assert dataset.count(empty_target.url) == lab.counts | {"Airport": 0}
    with pytest.raises(AirflowSkipException, match="All collections of the restore are there already"):
        _restore(backup_id, if_collection_exists="skip")


def test_collection_in_the_way_is_replaced(lab: Lab, backup_id: str, empty_target: WeaviateNode) -> None:
    _write(empty_target, "Barley")
    result = _restore(backup_id, include=["Barley"], if_collection_exists="replace", allow_replace="True")
    assert result["status"] == "SUCCESS"
    assert dataset.count(empty_target.url) == {"Barley": lab.counts["Barley"]}


def test_chosen_id_is_not_taken_twice(lab: Lab) -> None:
    def create(run_id: str, if_exists: str = "fail") -> dict[str, Any]:
        operator = WeaviateCreateBackupOperator(
            task_id="backup", backup_id="mine", include=["Barley"], if_exists=if_exists
        )
        return operator.execute(context_of(run_id))

    first = create("one")
    with pytest.raises(AirflowFailException, match=r"Backup 'mine' is there already .*if_exists to 'reuse'"):
        create("two")
    assert create("three", if_exists="reuse") == first


def test_retry_follows_the_first_backup(lab: Lab) -> None:
    memory = TaskMemory()
    operator = WeaviateCreateBackupOperator(task_id="backup", include=["Barley"], wait_for_completion=False)
    started = operator.execute(context_of("retried", memory=memory))
    operator = WeaviateCreateBackupOperator(task_id="backup", include=["Barley"])
    ended = operator.execute(context_of("retried", memory=memory))
    assert (started["status"], ended["status"]) == ("STARTED", "SUCCESS")
    assert (ended["backup_id"], ended["attempts"]) == (started["backup_id"], 1)
    listed = requests.get(f"{lab.source.url}/v1/backups/s3", timeout=10).json()
    assert sum(entry["id"].startswith(started["backup_id"]) for entry in listed) == 1


def test_node_that_is_down(
    services_folder: Path, minio: S3Settings, airflow_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All nodes must take part. The first one of three is asked, the last one is gone."""
    backups = [minio.weaviate_env(BUCKET, "cluster")]
    with weaviate_cluster(services_folder / "cluster", backups=backups) as cluster:
        counts = dataset.load(cluster.url)
        node = cluster.nodes[0]
        set_connection(monkeypatch, "cluster", host=node.host, port=node.port, extra={"default_backend": "s3"})
        operator = WeaviateCreateBackupOperator(task_id="backup", weaviate_conn_id="cluster")
        result = operator.execute(context_of("all nodes"))
        assert result["status"] == "SUCCESS"
        dataset.drop(cluster.url)
        WeaviateRestoreBackupOperator(
            task_id="restore", weaviate_conn_id="cluster", backup_id=result["backup_id"]
        ).execute(context_of("all nodes"))
        assert dataset.count(cluster.url) == counts
        cluster.nodes[2].kill()
        url = f"{cluster.url}/v1/nodes"
        wait_until(lambda: "w3" not in _healthy(url), 60, "the cluster to notice that w3 is gone")
        with pytest.raises(ServerNotReady, match="Not all nodes of the server are healthy: w3"):
            operator.execute(context_of("one node down"))


def _healthy(url: str) -> set[str]:
    nodes = requests.get(url, timeout=10).json()["nodes"]
    return {node["name"] for node in nodes if node["status"] == "HEALTHY"}


@pytest.fixture
def inactive(lab: Lab) -> Iterator[None]:
    """Make one tenant of Car inactive for a while."""
    yield from _with_activity(lab, "COLD")


def _with_activity(lab: Lab, activity: str) -> Iterator[None]:
    url = f"{lab.source.url}/v1/schema/Car/tenants"
    requests.put(url, json=[{"name": "Europe", "activityStatus": activity}], timeout=10).raise_for_status()
    yield
    requests.put(url, json=[{"name": "Europe", "activityStatus": "HOT"}], timeout=10).raise_for_status()
    wait_until(lambda: _activities(lab)["Europe"] == "HOT", 30, "Europe to be active again")


def _activities(lab: Lab) -> dict[str, str]:
    tenants = requests.get(f"{lab.source.url}/v1/schema/Car/tenants", timeout=10).json()
    return {tenant["name"]: tenant["activityStatus"] for tenant in tenants}


@contextmanager
def _as_version(node: WeaviateNode, version: str) -> Iterator[int]:
    """Serve the node under another version's name: servers before 1.37 leave inactive tenants out, silently."""

    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = requests.request(
                self.command,
                node.url + self.path,
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=30,
            )
            content = answer.content
            if self.path == "/v1/meta":
                content = json.dumps(answer.json() | {"version": version}).encode()
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _pass_on  # noqa: N815  # the base class calls these names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def old_conn(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with _as_version(lab.source, "1.36.4") as port:
        set_connection(monkeypatch, "old", host="127.0.0.1", port=port, extra={"default_backend": "s3"})
        yield "old"


def _create_of(conn_id: str, policy: str, run_id: str) -> dict[str, Any]:
    operator = WeaviateCreateBackupOperator(
        task_id="tenants", weaviate_conn_id=conn_id, include=["Car"], inactive_tenants=policy
    )
    return operator.execute(context_of(run_id))


def test_inactive_tenants_fail(lab: Lab, old_conn: str, inactive: None) -> None:
    with pytest.raises(AirflowFailException, match=r"would leave out inactive tenants \(Car: Europe\)"):
        _create_of(old_conn, "fail", "fail")


def test_inactive_tenants_are_warned_of(
    lab: Lab, old_conn: str, inactive: None, caplog: pytest.LogCaptureFixture
) -> None:
    assert _create_of(old_conn, "warn", "warn")["status"] == "SUCCESS"
    assert "will NOT contain these inactive tenants: Car: Europe" in caplog.text
    assert _activities(lab)["Europe"] == "COLD"


def test_inactive_tenants_are_activated_and_put_back(
    lab: Lab, old_conn: str, inactive: None, empty_target: WeaviateNode
) -> None:
    result = _create_of(old_conn, "activate", "activate")
    wait_until(lambda: _activities(lab)["Europe"] == "COLD", 30, "Europe to be put back")
    _restore(result["backup_id"])
    cars = {label: count for label, count in lab.counts.items() if label.startswith("Car/")}
    assert dataset.count(empty_target.url) == cars


def test_new_servers_contain_inactive_tenants(lab: Lab, inactive: None, caplog: pytest.LogCaptureFixture) -> None:
    result = _create_of("weaviate_default", "fail", "new")
    assert result["status"] == "SUCCESS"
    assert "inactive tenants" not in caplog.text
