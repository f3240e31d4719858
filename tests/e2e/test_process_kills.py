"""A worker or the triggerer dies, a task is marked failed or cleared, all while a real backup runs under real Airflow.

What must hold: a death leaves the backup alone and is survived by following it; a user's kill ends the backup too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.services import dataset
from tests.services.airflow import Airflow, airflow_standalone
from tests.services.airflow_api import AirflowApi
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.services.process import wait_until
from tests.services.weaviate import WeaviateNode, weaviate_server

PREFIX = "kills"
KEPT = "kept"
SLOW_UPLOADS = "slow:20000"
SLOW_DOWNLOADS = "slowdown:50000"
HANGING_UPLOADS = "slow:2000"
FINISHED = ("success", "failed")
BEGUN = re.compile("(STARTED|TRANSFERRING) after")

on_worker_and_triggerer = pytest.mark.parametrize("place", ["worker", "triggerer"])


@dataclass(frozen=True)
class Site:
    """A server whose store lies behind a line that can be made slow."""

    node: WeaviateNode
    line: FaultProxy

    def status(self, backup_id: str, kind: str = "") -> dict[str, Any]:
        """Return what the server says of a backup, or with ``/restore`` of its restore."""
        answer = requests.get(f"{self.node.url}/v1/backups/s3/{backup_id}{kind}", timeout=10)
        answer.raise_for_status()
        return dict(answer.json())

    def wait_for(self, status: str, backup_id: str, kind: str = "") -> None:
        wait_until(lambda: self.status(backup_id, kind)["status"] == status, 60, f"{status} {backup_id}{kind}")

    def wait_until_unwatched(self, backup_id: str) -> None:
        """Wait until a cancellation will show too late for a worker that is told to end.

        The server looks after its backup 2 s and 12 s after the start, and a worker has 5 s.
        """
        started = datetime.fromisoformat(self.status(backup_id)["startedAt"])
        wait_until(lambda: datetime.now(UTC) > started + timedelta(seconds=2.5), 10, "the server's first look")

    def cancel_all(self) -> None:
        """End the backups that a test left running; the next one's task waits until the server has done with them."""
        self.line.mode = "ok"
        for backup in requests.get(f"{self.node.url}/v1/backups/s3", timeout=10).json():
            if backup["status"] == "STARTED":
                requests.delete(f"{self.node.url}/v1/backups/s3/{backup['id']}", timeout=10).raise_for_status()


@dataclass(frozen=True)
class World:
    """An Airflow and two servers with one place for backups; ``source`` has data."""

    airflow: Airflow
    source: Site
    target: Site
    s3: S3Settings

    @property
    def api(self) -> AirflowApi:
        return self.airflow.api

    def backup_ids(self) -> set[str]:
        """Return the backups that the store holds, whole or not."""
        with self.s3.client() as client:
            page = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}/", Delimiter="/")
        return {entry["Prefix"].split("/")[1] for entry in page.get("CommonPrefixes", [])}

    def run(self, dag_id: str, **conf: str) -> Run:
        """Start a run of a Dag."""
        self.api.wait_for_dag(dag_id)
        self.api.unpause(dag_id)
        return Run(self, dag_id, self.api.trigger(dag_id, conf), self.backup_ids())


