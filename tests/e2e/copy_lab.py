"""A lab for copies: a prefix in each of the four stores, what real servers hold, and backups of large chunks."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.locations import SCHEME_BY_BACKEND, Location
from airflow_provider_vectorbackup.hooks.storage import open_store
from airflow_provider_vectorbackup.operators.copy import CopyShareOperator, WeaviateCopyBackupOperator
from airflow_provider_vectorbackup.storage.store import Store
from tests.e2e.traps_lab import connect
from tests.operators.contexts import TaskRun
from tests.services.fixtures import BUCKET
from tests.services.object_stores import AzureSettings, GCSSettings, S3Settings
from tests.services.process import ServiceProcess, wait_until
from tests.services.weaviate import filesystem_env
from tests.transfer.archives import File, tar_of
from tests.trees.filling import Server

CONNS = {"s3": "copy_s3", "gcs": "copy_gcs", "azure": "copy_azure"}
MIB = 2**20
OTHER_S3 = "copy_s3_other"
"""Another connection to the same server: nothing is copied inside the storage between the two."""

_SLOT_SECONDS, _KILL_SECONDS = 60.0, 120.0
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_NODE, _COLLECTION, _SHARD = "w1", "Article", "s1"
_VERSIONS = {"version": "2.1", "serverVersion": "1.39.2", "error": "", "status": "SUCCESS", "compressionType": "none"}


@dataclass(frozen=True)
class Places:
    """The four stores; a prefix is a directory on the file system."""

    minio: S3Settings
    fake_gcs: GCSSettings
    azurite: AzureSettings
    folder: Path

    def uri(self, backend: str, prefix: str, conn_id: str = "") -> str:
        """Return a location."""
        if backend == "filesystem":
            return f"file://{self.folder / prefix}"
        return f"{SCHEME_BY_BACKEND[backend]}://{conn_id or CONNS[backend]}@{BUCKET}/{prefix}"

    def make_folder(self, prefix: str) -> None:
        """Make the directory on the file system; only Weaviate makes its own."""
        (self.folder / prefix).mkdir(parents=True, exist_ok=True)

    def location(self, backend: str, prefix: str, conn_id: str = "") -> Location:
        return Location.parse(self.uri(backend, prefix, conn_id))

    def servers_settings(self, prefix: str, *, is_cluster: bool = False) -> list[dict[str, str]]:
        """Return what a server needs that has all backends at a prefix; a cluster can't have the file system."""
        settings = [store.weaviate_env(BUCKET, prefix) for store in (self.minio, self.fake_gcs, self.azurite)]
        return settings if is_cluster else [*settings, filesystem_env(self.folder / prefix)]


@contextmanager
def connected(places: Places) -> Iterator[Places]:
    """Give Airflow the connections, and the environment that Google's stand-in needs."""
    for conn_id in (CONNS["s3"], OTHER_S3):
        connect(conn_id, **places.minio.airflow_connection)
    connect(CONNS["gcs"], conn_type="google_cloud_platform", extra={"is_anonymous": True})
    azurite = places.azurite
    connect(CONNS["azure"], conn_type="wasb", host=azurite.url, login=azurite.account, password=azurite.key)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STORAGE_EMULATOR_HOST", places.fake_gcs.url)
        yield places


@contextmanager
def opened(location: Location | str) -> Iterator[Store]:
    """Yield a location's store, opened as a task does."""
    with closing(open_store(Location.parse(location) if isinstance(location, str) else location)) as store:
        yield store


def copy_task(source: str, target: str, backup_id: str, **fields: Any) -> WeaviateCopyBackupOperator:
    """Return a task that copies."""
    return WeaviateCopyBackupOperator(task_id="copy", source=source, target=target, backup_id=backup_id, **fields)


def sizes(location: Location | str, prefix: str = "") -> dict[str, int]:
    """Return the sizes of what lies there, without our own files and the state of restores."""
    with opened(location) as store:
        listed = {stored.key: stored.size_bytes for stored in store.list_objects(prefix)}
    return {key: size for key, size in listed.items() if "/_vectorbackup/" not in key and "/restore_config" not in key}


def digests(location: Location | str, prefix: str = "") -> dict[str, str]:
    """Return the SHA-256 of what lies there, by key, as of `sizes`."""
    with opened(location) as store:
        return {key: hashlib.sha256(b"".join(store.stream(key))).hexdigest() for key in sizes(location, prefix)}


