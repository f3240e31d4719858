"""Copies that are killed in the midst, to each kind of store: half a copy is no backup, and the next try goes on."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient

from airflow_provider_vectorbackup.operators import WeaviateVerifyBackupOperator
from tests.e2e.copy_lab import (
    MIB,
    OTHER_S3,
    BigBackup,
    Places,
    connected,
    copy_task,
    digests,
    kill_once,
    noted_bytes,
    opened,
)
from tests.operators.contexts import TaskRun
from tests.services.fixtures import BUCKET
from tests.services.object_stores import AzureSettings, GCSSettings, S3Settings
from tests.services.weaviate import weaviate_server
from tests.trees.filling import Server

SOURCE, TARGET = "resumed-source", "resumed-target"
BACKENDS = ("s3", "gcs", "azure", "filesystem")
BIG, HUGE = BigBackup("big", files=6, file_bytes=36 * MIB), BigBackup("huge", files=1, file_bytes=136 * MIB)


@dataclass(frozen=True)
class Way:
    """What is copied to a store, and how slowly: so that parts are there when a journal is written, each 3 s.

    :param part_bytes: as the store wants them.
    """

    backup: BigBackup
    part_bytes: int
    threads: int
    max_mib_per_second: int


WAYS = {"s3": Way(BIG, 16 * MIB, 2, 16), "azure": Way(BIG, 16 * MIB, 2, 16)}
WAYS |= {"gcs": Way(HUGE, 64 * MIB, 1, 8), "filesystem": Way(HUGE, 64 * MIB, 1, 8)}


@dataclass(frozen=True)
class Half:
    """What a killed task left.

    :param listed: what a server with its backups there says.
    :param noted: bytes of the objects and parts that the journal tells of, without parts of objects that are whole.
    :param names: all that takes up space there, uploads included.
    """

    listed: list[Any]
    noted: int
    names: set[str]


@dataclass(frozen=True)
class Lab:
    """The stores, and a server whose backups lie in all the targets."""

    places: Places
    server: Server

    def task(self, backend: str, **fields: Any) -> dict[str, Any]:
        """Return the arguments of a task that copies to a store."""
        source, target = self.places.uri("s3", SOURCE), self.places.uri(backend, TARGET, self._conn_id(backend))
        return {"source": source, "target": target, "backup_id": WAYS[backend].backup.backup_id, **fields}

    def listed(self, backend: str) -> list[Any]:
        """Return what the server says that there is."""
        return [(entry["id"], entry["status"]) for entry in self.server.call("GET", f"/backups/{backend}")]

    def names(self, backend: str) -> set[str]:
        """Return all that takes up space in a target: objects, unfinished uploads, hidden files; not by our stores."""
        return {name.removeprefix(f"{TARGET}/") for name in getattr(self, f"_names_in_{backend}")()}

    def _names_in_s3(self) -> Iterator[str]:
        with self.places.minio.client() as client:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{TARGET}/")
            yield from (entry["Key"] for page in pages for entry in page.get("Contents", []))
            # MinIO shows only the uploads to the very name that it is asked for.
            for key in BIG.objects:
                found = client.list_multipart_uploads(Bucket=BUCKET, Prefix=f"{TARGET}/{key}")
                yield from (f"{each['Key']} {each['UploadId']}" for each in found.get("Uploads", []))

    def _names_in_gcs(self) -> Iterator[str]:
        with opened(self.places.location("gcs", TARGET)) as store:
            yield from (stored.key for stored in store.list_objects())

    def _names_in_azure(self) -> Iterator[str]:
        with BlobServiceClient.from_connection_string(self.places.azurite.connection_string) as service:
            container = service.get_container_client(BUCKET)
            for blob in container.list_blobs(f"{TARGET}/", include=["uncommittedblobs"]):
                yield f"{blob.name}{'' if blob.etag else ' uncommitted'}"

    def _names_in_filesystem(self) -> Iterator[str]:
        root = self.places.folder / TARGET
        yield from (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    @staticmethod
    def _conn_id(backend: str) -> str:
        return OTHER_S3 if backend == "s3" else ""


@pytest.fixture(scope="module")
def lab(
    services_folder: Path, minio: S3Settings, fake_gcs: GCSSettings, azurite: AzureSettings, airflow_db: Path
) -> Iterator[Lab]:
    places = Places(minio, fake_gcs, azurite, services_folder / "resumed-stores")
    settings = places.servers_settings(TARGET)
    with connected(places), weaviate_server(services_folder / TARGET, backups=settings) as node:
        for backup in (BIG, HUGE):
            backup.put(minio, SOURCE)
        yield Lab(places, Server(node.url))


@pytest.fixture(scope="module")
def halves(lab: Lab, services_folder: Path) -> dict[str, Half]:
    """By backend, what is there after SIGKILL; all tasks run at the same time."""

    def killed(backend: str) -> Half:
        way, log = WAYS[backend], services_folder / TARGET / f"{backend}.log"
        task = lab.task(backend, threads=way.threads, max_mib_per_second=way.max_mib_per_second)
        kill_once(lambda: noted(backend) > 0, log, task, {})
        return Half(lab.listed(backend), noted(backend), lab.names(backend))

    def noted(backend: str) -> int:
        return noted_bytes(lab.task(backend)["target"], WAYS[backend].backup, WAYS[backend].part_bytes)

    with ThreadPoolExecutor(len(BACKENDS)) as aside:
        return dict(zip(BACKENDS, aside.map(killed, BACKENDS), strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_a_copy_is_no_backup(halves: dict[str, Half], backend: str) -> None:
    half, backup = halves[backend], WAYS[backend].backup
    assert half.listed == []
    assert WAYS[backend].part_bytes <= half.noted < backup.size_bytes
    assert not half.names & {key for key in backup.objects if key.endswith(".json")}
    assert half.names - backup.objects.keys() - {f"{backup.own}copy/plan.json"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_next_try_moves_only_the_rest(
    lab: Lab, halves: dict[str, Half], backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Trap 22: it goes on with each upload, and leaves none, neither its own nor one that nobody knows of."""
    caplog.set_level(logging.INFO, logger="airflow_provider_vectorbackup")
    _crash_in_an_upload(lab, backend)
    result = copy_task(**lab.task(backend)).execute(TaskRun().context)
    noted, backup, target = halves[backend].noted, WAYS[backend].backup, lab.task(backend)["target"]
    assert (result["bytes_skipped"], result["bytes_moved"]) == (noted, backup.size_bytes - noted)
    assert (result["copied"], result["method"]) == ([backup.backup_id], "streamed")
    begun_anew = set(re.findall(r"upload to (\S+) is gone", caplog.text))
    assert begun_anew <= halves[backend].names  # it had ended, and no journal told of that yet
    assert lab.names(backend) == backup.objects.keys() | {f"{backup.own}manifest.json"}
    assert lab.listed(backend) == [(backup.backup_id, "SUCCESS")]
    assert digests(target) == {key: hashlib.sha256(content).hexdigest() for key, content in backup.objects.items()}
    verify = {"location": target, "backup_id": backup.backup_id, "level": "deep"}
    report = WeaviateVerifyBackupOperator(task_id="verify", **verify).execute(TaskRun().context)
    assert (report["is_whole"], report["damage"], report["warnings"], report["unchecked"]) == (True, [], [], "")


def _crash_in_an_upload(lab: Lab, backend: str) -> None:
    """Begin an upload on S3, as a process does that is killed before it writes its journal."""
    if backend == "s3":
        with lab.places.minio.client() as client:
            target = {"Bucket": BUCKET, "Key": f"{TARGET}/{BIG.large[-1]}"}
            upload_id = client.create_multipart_upload(**target)["UploadId"]
            client.upload_part(**target, UploadId=upload_id, PartNumber=1, Body=b"part")


@pytest.mark.parametrize("backend", BACKENDS)
def test_run_after_the_end_moves_nothing(lab: Lab, halves: dict[str, Half], backend: str) -> None:
    before, backup = lab.names(backend), WAYS[backend].backup
    result = copy_task(**lab.task(backend)).execute(TaskRun().context)
    assert (result["copied"], result["skipped"], result["bytes_moved"]) == ([], [backup.backup_id], 0)
    assert result["bytes_skipped"] == backup.size_bytes
    assert lab.names(backend) == before