@dataclass(frozen=True)
class Run:
    """A run of a Dag, and the backups that there were before it."""

    world: World
    dag_id: str
    run_id: str
    before: set[str]

    def task(self, task_id: str = "back_up") -> dict[str, Any]:
        instances = self.world.api.task_instances(self.dag_id, self.run_id)
        return next(instance for instance in instances if instance["task_id"] == task_id)

    def log(self, task_id: str = "back_up", try_number: int = 1) -> str:
        return self.world.api.task_log(self.dag_id, self.run_id, task_id, try_number)

    def result(self, task_id: str = "back_up") -> dict[str, Any]:
        return dict(self.world.api.xcom(self.dag_id, self.run_id, task_id))

    def new_backups(self) -> set[str]:
        return self.world.backup_ids() - self.before

    def wait_for_task(self, place: str, task_id: str = "back_up", try_number: int = 1) -> None:
        """Wait until a task waits, on the worker or on the triggerer, for what it has started."""
        state = "running" if place == "worker" else "deferred"

        def waits() -> bool:
            task = self.task(task_id)
            assert task["state"] not in FINISHED, self.log(task_id, task["try_number"])
            waiting = (task["state"], task["try_number"]) == (state, try_number)
            return waiting and bool(BEGUN.search(self.log(task_id, try_number)))

        wait_until(waits, 60, f"{task_id} of {self.dag_id} {state}", poll_seconds=0.5)

    def end(self) -> str:
        """Return how the run ended."""
        return self.world.api.wait_for_run(self.dag_id, self.run_id, 90)


@pytest.fixture(scope="module")
def whole_world(services_folder: Path, minio: S3Settings) -> Iterator[World]:
    with ExitStack() as stack:
        source, target = (stack.enter_context(_site(services_folder / PREFIX / side, minio)) for side in ("a", "b"))
        dataset.load(source.node.url)
        requests.post(f"{source.node.url}/v1/backups/s3", json={"id": KEPT}, timeout=30).raise_for_status()
        source.wait_for("SUCCESS", KEPT)
        env = {
            "AIRFLOW_CONN_SOURCE": _connection(source),
            "AIRFLOW_CONN_TARGET": _connection(target),
            # Airflow looks after its processes less often by default; only the waiting would be longer.
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
        }
        folder = Path(__file__).parent / "dags"
        airflow = stack.enter_context(airflow_standalone(services_folder / PREFIX, dags_folder=folder, env=env))
        yield World(airflow, source, target, minio)


@contextmanager
def _site(folder: Path, store: S3Settings) -> Iterator[Site]:
    with fault_proxy(int(store.endpoint.split(":")[1])) as line:
        backups = replace(store, endpoint=f"127.0.0.1:{line.port}").weaviate_env(BUCKET, PREFIX)
        with weaviate_server(folder, backups=[backups]) as node:
            yield Site(node, line)


def _connection(site: Site) -> str:
    fields = {"host": site.node.host, "port": site.node.port, "extra": {"default_backend": "s3"}}
    return json.dumps({"conn_type": "weaviate_backup"} | fields)


@pytest.fixture
def world(whole_world: World) -> Iterator[World]:
    yield whole_world
    for site in (whole_world.source, whole_world.target):
        site.cancel_all()


@pytest.fixture
def target_with_data(world: World) -> Iterator[Site]:
    dataset.load(world.target.node.url)
    yield world.target
    dataset.drop(world.target.node.url)


@on_worker_and_triggerer
def test_retry_follows_the_backup_of_a_worker_that_died(world: World, place: str) -> None:
    world.source.line.mode = SLOW_UPLOADS
    run = world.run(f"worker_dies_{place}")
    run.wait_for_task(place, try_number=2)
    world.source.line.mode = "ok"
    assert run.end() == "success", run.log(try_number=2)
    result = run.result()
    assert (result["status"], result["attempts"], run.task()["try_number"]) == ("SUCCESS", 1, 2)
    assert run.new_backups() == {result["backup_id"]}
    following = f"Backup '{result['backup_id']}' is there already: STARTED. Following it, not starting another."
    assert following in run.log(try_number=2)
    assert len(result["collections"]) == 3


