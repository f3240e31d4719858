"""Every backend: back up, verify and restore with tasks, on servers that have all four enabled; then damage, found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_vectorbackup.backups.locations import BACKENDS, SCHEME_BY_BACKEND, Location
from airflow_provider_vectorbackup.hooks.storage import open_store
from airflow_provider_vectorbackup.operators import (
    WeaviateCreateBackupOperator,
    WeaviateRestoreBackupOperator,
    WeaviateVerifyBackupOperator,
)
from tests.e2e.running import START, DagRunResult, run
from tests.e2e.traps_lab import VERSIONS, connect
from tests.services.fixtures import BUCKET
from tests.services.object_stores import AzureSettings, GCSSettings, S3Settings
from tests.services.weaviate import filesystem_env, weaviate_cluster, weaviate_server
from tests.trees.filling import Server, fill_two

LEVELS = ("quick", "deep")
CODECS = {"s3": "DefaultCompression", "gcs": "BestSpeed", "azure": "ZstdDefaultCompression", "filesystem": None}
COLLECTIONS = ("Article", "Photo", "Product")
STORE_CONNS = {"s3": "verify_s3", "gcs": "verify_gcs", "azure": "verify_azure"}
SOON: dict[str, Any] = {"poll_interval": 1, "timeout": 120}

# So low that files are split and referred to with little data.
LOW = {
    "BACKUP_MIN_CHUNK_SIZE": "2KiB",
    "BACKUP_SPLIT_FILE_SIZE": "8KiB",
    "BACKUP_CHUNK_TARGET_SIZE": "6KiB",
    "BACKUP_MAX_INDIVIDUAL_FILES": "12",
    "PERSISTENCE_LSM_MAX_SEGMENT_SIZE": "1KiB",
    "PERSISTENCE_HNSW_DISABLE_SNAPSHOTS": "true",
}


@dataclass(frozen=True)
class Deployment:
    """A server with all backends, and where each of them writes.

    :param objects: what it held when its last backups were made.
    """

    name: str
    url: str
    locations: dict[str, str]
    objects: dict[tuple[str, ...], Any] = field(default_factory=dict)

    @property
    def conn_id(self) -> str:
        return f"verify_{self.name}"


@pytest.fixture(scope="module", autouse=True)
def stores(minio: S3Settings, fake_gcs: GCSSettings, azurite: AzureSettings) -> Iterator[None]:
    connect("verify_s3", **minio.airflow_connection)
    connect("verify_gcs", conn_type="google_cloud_platform", extra={"is_anonymous": True})
    connect("verify_azure", conn_type="wasb", host=azurite.url, login=azurite.account, password=azurite.key)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STORAGE_EMULATOR_HOST", fake_gcs.url)
        yield


@dataclass(frozen=True)
class Made:
    """One deployment of each version, and where a cluster of three nodes writes."""

    deployments: dict[str, Deployment]
    cluster_location: str


@pytest.fixture(scope="module")
def made(
    services_folder: Path, minio: S3Settings, fake_gcs: GCSSettings, azurite: AzureSettings, airflow_db: Path
) -> Iterator[Made]:
    """On each backend of each deployment and of the cluster: a full backup, and an incremental one on it.

    Each with an id of its own: the server finds the status of what runs by the id alone.
    """
    with ExitStack() as stack, ThreadPoolExecutor(3) as aside:

        def started(name: str) -> Deployment:
            prefix, folder = f"verify-{name}", services_folder / f"verify-{name}"
            backups = [store.weaviate_env(BUCKET, prefix) for store in (minio, fake_gcs, azurite)]
            backups.append(filesystem_env(folder / "backups"))
            node = stack.enter_context(weaviate_server(folder, backups=backups, version=VERSIONS[name], env=LOW))
            where = {
                backend: f"{SCHEME_BY_BACKEND[backend]}://{conn_id}@{BUCKET}/{prefix}"
                for backend, conn_id in STORE_CONNS.items()
            }
            where["filesystem"] = f"file://{folder / 'backups'}"
            extra = {f"{backend}_location": location for backend, location in where.items()}
            connect(f"verify_{name}", conn_type="weaviate_backup", host=node.host, port=node.port, extra=extra)
            return _with_backups(Deployment(name, node.url, where))

        def started_cluster() -> str:
            folder = services_folder / "verify-cluster"
            stores = [minio.weaviate_env(BUCKET, folder.name)]
            cluster = stack.enter_context(weaviate_cluster(folder, backups=stores, env=LOW))
            server = Server(cluster.url, "s3")
            server.define("Article", replicationConfig={"factor": 2}, shards=3)
            server.write("Article", range(60))
            server.back_up("full-s3")
            server.write("Article", range(60, 80))
            server.back_up("second-s3", "full-s3")
            return f"s3://{STORE_CONNS['s3']}@{BUCKET}/{folder.name}"

        location = aside.submit(started_cluster)
        yield Made(dict(zip(VERSIONS, aside.map(started, VERSIONS), strict=True)), location.result())


def _with_backups(deployment: Deployment) -> Deployment:
    _fill(Server(deployment.url))
    for backend, level in CODECS.items():
        Server(deployment.url, backend).back_up(f"full-{backend}", level=level)
    _fill_more(Server(deployment.url))
    for backend, level in CODECS.items():
        Server(deployment.url, backend).back_up(f"second-{backend}", f"full-{backend}", level)
    deployment.objects.update(_objects(deployment.url))
    return deployment


def _fill(server: Server) -> None:
    """Make a collection with one shard, one with tenants, one with two vectors an object."""
    fill_two(server)
    vectors = {name: {"vectorizer": {"none": {}}, "vectorIndexType": "flat"} for name in ("title", "picture")}
    server.define("Photo", vectorConfig=vectors)
    server.write("Photo", range(30), vectors=("title", "picture"))


def _fill_more(server: Server) -> None:
    server.write("Article", range(60, 80))
    server.write("Product", range(10, 15), tenant="north")


def _objects(url: str) -> dict[tuple[str, ...], Any]:
    """Return every object of every collection and tenant, with its properties and vectors."""
    server, found = Server(url), dict[tuple[str, ...], Any]()
    for name in sorted(schema["class"] for schema in server.call("GET", "/schema")["classes"]):
        tenants = (
            [tenant["name"] for tenant in server.call("GET", f"/schema/{name}/tenants")] if name == "Product" else [""]
        )
        for tenant in tenants:
            query = f"/objects?class={name}&limit=1000&include=vector" + (f"&tenant={tenant}" if tenant else "")
            for entry in server.call("GET", query)["objects"]:
                held = {key: entry.get(key) for key in ("properties", "vector", "vectors")}
                found[name, tenant, entry["id"]] = held
    return found


@pytest.fixture(scope="module")
def verified(made: Made) -> DagRunResult:
    """One Dag run with a task for each server, backend, backup and level."""
    cluster = Deployment("cluster", "", {"s3": made.cluster_location})
    with DAG("verify_all", schedule=None, start_date=START) as dag:
        for deployment in (*made.deployments.values(), cluster):
            for backend, location in deployment.locations.items():
                for level in LEVELS:
                    WeaviateVerifyBackupOperator(
                        task_id=f"{deployment.name}_{backend}_{level}",
                        location=location,
                        backup_id=f"second-{backend}",
                        level=level,
                    )
    return run(dag)


def test_all_tasks_find_all_backups_whole(verified: DagRunResult) -> None:
    assert verified.state == "success", verified.tasks
    assert len(verified.tasks) == 18
    for name, value in verified.values.items():
        assert (value["is_whole"], value["damage"], value["warnings"]) == (True, [], []), name
        backend = name.split("_")[1]
        assert (value["chain"], value["unchecked"]) == ([f"full-{backend}", f"second-{backend}"], "")


@pytest.mark.parametrize("name", [f"{version}_{backend}" for version in VERSIONS for backend in BACKENDS])
def test_what_the_tasks_return(verified: DagRunResult, made: Made, name: str) -> None:
    version, _, backend = name.partition("_")
    quick, deep = (verified.values[f"{name}_{level}"] for level in LEVELS)
    location = Location.parse(made.deployments[version].locations[backend])
    assert quick["uri"] == deep["uri"] == location.uri_of(f"second-{backend}")
    assert (quick["level"], deep["level"]) == LEVELS
    assert quick["collections"] == deep["collections"] == [*COLLECTIONS]
    with closing(open_store(location)) as store:
        stored = [one.size_bytes for which in ("full", "second") for one in store.list_objects(f"{which}-{backend}/")]
    for value in (quick, deep):
        assert (value["objects"], value["stored_bytes"]) == (len(stored), sum(stored))
    assert (quick["read_bytes"], quick["unpacked_bytes"]) == (0, 0)
    assert 0 < deep["read_bytes"] < deep["stored_bytes"]
    assert deep["unpacked_bytes"] > 0


def _cut_off(content: bytes) -> bytes:
    return content[:-1]


def _flip(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


FAULTS: dict[str, tuple[str, Callable[[bytes], bytes] | None, str]] = {
    "s3": ("full-s3/w1/Article/chunk-2", None, "is not there"),
    "gcs": ("second-gcs/w1/Article/chunk-1", _cut_off, "cut off"),
    "azure": ("second-azure/w1/Product/chunk-1", _flip, "(decompressed|differs|holds|lacks)"),
    "filesystem": ("second-filesystem/w1/backup.json", _cut_off, "can't be read"),
}
"""By backend: what is damaged, how (None: deleted), and what is said of it."""


def test_damage_fails_the_task_and_is_named(made: Made) -> None:
    """Whoever comes after the task in the Dag finds the report in its XCom."""
    locations = {backend: Location.parse(uri) for backend, uri in made.deployments["new"].locations.items()}
    errors: dict[str, str] = {}
    with DAG("verify_damaged", schedule=None, start_date=START) as dag:
        checks = [
            WeaviateVerifyBackupOperator(
                task_id=backend,
                location=str(location),
                backup_id=f"second-{backend}",
                level="deep",
                store_report=True,
                on_failure_callback=lambda context: errors.update({context["ti"].task_id: str(context["exception"])}),
            )
            for backend, location in locations.items()
        ]

        @task(trigger_rule="all_done")
        def reports(ti: Any = None) -> dict[str, Any]:
            return {backend: ti.xcom_pull(task_ids=backend, key="report") for backend in BACKENDS}

        checks >> reports()
    with ExitStack() as repairs:
        for backend, location in locations.items():
            _damage(location, backend, repairs)
        result = run(dag)
    assert result.tasks == {**dict.fromkeys(BACKENDS, "failed"), "reports": "success"}
    for backend, (key, _, told) in FAULTS.items():
        report = result.values["reports"][backend]
        assert (report["is_whole"], report["damage_count"] > 0) == (False, True)
        assert [line for line in report["damage"] if re.match(f"{key} .*{told}", line)], report
        assert report["report_key"] == f"second-{backend}/_vectorbackup/verify-deep.json"
        uri = locations[backend].uri_of(f"second-{backend}")
        assert f"{uri} can't be restored whole" in errors[backend]
        assert f"\n- {key} " in errors[backend]


def _damage(location: Location, backend: str, repairs: ExitStack) -> None:
    key, change, _ = FAULTS[backend]
    store = repairs.enter_context(closing(open_store(location)))
    content = store.read(key)
    assert content
    if change:
        damaged = change(content)
        store.write(key, [damaged], len(damaged))
    else:
        store.delete([key])
    repairs.callback(store.write, key, [content], len(content))


def test_back_up_and_restore_on_every_backend(made: Made) -> None:
    """One server, four backends, one after the other; each restore must bring back what was destroyed before it."""
    deployment = made.deployments["new"]
    with DAG("every_backend", schedule=None, start_date=START) as dag:

        @task
        def destroy(url: str) -> None:
            server = Server(url)
            server.write("Article", range(200, 210))
            for name in ("Photo", "Product"):
                server.call("DELETE", f"/schema/{name}")

        @task
        def differences(url: str) -> int:
            held, wanted = _objects(url), deployment.objects
            return sum(held.get(key) != wanted.get(key) for key in held.keys() | wanted.keys())

        previous: Any = None
        for backend in BACKENDS:
            backup: dict[str, Any] = {"weaviate_conn_id": deployment.conn_id, "backend": backend}
            backup |= {"backup_id": f"by-task-{backend}"} | SOON
            create = WeaviateCreateBackupOperator(
                task_id=f"create_{backend}",
                compression=CODECS[backend],
                incremental_base_backup_id=f"second-{backend}",
                **backup,
            )
            verify = WeaviateVerifyBackupOperator(
                task_id=f"verify_{backend}",
                location=deployment.locations[backend],
                backup_id=f"by-task-{backend}",
                level="deep",
            )
            gone = differences.override(task_id=f"gone_{backend}")(deployment.url)
            restore = WeaviateRestoreBackupOperator(
                task_id=f"restore_{backend}", if_collection_exists="replace", allow_replace=True, **backup
            )
            left = differences.override(task_id=f"left_{backend}")(deployment.url)
            (
                create
                >> verify
                >> destroy.override(task_id=f"destroy_{backend}")(deployment.url)
                >> gone
                >> restore
                >> left
            )
            if previous is not None:
                previous >> create
            previous = left
    result = run(dag)
    assert result.state == "success", result.tasks
    assert len(deployment.objects) == 80 + 30 + 35
    for backend in BACKENDS:
        created, restored = (result.values[f"{operation}_{backend}"] for operation in ("create", "restore"))
        assert created["uri"] == restored["uri"] == result.values[f"verify_{backend}"]["uri"]
        assert result.values[f"verify_{backend}"]["chain"] == [
            f"full-{backend}",
            f"second-{backend}",
            f"by-task-{backend}",
        ]
        assert result.values[f"gone_{backend}"] == 10 + 30 + 35
        assert result.values[f"left_{backend}"] == 0
