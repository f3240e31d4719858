"""Each real service starts, serves, stops, and leaves no process behind."""

import dataclasses
import socket
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import botocore.exceptions
import psutil
import pytest
import requests

from tests.services import dataset, loopback, weaviate
from tests.services.airflow import airflow_standalone
from tests.services.object_stores import (
    AzureSettings,
    GCSSettings,
    S3Settings,
    azurite_server,
    fake_gcs_server,
    minio_server,
    moto_server,
)
from tests.services.process import ServiceFailed, guard, wait_until
from tests.services.weaviate import ApiKeys, WeaviateNode, filesystem_env, weaviate_cluster, weaviate_server

pytestmark = pytest.mark.services

_BUCKET = "backups"
_COUNTS = {"Airport": 3376, "Barley": 120, "Car/Europe": 73, "Car/Japan": 79, "Car/USA": 254}


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = _descendants()
    yield
    assert _descendants() - before == set()


def _descendants() -> set[psutil.Process]:
    """Find all our descendants, without the guard, which lives as long as we do."""
    return {process for process in psutil.Process().children(recursive=True) if process.pid != guard.pid}


def _get(url: str, **options: Any) -> requests.Response:
    with loopback.session() as direct:
        return direct.get(url, timeout=10, **options)


def _list_s3(settings: S3Settings) -> list[str]:
    with settings.client() as client:
        return [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]


@pytest.mark.parametrize("launch", [minio_server, moto_server])
def test_an_s3_server(launch: Callable[[Path], AbstractContextManager[S3Settings]], tmp_path: Path) -> None:
    with launch(tmp_path) as settings:
        assert _list_s3(settings) == []
        settings.create_bucket(_BUCKET)
        assert _list_s3(settings) == [_BUCKET]
    with pytest.raises(botocore.exceptions.EndpointConnectionError):
        _list_s3(settings)


def test_minio_wants_its_own_credentials(tmp_path: Path) -> None:
    with minio_server(tmp_path) as settings:
        stranger = dataclasses.replace(settings, secret_key="guessed")
        with pytest.raises(botocore.exceptions.ClientError, match="SignatureDoesNotMatch"):
            stranger.create_bucket(_BUCKET)


def test_a_gcs_server(tmp_path: Path) -> None:
    with fake_gcs_server(tmp_path) as settings:
        settings.create_bucket(_BUCKET)
        page = f"{settings.url}/storage/v1/b/{_BUCKET}"
        assert _get(page).json()["name"] == _BUCKET
        with pytest.raises(requests.HTTPError, match="409"):
            settings.create_bucket(_BUCKET)
    with pytest.raises(requests.ConnectionError):
        _get(page)


def test_an_azure_server(tmp_path: Path) -> None:
    with azurite_server(tmp_path) as settings:
        settings.create_container(_BUCKET)
        with pytest.raises(requests.HTTPError, match="409"):
            settings.create_container(_BUCKET)
        stranger = dataclasses.replace(settings, key="AAAA")
        with pytest.raises(requests.HTTPError, match="403"):
            stranger.create_container("other")
    with pytest.raises(requests.ConnectionError):
        settings.create_container(_BUCKET)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[S3Settings, GCSSettings, AzureSettings]]:
    with minio_server(tmp_path) as s3, fake_gcs_server(tmp_path) as gcs, azurite_server(tmp_path) as azure:
        s3.create_bucket(_BUCKET)
        gcs.create_bucket(_BUCKET)
        azure.create_container(_BUCKET)
        yield s3, gcs, azure


def test_weaviate_backs_up_to_every_store(
    tmp_path: Path, stores: tuple[S3Settings, GCSSettings, AzureSettings]
) -> None:
    backups = [*(store.weaviate_env(_BUCKET, "some/path") for store in stores), filesystem_env(tmp_path / "backups")]
    paths = {}
    with weaviate_server(tmp_path, backups=backups) as node:
        dataset.load(node.url)
        for backend in ("s3", "gcs", "azure", "filesystem"):
            status = _back_up(node, backend)
            assert status["status"] == "SUCCESS", status
            paths[backend] = status["path"]
    assert paths["s3"] == f"s3://{_BUCKET}/some/path/first"
    assert paths["gcs"] == f"gs://{_BUCKET}/some/path/first"
    assert paths["azure"] == f"{stores[2].url}/{_BUCKET}/some/path/first"
    assert (tmp_path / "backups" / "first" / "backup_config.json").exists()