def back_up(server: Server, backup_id: str, base: str | None, level: str) -> None:
    """Make a backup and wait for its end."""
    body: dict[str, Any] = {"id": backup_id, "config": {"CPUPercentage": 50, "CompressionLevel": level}}
    body |= {"incremental_base_backup_id": base} if base else {}
    _when_free(lambda: server.call("POST", f"/backups/{server.backend}", body))
    server.end(backup_id)


def restore(server: Server, backup_id: str) -> None:
    """Restore a backup and wait for its end."""
    _when_free(lambda: server.call("POST", f"/backups/{server.backend}/{backup_id}/restore", {}))
    server.end(backup_id, restore="/restore")


def _when_free(begin: Callable[[], Any]) -> None:
    """Begin something; a server says SUCCESS a moment before it takes the next operation."""

    def begun() -> bool:
        try:
            begin()
        except RuntimeError as error:
            if "already in progress" not in str(error):
                raise
            return False
        return True

    wait_until(begun, _SLOT_SECONDS, "the server to be free")


def everything(server: Server) -> dict[tuple[str, ...], Any]:
    """Return all objects of all collections and tenants, with properties and vectors, and what each tenant is.

    Inactive tenants are active afterwards.
    """
    found = dict[tuple[str, ...], Any]()
    for schema in server.call("GET", "/schema")["classes"]:
        name, tenants = schema["class"], [""]
        if schema["multiTenancyConfig"]["enabled"]:
            states = {
                tenant["name"]: tenant["activityStatus"] for tenant in server.call("GET", f"/schema/{name}/tenants")
            }
            found |= {(name, tenant): state for tenant, state in states.items()}
            tenants = list(states)
            hot = [{"name": tenant, "activityStatus": "HOT"} for tenant, state in states.items() if state == "COLD"]
            if hot:
                server.call("PUT", f"/schema/{name}/tenants", hot)
        for tenant in tenants:
            query = f"/objects?class={name}&limit=10000&include=vector" + (f"&tenant={tenant}" if tenant else "")
            for entry in server.call("GET", query)["objects"]:
                found[name, tenant, entry["id"]] = {key: entry.get(key) for key in ("properties", "vector", "vectors")}
    return found


def empty(server: Server) -> None:
    """Delete all collections."""
    for schema in server.call("GET", "/schema")["classes"]:
        server.call("DELETE", f"/schema/{schema['class']}")


@dataclass(frozen=True)
class BigBackup:
    """A backup as Weaviate 1.39.2 describes it, without compression, of random bytes: it can be verified, not restored.

    The first chunk has the small files of a shard, each of the others one large file.

    :param made: another one makes another backup of the same id.
    """

    backup_id: str
    files: int = 3
    file_bytes: int = 36 * MIB
    made: int = 0

    @cached_property
    def objects(self) -> dict[str, bytes]:
        """By key; the descriptor by which Weaviate sees it is the last."""
        rng, folder = random.Random(f"{self.backup_id} {self.made}"), f"{_COLLECTION.lower()}/{_SHARD}"
        unlisted = [File(f"{folder}/{name}", b"1") for name in ("indexcount", "proplengths", "version")]
        big = [File(f"{folder}/lsm/objects/segment-{n}.db", rng.randbytes(self.file_bytes)) for n in range(self.files)]
        chunks = {f"{_COLLECTION}/chunk-1": unlisted} | {f"{_COLLECTION}/chunk-{n}": [f] for n, f in enumerate(big, 2)}
        held = len(unlisted) + self.files * self.file_bytes
        shard = {
            "name": _SHARD,
            "node": _NODE,
            "files": [file.name for file in big],
            "bigFilesChunk": {
                files[0].name: {"chunkKeys": [key], "size": self.file_bytes, "modifiedAt": self._time(0)}
                for key, files in chunks.items()
                if files is not unlisted
            },
            "incrementalBackupInfo": {},
        }
        written = {f"{self.backup_id}/{_NODE}/{key}": tar_of(files) for key, files in chunks.items()}
        written[f"{self.backup_id}/{_NODE}/backup.json"] = self._told(held, classes=[self._collection(shard, held)])
        share = {"classes": [_COLLECTION], "status": "SUCCESS", "error": "", "preCompressionSizeBytes": held}
        whole = {"completedAt": self._time(1), "nodes": {_NODE: share}, "leader": _NODE, "baseBackupId": ""}
        return written | {f"{self.backup_id}/backup_config.json": self._told(held, **whole)}

    @property
    def own(self) -> str:
        """What the keys of our own files begin with."""
        return f"{self.backup_id}/_vectorbackup/"

    @property
    def large(self) -> list[str]:
        """The keys of the chunks with the large files."""
        return [f"{self.backup_id}/{_NODE}/{_COLLECTION}/chunk-{number}" for number in range(2, self.files + 2)]

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.objects.values()))

    def put(self, minio: S3Settings, prefix: str) -> None:
        """Put it into the bucket on S3."""
        with minio.client() as client:
            for key, content in self.objects.items():
                client.put_object(Bucket=BUCKET, Key=f"{prefix}/{key}", Body=content)

    def _time(self, second: int) -> str:
        return f"2026-01-10T01:41:{self.made:02}.{second}Z"

    def _told(self, held: int, **fields: Any) -> bytes:
        shared = {"id": self.backup_id, "startedAt": self._time(0), "preCompressionSizeBytes": held}
        return json.dumps(shared | _VERSIONS | fields).encode()

    def _collection(self, shard: dict[str, Any], held: int) -> dict[str, Any]:
        place = {"name": _SHARD, "ownsPercentage": 1, "belongsToNodes": [_NODE]}
        sharding = {"indexID": _COLLECTION, "physical": {_SHARD: place}, "virtual": [], "partitioningEnabled": False}
        return {
            "name": _COLLECTION,
            "backupId": self.backup_id,
            "shards": [shard],
            "shardingState": _encoded(sharding | {"config": {}, "replicationFactor": 1}),
            "schema": _encoded({"class": _COLLECTION, "vectorIndexType": "flat", "vectorizer": "none"}),
            "aliases": _encoded([]),
            "aliasesIncluded": True,
            "chunks": {str(number): [_SHARD] for number in range(1, self.files + 2)},
            "preCompressionSizeBytes": held,
        }


