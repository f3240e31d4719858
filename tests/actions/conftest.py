"""A stand-in server with three collections, a client of it, and a memory like that of a task."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions import cancel, lost_answers, waiting
from airflow_provider_vectorbackup.backups import polling, slot
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint, Retries
from tests.actions.damage import Trees, open_trees


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


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a stand-in to settle."""
    monkeypatch.setattr(waiting, "SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(waiting, "REASON_SECONDS", 0.01)
    monkeypatch.setattr(lost_answers, "LOST_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(lost_answers, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(slot, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(cancel, "APPEARANCE_SECONDS", 0.2)
    monkeypatch.setattr(cancel, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(polling, "FIRST_INTERVAL_SECONDS", 0.01)


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


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Trees:
    """All trees that real servers wrote, to be damaged and mended again."""
    return open_trees(tmp_path_factory.mktemp("trees"))
