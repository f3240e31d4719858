"""A lab for end-to-end tests: a server with data, an empty one, one place for backups, and connections to both."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.prune_lab import bench
from tests.e2e.traps_lab import new, old, server, trap_bucket, trap_servers
from tests.services import dataset
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.services.weaviate import WeaviateNode, weaviate_server

__all__ = ["bench", "new", "old", "server", "trap_bucket", "trap_servers"]

PREFIX = "lab"
SOURCE_CONN = "weaviate_default"
TARGET_CONN = "weaviate_target"


@dataclass(frozen=True)
class Lab:
    """The two servers; both know the same place for backups, under ``s3``."""

    source: WeaviateNode
    target: WeaviateNode
    s3: S3Settings
    counts: dict[str, int]

    def objects(self, backup_id: str) -> set[str]:
        """Return the keys below a backup's id, without what stands before it."""
        prefix = f"{PREFIX}/{backup_id}/"
        with self.s3.client() as client:
            pages = list(client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix))
        return {entry["Key"].removeprefix(prefix) for page in pages for entry in page.get("Contents", [])}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here need real services."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.services)


def set_connection(monkeypatch: pytest.MonkeyPatch, conn_id: str, **fields: object) -> None:
    """Give Airflow a connection for the time of a test."""
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "weaviate_backup"} | fields))


@pytest.fixture(scope="session")
def lab(services_folder: Path, minio: S3Settings, airflow_db: Path) -> Iterator[Lab]:
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(
                weaviate_server(services_folder / side, name="w1", backups=[minio.weaviate_env(BUCKET, PREFIX)])
            )
            for side in ("source", "target")
        ]
        counts = dataset.load(nodes[0].url)
        location = f"s3://aws_default@{BUCKET}/{PREFIX}"
        for conn_id, node in zip((SOURCE_CONN, TARGET_CONN), nodes, strict=True):
            extra = {"default_backend": "s3", "s3_location": location}
            fields = {"conn_type": "weaviate_backup", "host": node.host, "port": node.port, "extra": extra}
            os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(fields)
        os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(minio.airflow_connection)
        yield Lab(nodes[0], nodes[1], minio, counts)


@pytest.fixture
def empty_target(lab: Lab) -> Iterator[WeaviateNode]:
    """The second server, without collections before and after."""
    dataset.drop(lab.target.url)
    yield lab.target
    dataset.drop(lab.target.url)