def _back_up(node: WeaviateNode, backend: str) -> dict[str, Any]:
    page = f"{node.url}/v1/backups/{backend}"
    with loopback.session() as direct:

        def is_begun() -> bool:
            answer = direct.post(page, json={"id": "first"}, timeout=10)
            if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY and "in progress" in answer.text:
                return False  # a node shows SUCCESS a moment before it frees its slot
            assert answer.ok, answer.text
            return True

        wait_until(is_begun, 30, f"start of the {backend} backup")
        wait_until(lambda: _get(f"{page}/first").json()["status"] in ("SUCCESS", "FAILED"), 30, f"{backend} backup")
    return dict(_get(f"{page}/first").json())


def test_weaviate_keeps_its_data_over_a_crash_a_stop_and_a_new_start(tmp_path: Path) -> None:
    with weaviate_server(tmp_path) as node:
        assert dataset.count(node.url) == {}
        assert dataset.load(node.url) == _COUNTS
        assert dataset.near(node.url, "San Francisco International")[0] == "San Francisco International"
        assert set(dataset.near(node.url, "toyota corolla", collection="Car", tenant="Japan")) == {"toyota corolla"}
        for end in (node.kill, node.stop):
            end()
            with pytest.raises(requests.ConnectionError):
                _get(node.url)
            node.start()
            assert dataset.count(node.url) == _COUNTS
    with weaviate_server(tmp_path) as again:
        assert again.url != node.url
        assert dataset.count(again.url) == _COUNTS
        dataset.drop(again.url)
        assert dataset.count(again.url) == {}


def test_a_cluster_of_three(tmp_path: Path) -> None:
    with weaviate_cluster(tmp_path) as cluster:
        seen = _get(f"{cluster.url}/v1/nodes").json()["nodes"]
        assert [(node["name"], node["status"]) for node in seen] == [(f"w{n}", "HEALTHY") for n in (1, 2, 3)]
        assert dataset.load(cluster.nodes[1].url) == _COUNTS
        assert dataset.count(cluster.nodes[2].url) == _COUNTS
        cluster.nodes[2].kill()
        cluster.nodes[2].start()
        wait_until(lambda: dataset.count(cluster.url) == _COUNTS, 30, "the third node's shards")


def test_api_keys_and_roles(tmp_path: Path) -> None:
    keys = ApiKeys({"root": "root-key", "nobody": "nobody-key"}, rbac_root="root")
    with weaviate_server(tmp_path, api_keys=keys) as node:
        page = f"{node.url}/v1/schema/Absent"
        assert _get(page).status_code == 401
        assert _get(page, headers={"Authorization": "Bearer nobody-key"}).status_code == 403
        assert _get(page, headers=keys.header()).status_code == 404


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(ServiceFailed, match="empty backup path provided") as caught,
        weaviate_server(tmp_path, env={"ENABLE_MODULES": "backup-filesystem"}),
    ):
        pytest.fail("it started")
    assert "before it was ready" in str(caught.value)
    assert str(tmp_path / "w1" / "weaviate.log") in str(caught.value)


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = weaviate._ports
    taken_first: list[int] = []
    with socket.create_server((loopback.ADDRESS, 0)) as other:
        port = other.getsockname()[1]

        def unlucky(count: int) -> list[weaviate.NodePorts]:
            ports = choose(count)
            if not taken_first:
                taken_first.append(port)
                ports = [dataclasses.replace(ports[0], raft=port)]
            return ports

        monkeypatch.setattr(weaviate, "_ports", unlucky)
        with weaviate_server(tmp_path) as node:
            assert node.ports.raft != port
            assert dataset.count(node.url) == {}
    assert taken_first == [port]


_DAG = """
    from airflow.sdk import dag, get_current_context, task

    @dag(schedule=None)
    def sample():
        @task
        def double(number):
            print("doubling", number)
            return 2 * number

        @task
        def add(numbers):
            return sum(numbers) + get_current_context()["dag_run"].conf["more"]

        add(double.expand(number=[1, 2]))

    sample()
"""


@pytest.mark.airflow
def test_airflow_runs_a_dag(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "sample.py").write_text(textwrap.dedent(_DAG))
    changes: list[tuple[str, str]] = []
    with airflow_standalone(tmp_path, dags_folder=tmp_path / "dags") as airflow:
        airflow.api.wait_for_dag("sample")
        airflow.api.unpause("sample")
        run = airflow.api.trigger("sample", {"more": 10})
        state = airflow.api.wait_for_run("sample", run, 120, lambda task, state: changes.append((task, state)))
        assert state == "success"
        assert airflow.api.xcom("sample", run, "double", map_index=1) == 4
        assert airflow.api.xcom("sample", run, "add") == 16
        assert "doubling 2" in airflow.api.task_log("sample", run, "double", map_index=1)
    assert {("double[0]", "success"), ("double[1]", "success"), ("add", "success")} <= set(changes)