def test_triggerer_dies_and_another_one_goes_on(world: World, target_with_data: Site) -> None:
    world.source.line.mode, world.target.line.mode = SLOW_UPLOADS, HANGING_UPLOADS
    run = world.run("triggerer_dies", backup_id="survivor", hanging_id="hanging")
    for task in ("hang", "back_up", "see"):
        run.wait_for_task("triggerer", task)
    world.airflow.triggerer.kill()
    world.airflow.triggerer.start()
    world.source.line.mode = "ok"
    assert run.end() == "failed"
    assert {task: run.task(task)["state"] for task in ("back_up", "see", "hang")} == {
        "back_up": "success",
        "see": "success",
        "hang": "failed",
    }
    assert run.result("back_up")["backup_id"] == run.result("see")["backup_id"] == "survivor"
    assert run.new_backups() == {"survivor", "hanging"}
    _require_own_deadline(world, run)


def _require_own_deadline(world: World, run: Run) -> None:
    """Make sure that the hanging backup was given up 30 s after its start, as if no triggerer had died."""
    log = run.log("hang")
    told = re.search(r"Backup 'hanging' on s3 did not end before ([\d: -]+) UTC", log)
    assert told, log
    assert log.count("STARTED after") >= 2, "the other triggerer came too late to show anything"
    deadline = datetime.fromisoformat(told[1]).replace(tzinfo=UTC)
    due = datetime.fromisoformat(world.target.status("hanging")["startedAt"]) + timedelta(seconds=30)
    assert abs(deadline - due) < timedelta(seconds=4)
    ended = datetime.fromisoformat(run.task("hang")["end_date"])
    assert timedelta() < ended - deadline < timedelta(seconds=15)


@on_worker_and_triggerer
def test_marking_tasks_failed_cancels_what_they_started(world: World, place: str) -> None:
    world.source.line.mode, world.target.line.mode = SLOW_UPLOADS, SLOW_DOWNLOADS
    run = world.run(f"both_{place}", backup_id=KEPT)
    for task in ("back_up", "restore"):
        run.wait_for_task(place, task)
    (backup_id,) = run.new_backups()
    world.source.wait_until_unwatched(backup_id)
    for task in ("back_up", "restore"):
        world.api.mark_failed(run.dag_id, run.run_id, task)
    world.source.wait_for("CANCELED", backup_id)
    world.target.wait_for("CANCELED", KEPT, "/restore")
    assert run.end() == "failed"
    for task, name in (("back_up", f"Backup {backup_id!r} on s3"), ("restore", f"Restore {KEPT!r} on s3")):
        assert (run.task(task)["state"], run.task(task)["try_number"]) == ("failed", 1)
        assert f"The task was killed: telling the server to cancel {name}." in run.log(task)
    assert run.new_backups() == {backup_id}
    assert dataset.count(world.target.node.url) == {}


@on_worker_and_triggerer
def test_cleared_task_cancels_its_backup_and_makes_one_other(world: World, place: str) -> None:
    world.source.line.mode = SLOW_UPLOADS
    run = world.run(f"back_up_{place}")
    run.wait_for_task(place)
    (first,) = run.new_backups()
    world.source.wait_until_unwatched(first)
    world.api.clear(run.dag_id, run.run_id, "back_up")
    world.source.wait_for("CANCELED", first)
    world.source.line.mode = "ok"
    assert run.end() == "success", run.log(try_number=2)
    result = run.result()
    assert (result["backup_id"], result["attempts"], result["status"]) == (f"{first}-a2", 2, "SUCCESS")
    assert run.new_backups() == {first, f"{first}-a2"}
    assert f"Backup id {first!r} is spent (CANCELED" in run.log(try_number=2)
    assert world.source.status(f"{first}-a2")["status"] == "SUCCESS"
    _require_the_same_if_cleared_again(world, run)


def _require_the_same_if_cleared_again(world: World, run: Run) -> None:
    """Make sure that a task whose backup has succeeded returns that one, and makes no other."""
    result, backups = run.result(), run.new_backups()
    world.api.clear(run.dag_id, run.run_id, "back_up")
    assert run.end() == "success", run.log(try_number=3)
    assert run.task()["try_number"] == 3
    assert run.result() == result
    assert run.new_backups() == backups
