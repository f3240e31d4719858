"""Both clients, so that each test of theirs is one test of two."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_vectorbackup.weaviate.async_client import AsyncWeaviateClient
from airflow_provider_vectorbackup.weaviate.calls import Call
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint

Send = Callable[[Endpoint, Call[Any]], Any]


def send_sync(endpoint: Endpoint, call: Call[Any]) -> Any:
    with WeaviateClient(endpoint) as client:
        return client.send(call)


def send_async(endpoint: Endpoint, call: Call[Any]) -> Any:
    async def send() -> Any:
        async with AsyncWeaviateClient(endpoint) as client:
            return await client.send(call)

    return asyncio.run(send())


@pytest.fixture(params=[send_sync, send_async], ids=["sync", "async"])
def send(request: pytest.FixtureRequest) -> Send:
    chosen: Send = request.param
    return chosen
