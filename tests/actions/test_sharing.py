"""What the waits of one event loop share: sessions and answers."""

from __future__ import annotations

import asyncio
import time

import pytest

from airflow_provider_vectorbackup.actions.sharing import shared_client
from airflow_provider_vectorbackup.actions.waiting import wait_async
from airflow_provider_vectorbackup.backups.polling import Watch
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import Unreachable
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint, Retries
from tests.services.process import wait_until

BACKUP = OperationKind.BACKUP
X1 = BackupAddress("s3", "x1")
STATUS = "/backups/s3/x1"


def endpoint(server: WeaviateStandIn, **headers: str) -> Endpoint:
    return Endpoint(server.url, headers, retries=Retries(attempts=1))


def watch(poll_interval: float = 0.05) -> Watch:
    now = time.time()
    return Watch(BACKUP, X1, since=now, deadline=now + 30, poll_interval=poll_interval)


async def wait_for(server: WeaviateStandIn, watch: Watch) -> OperationStatus:
    async with shared_client(endpoint(server)) as client:
        return await wait_async(client, watch, print)


def test_many_waits_on_one_operation_ask_for_all(server: WeaviateStandIn) -> None:
    server.add_backup("x1", status="STARTED")

    async def waits() -> list[OperationStatus]:
        tasks = [asyncio.create_task(wait_for(server, watch())) for _ in range(200)]
        await asyncio.to_thread(wait_until, lambda: len(server.requests) > 10, 10, "some rounds", 0.01)
        server.add_backup("x1", ["Article"])
        return await asyncio.gather(*tasks)

    assert {end.status for end in asyncio.run(waits())} == {Status.SUCCESS}
    assert len(server.sent("GET", STATUS)) < 200


def test_an_answer_from_before_a_wait_began_is_not_its(server: WeaviateStandIn) -> None:
    """Else a restore would take the SUCCESS of the one before it."""
    server.add_backup("x1", ["Article"])

    async def waits() -> tuple[OperationStatus, OperationStatus]:
        async with shared_client(endpoint(server)) as client:
            first = await client.status(BACKUP, X1, time.monotonic(), 60.0)
            server.add_backup("x1", status="FAILED", error="disk full")
            second = await wait_for(server, watch())
        assert isinstance(first, OperationStatus)
        return first, second

    first, second = asyncio.run(waits())
    assert (first.status, second.status) == (Status.SUCCESS, Status.FAILED)


def test_one_session_for_each_server_and_key(server: WeaviateStandIn) -> None:
    async def clients() -> list[bool]:
        one, other = endpoint(server), endpoint(server, Authorization="Bearer k")
        async with shared_client(one) as first, shared_client(one) as second, shared_client(other) as third:
            same = [first is second, first is third]
        async with shared_client(one) as later:
            return [*same, later is first]

    assert asyncio.run(clients()) == [True, False, False]


def test_a_wait_that_is_broken_off_takes_no_answer_from_others(server: WeaviateStandIn) -> None:
    server.add_backup("x1", ["Article"])
    server.delay_next("GET", STATUS, 0.3)

    async def waits() -> OperationStatus:
        first = asyncio.create_task(wait_for(server, watch()))
        await asyncio.to_thread(wait_until, lambda: bool(server.requests), 10, "a request", 0.01)
        second = asyncio.create_task(wait_for(server, watch()))
        await asyncio.sleep(0.01)
        first.cancel()
        broken_off, end = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(broken_off, asyncio.CancelledError)
        assert isinstance(end, OperationStatus)
        return end

    assert asyncio.run(waits()).status is Status.SUCCESS


def test_a_server_that_is_gone_is_an_answer_for_all() -> None:
    async def ask() -> list[object]:
        async with shared_client(Endpoint("http://127.0.0.1:9", retries=Retries(attempts=1))) as client:
            now = time.monotonic()
            return list(await asyncio.gather(*(client.status(BACKUP, X1, now, 1.0) for _ in range(3))))

    answers = asyncio.run(ask())
    assert [type(answer) for answer in answers] == [Unreachable] * 3


@pytest.mark.parametrize("users", [1, 3])
def test_nothing_is_left_open(server: WeaviateStandIn, users: int) -> None:
    """An unclosed session would warn, and warnings are errors here."""
    server.add_backup("x1", status="STARTED")

    async def waits() -> bool:
        tasks = [asyncio.create_task(wait_for(server, watch())) for _ in range(users)]
        await asyncio.to_thread(wait_until, lambda: len(server.requests) > 1, 10, "two requests", 0.01)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        return all(isinstance(end, asyncio.CancelledError) for end in ends)

    assert asyncio.run(waits())