def _encoded(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


@contextmanager
def refusing_proxy(target: S3Settings, refuses: Callable[[str, str], bool]) -> Iterator[S3Settings]:
    """Run a proxy to an S3 server that answers 503 SlowDown to the requests that it is told to, by method and path."""
    host, port = target.endpoint.split(":")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
            """Say nothing."""

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if refuses(self.command, self.path):
                self._answer(503, {}, _SLOW_DOWN)
                return
            with closing(HTTPConnection(host, int(port), timeout=30)) as connection:
                headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                self._answer(answer.status, dict(answer.getheaders()), answer.read())

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in {"transfer-encoding", "connection"}:
                    self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - the names are the library's

    with ThreadingHTTPServer((host, 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.02,), name="refusing proxy")
        serving.start()
        try:
            yield replace(target, endpoint=f"{host}:{server.server_address[1]}")
        finally:
            server.shutdown()
            serving.join()


def noted_bytes(location: str, backup: BigBackup, part_bytes: int) -> int:
    """Return of how many bytes the journal of a copy says that they are there, in objects and in parts.

    Parts of an object that was put together after the last note don't count: nobody can go on with them.
    """
    whole, parts = dict[str, int](), dict[str, set[str]]()
    with opened(location) as store:
        there = {stored.key for stored in store.list_objects(f"{backup.backup_id}/")}
        for stored in list(store.list_objects(f"{backup.own}copy/journal-")):
            told = json.loads(store.read(stored.key) or b"{}")
            whole |= {key: entry["size"] for key, entry in told["objects"].items()}
            for key, upload in told["uploads"].items():
                parts.setdefault(key, set()).update(upload["parts"])
    large = {key: len(backup.objects[key]) for key in parts.keys() - whole.keys() - there}
    in_parts = (min(part_bytes, large[key] - part_bytes * (int(n) - 1)) for key in large for n in parts[key])
    return sum(whole.values()) + sum(in_parts)


def kill_once(is_seen: Callable[[], bool], log: Path, task: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Run a task in a process of its own, and kill that by SIGKILL once something is seen.

    :param task: arguments of an operator that copies, or, with ``share``, moves a share.
    :param run: whose task it is, as of ``TaskRun``.
    """
    argv = [sys.executable, "-m", "tests.e2e.copy_lab", json.dumps({"task": task, "run": run})]
    process = ServiceProcess("copy", argv, log, dict(os.environ), Path(__file__).parents[2])
    process.spawn()
    try:
        wait_until(lambda: is_seen() or not process.running, _KILL_SECONDS, "what it is killed at")
        assert process.running, log.read_text()
    finally:
        process.kill()


def _run_killable(told: Mapping[str, Any]) -> None:
    operator = CopyShareOperator if "share" in told["task"] else WeaviateCopyBackupOperator
    operator(task_id="copy", **told["task"]).execute(TaskRun(**told["run"]).context)


if __name__ == "__main__":
    _run_killable(json.loads(sys.argv[1]))
