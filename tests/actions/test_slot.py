from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from airflow_provider_vectorbackup.actions.sharing import shared_client
from airflow_provider_vectorbackup.actions.slot import wait_for_slot, wait_for_slot_async
from airflow_provider_vectorbackup.backups.slot import SlotWait
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint, Retries

WaitFor = Callable[[WeaviateStandIn, SlotWait], None]


def _endpoint(server: WeaviateStandIn) -> Endpoint:
    return Endpoint(server.url, retries=Retries(attempts=1))


def _wait_sync(server: WeaviateStandIn, slot: SlotWait) -> None:
    with WeaviateClient(_endpoint(server)) as client:
        wait_for_slot(client, slot)


def _wait_async(server: WeaviateStandIn, slot: SlotWait) -> None:
    async def waited() -> None:
        async with shared_client(_endpoint(server)) as client:
            await wait_for_slot_async(client, slot)

    asyncio.run(waited())


@pytest.fixture(params=[_wait_sync, _wait_async], ids=["sync", "async"])
def wait_for(request: pytest.FixtureRequest) -> WaitFor:
    chosen: WaitFor = request.param
    return chosen


def slot(blocking_id: str | None, timeout: float = 30.0) -> SlotWait:
    now = time.time()
    return SlotWait(OperationKind.BACKUP, "s3", now, now + timeout, blocking_id, rounds=1)


def test_ends_with_the_other_operation(server: WeaviateStandIn, wait_for: WaitFor) -> None:
    server.add_backup("other", status="STARTED")
    finished = server.add_backup("done", ["Article"])
    server.fail_next("GET", "/backups/s3/other", status=200, body={"id": "other", "status": "STARTED"}, times=2)
    server.backups[server.key("s3", "other", {})] = finished
    wait_for(server, slot("other"))
    assert len(server.sent("GET", "/backups/s3/other")) == 3


@pytest.mark.parametrize("blocking_id", [None, "unknown-here"])
def test_of_one_that_can_not_be_seen_takes_a_while_only(
    server: WeaviateStandIn, wait_for: WaitFor, blocking_id: str | None
) -> None:
    """It may be known to another node only, or lie in another bucket: the next request tells."""
    wait_for(server, slot(blocking_id))
    assert len(server.sent("GET", ".*")) <= 2


def test_ends_at_its_deadline(server: WeaviateStandIn, wait_for: WaitFor) -> None:
    server.add_backup("other", status="STARTED")
    waiting = slot("other", timeout=0.2)
    wait_for(server, waiting)
    assert time.time() >= waiting.deadline
