from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from airflow_provider_vectorbackup.actions import waiting
from airflow_provider_vectorbackup.actions.sharing import shared_client
from airflow_provider_vectorbackup.actions.waiting import look, wait, wait_async
from airflow_provider_vectorbackup.backups.polling import Again, Ended, GaveUp, Watch
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import OperationLost, OperationTimedOut, Unauthenticated
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint, Retries

ADDRESS = BackupAddress("s3", "x1")
STATUS = r"/backups/s3/x1"
WaitFor = Callable[[WeaviateStandIn, Watch], tuple[OperationStatus, list[str]]]


def _endpoint(server: WeaviateStandIn) -> Endpoint:
    return Endpoint(server.url, retries=Retries(attempts=1))


def _wait_sync(server: WeaviateStandIn, watch: Watch) -> tuple[OperationStatus, list[str]]:
    said: list[str] = []
    with WeaviateClient(_endpoint(server)) as client:
        return wait(client, watch, said.append), said


def _wait_async(server: WeaviateStandIn, watch: Watch) -> tuple[OperationStatus, list[str]]:
    said: list[str] = []

    async def waited() -> OperationStatus:
        async with shared_client(_endpoint(server)) as client:
            return await wait_async(client, watch, said.append)

    return asyncio.run(waited()), said


@pytest.fixture(params=[_wait_sync, _wait_async], ids=["sync", "async"])
def wait_for(request: pytest.FixtureRequest) -> WaitFor:
    chosen: WaitFor = request.param
    return chosen


def watch(timeout: float = 30.0, fault_tolerance: float = 30.0, *, wait_for_existence: bool = False) -> Watch:
    now = time.time()
    return Watch(
        OperationKind.BACKUP,
        ADDRESS,
        since=now,
        deadline=now + timeout,
        poll_interval=0.01,
        fault_tolerance=fault_tolerance,
        wait_for_existence=wait_for_existence,
    )


@pytest.fixture
def started(client: WeaviateClient, server: WeaviateStandIn) -> None:
    server.running_polls = 3
    client.send(calls.create_backup(calls.BackupRequest(ADDRESS), server.parsed_version))
    server.requests.clear()


@pytest.mark.usefixtures("started")
class TestWait:
    def test_to_the_end(self, server: WeaviateStandIn, wait_for: WaitFor) -> None:
        status, said = wait_for(server, watch())
        assert status.status is Status.SUCCESS
        assert status.completed_at is not None
        assert len(server.sent("GET", STATUS)) == 4
        assert [line.partition(" after")[0] for line in said] == [
            "Backup 'x1' on s3: STARTED",
            "Backup 'x1' on s3: SUCCESS",
        ]

    def test_failure_is_a_status(self, server: WeaviateStandIn, wait_for: WaitFor) -> None:
        server.end_next("FAILED", "disk full")
        status, said = wait_for(server, watch())
        assert (status.status, status.error) == (Status.FAILED, "disk full")
        assert said[-1].startswith("Backup 'x1' on s3: FAILED: disk full after")

    def test_reason_that_comes_later(
        self, server: WeaviateStandIn, wait_for: WaitFor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server may say FAILED a moment before it says why."""
        monkeypatch.setattr(waiting, "REASON_SECONDS", 0.01)
        server.finish("FAILED", "disk full")
        server.fail_next("GET", STATUS, status=200, body={"id": "x1", "backend": "s3", "status": "FAILED"})
        assert wait_for(server, watch())[0].error == "disk full"

    def test_failed_stays_failed(
        self, server: WeaviateStandIn, wait_for: WaitFor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Trap 10: a FAILED that lives in the server's memory only is followed by STARTED."""
        monkeypatch.setattr(waiting, "REASON_SECONDS", 0.01)
        server.fail_next("GET", STATUS, status=200, body={"id": "x1", "backend": "s3", "status": "FAILED"})
        assert wait_for(server, watch())[0].status is Status.FAILED

    def test_early_success_is_not_the_end(self, server: WeaviateStandIn, wait_for: WaitFor) -> None:
        server.running[OperationKind.BACKUP].early_polls_left = 2
        status, said = wait_for(server, watch())
        assert status.completed_at is not None
        assert "Backup 'x1' on s3: SUCCESS, not yet written to storage after" in said[1]

    def test_success_that_falls_back_is_never_one(self, server: WeaviateStandIn, wait_for: WaitFor) -> None:
        """The server's last write to storage failed: it says SUCCESS for a moment, then STARTED for ever."""
        server.running[OperationKind.BACKUP].early_polls_left = 2
        server.loses_final_write = True
        with pytest.raises(OperationTimedOut, match="STARTED"):
            wait_for(server, watch(timeout=0.5))

    def test_faults_pass(self, server: WeaviateStandIn, wait_for: WaitFor) -> None:
        server.fail_next("GET", STATUS, status=503)
        server.fail_next("GET", STATUS, status=404)
        server.drop_next("GET", STATUS)
        assert wait_for(server, watch())[0].status is Status.SUCCESS

    def test_faults_that_do_not(self, server: WeaviateStandIn, wait_for: WaitFor) -> None:
        server.fail_next("GET", STATUS, status=500, times=1000)
        with pytest.raises(OperationLost, match="injected fault"):
            wait_for(server, watch(fault_tolerance=0.05))

    def test_key_that_is_withdrawn(self, server: WeaviateStandIn, wait_for: WaitFor) -> None:
        server.api_keys.add("k")
        with pytest.raises(Unauthenticated):
            wait_for(server, watch())
        assert len(server.sent("GET", STATUS)) == 1

    def test_deadline(self, server: WeaviateStandIn, wait_for: WaitFor) -> None:
        server.running[OperationKind.BACKUP].polls_left = None
        with pytest.raises(OperationTimedOut):
            wait_for(server, watch(timeout=0.1))

    def test_look_decides_once(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        assert isinstance(look(client, watch()).decision, Again)
        server.finish()
        assert isinstance(look(client, watch()).decision, Ended)
        server.api_keys.add("k")
        assert isinstance(look(client, watch()).decision, GaveUp)


def test_one_that_is_not_there_yet(server: WeaviateStandIn, wait_for: WaitFor) -> None:
    server.add_backup("x1", ["Article"])
    server.fail_next("GET", STATUS, status=404, times=3)
    status, said = wait_for(server, watch(fault_tolerance=0.0, wait_for_existence=True))
    assert status.status is Status.SUCCESS
    assert "not there yet" in said[0]


@pytest.mark.parametrize(("age", "spread"), [(100.0, [(0.0, 0.01)]), (1.0, [])])
def test_waits_that_a_restart_begins_together_do_not_ask_together(
    server: WeaviateStandIn, monkeypatch: pytest.MonkeyPatch, age: float, spread: list[tuple[float, float]]
) -> None:
    server.add_backup("x1", ["Article"])
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    monkeypatch.setattr("random.uniform", uniform)
    state = watch()
    _wait_async(server, replace(state, since=state.since - age))
    assert drawn == spread


def test_a_restarted_wait_looks_before_its_deadline(server: WeaviateStandIn) -> None:
    server.add_backup("x1", status="STARTED")
    state = watch(timeout=0.2)
    with pytest.raises(OperationTimedOut, match="STARTED"):
        _wait_async(server, replace(state, since=state.since - 100, poll_interval=3600.0))
