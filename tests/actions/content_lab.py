"""A stand-in server whose contents are recorded into a directory, and compared with what lies there."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from airflow_provider_vectorbackup.actions.content_comparing import CompareOrder, compare_content
from airflow_provider_vectorbackup.actions.content_recording import RecordOrder, RecordResult, record_content
from airflow_provider_vectorbackup.actions.content_records import RecordPlace, opened_at
from airflow_provider_vectorbackup.actions.memory import Memory, NoMemory
from airflow_provider_vectorbackup.actions.server import whole_server
from airflow_provider_vectorbackup.backups.content import CollectionContent, Moment
from airflow_provider_vectorbackup.backups.content_comparison import Comparison
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.stores import StoreOf

BEFORE, AFTER = Moment


class Lab:
    """The records beside a backup ``x1``, and the server that they are of."""

    def __init__(self, server: WeaviateStandIn, client: WeaviateClient, folder: Path) -> None:
        self.server = server
        self.client = client
        self.store = StoreOf(folder, {})
        self.location = Location.parse(f"file://{folder}")

    def place(self, moment: Moment) -> RecordPlace:
        return RecordPlace.beside(self.location, "x1", moment)

    def record(self, moment: Moment = BEFORE, *, memory: Memory | None = None, **fields: Any) -> RecordResult:
        """Record what the server holds; after a backup, of the same objects as before it."""
        server = whole_server(self.client)
        usual: dict[str, Any] = {
            "collections": server.collection_names,
            "place": self.place(moment),
            "earlier": self.place(BEFORE) if moment is AFTER else None,
        }
        return record_content(
            self.client, server, RecordOrder(**(usual | fields)), memory or NoMemory(), self.store.open
        )

    def recorded(self, moment: Moment = BEFORE) -> dict[str, CollectionContent]:
        with opened_at(self.place(moment), self.store.open) as record:
            return {content.name: content for content in record.collections}

    def sampled(self, collection: str = "Car", moment: Moment = BEFORE) -> list[tuple[str, str]]:
        """Return the tenants and ids of the objects that a record tells of."""
        tenants = self.recorded(moment)[collection].tenants
        return [(tenant.tenant, found.object_id) for tenant in tenants for found in tenant.objects]

    def compare(self, *moments: Moment, memory: Memory | None = None, **fields: Any) -> Comparison:
        order = CompareOrder(tuple(map(self.place, moments or (BEFORE,))), **fields)
        return compare_content(self.client, whole_server(self.client), order, memory or NoMemory(), self.store.open)

    def differences(self, *moments: Moment, **fields: Any) -> list[str]:
        return list(map(str, self.compare(*moments, **fields).differences))


def some_objects(count: int, seed: int = 1, **vectors: int) -> Iterator[dict[str, Any]]:
    """Make objects with random ids.

    :param vectors: name -> dimensions; an unnamed vector of four if none are given.
    """
    random = Random(seed)
    for number in range(count):
        fields: dict[str, Any] = {"id": str(uuid.UUID(int=random.getrandbits(128))), "properties": {"number": number}}
        if vectors:
            named = {name: [random.uniform(-1, 1) for _ in range(size)] for name, size in vectors.items()}
            yield fields | {"vectors": named}
        else:
            yield fields | {"vector": [random.uniform(-1, 1) for _ in range(4)]}
