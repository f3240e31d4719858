"""A stand-in server with three collections, a client of it, and a memory like that of a task."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint, Retries


class TaskMemory:
    """Keeps JSON, as Airflow's task state store does."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def get(self, key: str) -> Any:
        return json.loads(self.kept.get(key, "null"))

    def set(self, key: str, value: Any) -> None:
        self.kept[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.kept.pop(key, None)


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn) -> WeaviateStandIn:
    for name in ("Article", "Author", "Product"):
        weaviate_stand_in.add_collection(name)
    return weaviate_stand_in


@pytest.fixture
def client(server: WeaviateStandIn) -> Iterator[WeaviateClient]:
    with WeaviateClient(Endpoint(server.url, retries=Retries(first_wait=0.01))) as client:
        yield client


@pytest.fixture
def memory() -> TaskMemory:
    return TaskMemory()
