"""A lab for prunes: a server that makes backups, the places that it makes them in, and tasks that prune these."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from airflow_provider_vectorbackup.actions import prune_work
from airflow_provider_vectorbackup.operators import WeaviatePruneBackupsOperator
from tests.e2e.copy_lab import empty, everything, opened
from tests.e2e.traps_lab import connect
from tests.operators.contexts import TaskRun
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.services.process import ServiceProcess, wait_until
from tests.services.weaviate import weaviate_server
from tests.trees.filling import Server, fill_two

CONN = "prune_store"
LOW = {"BACKUP_MIN_CHUNK_SIZE": "2KiB", "PERSISTENCE_LSM_MAX_SEGMENT_SIZE": "1KiB"}
"""So low that files are referred to with little data."""

ALL_AT_ONCE = {"keep_last": 1, "grace": 0, "leftover_grace": 0, "max_delete_fraction": 1}
"""Rules by which all goes that nothing but a guard can keep."""

_END_SECONDS = 60.0
_KILL_SECONDS = 120.0
_OVER = ("SUCCESS", "FAILED", "CANCELED")


def prune_task(location: str, **fields: Any) -> WeaviatePruneBackupsOperator:
    """Return a task that prunes, by rules that keep the newest backup and what it needs, unless others are given."""
    return WeaviatePruneBackupsOperator(task_id="prune", location=location, **(ALL_AT_ONCE | fields))


def prune(location: str, run: TaskRun | None = None, **fields: Any) -> dict[str, Any]:
    """Prune, as a task of its own."""
    return prune_task(location, **fields).execute((run or TaskRun(task_id="prune")).context)


def etags(location: str, prefix: str = "") -> dict[str, str]:
    """Return the ETags of all that lies there: another one for whatever was written anew."""
    with opened(location) as store:
        return {stored.key: stored.etag for stored in store.list_objects(prefix)}


def ids_of(keys: Iterable[str]) -> set[str]:
    """Return the backups that have a descriptor, of these keys."""
    return {key.partition("/")[0] for key in keys if key.endswith("/backup_config.json")}


@contextmanager
def logged() -> Iterator[list[str]]:
    """Yield what this package tells in its log from now on."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("airflow_provider_vectorbackup")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield told
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def without_waiting() -> Iterator[None]:
    """Let a prune not wait between its two looks: nobody begins anything meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prune_work, "SETTLE_SECONDS", 0)
        yield


@dataclass(frozen=True)
class Root:
    """A place for backups of its own on S3, which a server is told with each request.

    :param location: the same for a task, past the line.
    """

    server: Server
    line: FaultProxy
    location: str
    bucket: str
    path: str

    def start(self, backup_id: str, base: str | None = None) -> None:
        """Begin a backup. A server says SUCCESS a moment before it takes the next one."""
        body: dict[str, Any] = {"id": backup_id, "config": self._place | {"CompressionLevel": "ZstdDefaultCompression"}}
        body |= {"incremental_base_backup_id": base} if base else {}
        self._begin(f"/backups/s3?{self._query}", body)

    def back_up(self, backup_id: str, base: str | None = None) -> None:
        """Make a backup and wait for its end."""
        self.start(backup_id, base)
        self.end(backup_id)

    def end(self, path: str, status: str = "SUCCESS") -> dict[str, Any]:
        """Wait for the end of a backup, or of ``<id>/restore``; return what the server says of it."""
        said = dict[str, Any]()

        def is_over() -> bool:
            said.update(self.server.call("GET", f"/backups/s3/{path}?{self._query}"))
            return said["status"] in _OVER and not str(said.get("completedAt")).startswith("0001")

        wait_until(is_over, _END_SECONDS, f"{path} to end")
        assert said["status"] == status, said
        return said

    def start_restore(self, backup_id: str) -> None:
        """Begin a restore into the server, which is emptied before."""
        empty(self.server)
        self._begin(f"/backups/s3/{backup_id}/restore", {"config": self._place})

    def restored(self, backup_id: str) -> dict[tuple[str, ...], Any]:
        """Restore a backup, and return what the server holds then."""
        self.start_restore(backup_id)
        self.end(f"{backup_id}/restore")
        return everything(self.server)

    @property
    def _place(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Path": self.path}

    @property
    def _query(self) -> str:
        return urlencode({"bucket": self.bucket, "path": self.path})

    def _begin(self, path: str, body: Mapping[str, Any]) -> None:
        def begun() -> bool:
            try:
                self.server.call("POST", path, body)
            except RuntimeError as error:
                if "already in progress" not in str(error):
                    raise
                return False
            return True

        wait_until(begun, _END_SECONDS, "the server to be free")


@dataclass(frozen=True)
class Bench:
    """A server whose line to S3 can be told to hold requests."""

    server: Server
    line: FaultProxy
    minio: S3Settings

    def root(self, path: str, bucket: str = BUCKET) -> Root:
        """Return a place for backups."""
        return Root(self.server, self.line, f"s3://{CONN}@{bucket}/{path}", bucket, path)

    @contextmanager
    def holding(self, text: str) -> Iterator[Callable[[], None]]:
        """Hold the server's requests to S3 that have a text in their first line; yield what waits for such a one."""
        self.line.mode = f"hold:{text}"
        try:
            yield lambda: wait_until(lambda: self.line.held > 0, _END_SECONDS, f"a request {text}", 0.01)
        finally:
            self.line.mode = "ok"

    def refill(self) -> dict[tuple[str, ...], Any]:
        """Give the server the same data as ever, and return them."""
        empty(self.server)
        fill_two(self.server)
        return everything(self.server)


@pytest.fixture(scope="session")
def bench(services_folder: Path, minio: S3Settings, airflow_db: Path) -> Iterator[Bench]:
    connect(CONN, **minio.airflow_connection)
    with fault_proxy(int(minio.endpoint.rpartition(":")[2])) as line:
        behind = replace(minio, endpoint=f"127.0.0.1:{line.port}")
        store = behind.weaviate_env(BUCKET, "pruned")
        with weaviate_server(services_folder / "pruned", backups=[store], env=LOW) as node:
            yield Bench(Server(node.url, "s3"), line, minio)


def kill_once(
    is_seen: Callable[[], bool], log: Path, location: str, run: Mapping[str, Any], settle_seconds: float = 0.0
) -> None:
    """Run a task that prunes in a process of its own, and kill that by SIGKILL once something is seen.

    :param run: whose task it is, as of ``TaskRun``.
    :param settle_seconds: how long it waits between its two looks.
    """
    told = json.dumps({"location": location, "run": run, "settle_seconds": settle_seconds})
    argv = [sys.executable, "-m", "tests.e2e.prune_lab", told]
    process = ServiceProcess("prune", argv, log, dict(os.environ), Path(__file__).parents[2])
    process.spawn()
    try:
        wait_until(lambda: is_seen() or not process.running, _KILL_SECONDS, "what it is killed at", 0.02)
        assert process.running, log.read_text()
    finally:
        process.kill()


def _run_killable(told: Mapping[str, Any]) -> None:
    prune_work.SETTLE_SECONDS = told["settle_seconds"]
    prune(told["location"], TaskRun(**told["run"]))


if __name__ == "__main__":
    _run_killable(json.loads(sys.argv[1]))
