"""The services of the demo, all started by it, on free ports of 127.0.0.1, with their data in one folder."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from demo.progress import Progress
from tests.services import binaries
from tests.services.airflow import Airflow, airflow_standalone
from tests.services.loopback import ADDRESS
from tests.services.object_stores import GCSSettings, S3Settings, fake_gcs_server, minio_server, moto_server
from tests.services.weaviate import WeaviateNode, weaviate_server

BUCKET = "backups"
PATH = "demo"
LOCATION = f"s3://aws_default@{BUCKET}/{PATH}"
COPY_LOCATION = f"gs://google_cloud_default@{BUCKET}/{PATH}"
SOURCE_CONN_ID, TARGET_CONN_ID = "weaviate_default", "weaviate_restore_target"
_DAGS_FOLDER = Path(__file__).parents[1] / "dags"


@dataclass(frozen=True)
class Store:
    """An S3 server; ``name`` says which."""

    name: str
    settings: S3Settings

    def stored(self, backup_id: str) -> tuple[int, int]:
        """Return the number of a backup's objects and their bytes."""
        with self.settings.client() as client:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{PATH}/{backup_id}/")
            sizes = [entry["Size"] for page in pages for entry in page.get("Contents", ())]
        return len(sizes), sum(sizes)


@dataclass(frozen=True)
class Servers:
    """What Airflow works on: the source writes to the store, the target reads from the other one alone."""

    store: Store
    other: GCSSettings
    source: WeaviateNode
    target: WeaviateNode


def start_store(stack: ExitStack, folder: Path, progress: Progress) -> Store:
    """Start MinIO if it is to be had without building it, which takes longer than the demo; else moto's S3 server."""
    try:
        store = Store("MinIO", stack.enter_context(minio_server(folder, build=False, say=progress.say)))
    except binaries.ServiceUnavailable:
        progress.say("MinIO is not at hand, so moto's S3 server it is")
        store = Store("moto's S3 server", stack.enter_context(moto_server(folder)))
    store.settings.create_bucket(BUCKET)
    return store


def start_other_store(stack: ExitStack, folder: Path, progress: Progress) -> GCSSettings:
    """Start a stand-in of Google Cloud Storage, where the backup is copied to."""
    settings = stack.enter_context(fake_gcs_server(folder, say=progress.say))
    settings.create_bucket(BUCKET)
    return settings


def start_weaviate(stack: ExitStack, folder: Path, store: S3Settings | GCSSettings, progress: Progress) -> WeaviateNode:
    """Start a new, empty Weaviate with its data in ``folder`` and its backups in the store.

    All have the same node name, so a backup of one fits the others as it is.
    """
    backups = [store.weaviate_env(BUCKET, PATH)]
    return stack.enter_context(weaviate_server(folder, backups=backups, say=progress.say))


def start_airflow(stack: ExitStack, folder: Path, servers: Servers) -> Airflow:
    """Start a whole Airflow that knows the example Dags and the four connections they need."""
    env = {
        f"AIRFLOW_CONN_{SOURCE_CONN_ID.upper()}": _weaviate_connection(servers.source, "s3", LOCATION),
        f"AIRFLOW_CONN_{TARGET_CONN_ID.upper()}": _weaviate_connection(servers.target, "gcs", COPY_LOCATION),
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(servers.store.settings.airflow_connection),
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(
            {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True}}
        ),
        "STORAGE_EMULATOR_HOST": servers.other.url,
    }
    return stack.enter_context(airflow_standalone(folder, dags_folder=_DAGS_FOLDER, env=env))


def _weaviate_connection(node: WeaviateNode, backend: str, location: str) -> str:
    extra = {"default_backend": backend, f"{backend}_location": location}
    return json.dumps({"conn_type": "weaviate_backup", "host": ADDRESS, "port": node.port, "extra": extra})
