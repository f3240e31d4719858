from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.server import (
    Server,
    describe_server,
    listed_backup,
    place_of,
    server_of,
    without_needless_overrides,
)
from airflow_provider_vectorbackup.backups.status import BackupAddress
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.answers import Meta
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.features import parse_version

VERSION = parse_version("1.39.2")


@pytest.mark.parametrize(
    ("backend", "settings", "place"),
    [
        ("s3", {"bucketName": "b", "endpoint": "e"}, ("b", None)),
        ("s3", {"bucketName": "b", "rootName": "p/q"}, ("b", "p/q")),
        ("gcs", {"bucketName": "b", "rootName": ""}, ("b", None)),
        ("azure", {"containerName": "c", "rootName": "p"}, ("c", "p")),
        ("filesystem", {"backupsPath": "/srv/b"}, (None, "/srv/b")),
        ("s3", {}, (None, None)),
    ],
)
def test_place_that_a_server_writes_to(backend: str, settings: dict[str, Any], place: tuple[str, str]) -> None:
    server = server_of(Meta("1.39.2", {f"backup-{backend}": settings}), backend)
    assert (server.version, server.bucket, server.path) == (VERSION, *place)


@pytest.mark.parametrize(
    ("given", "needed", "place"),
    [
        ((None, None), (None, None), ("b", "p")),
        (("b", None), (None, None), ("b", "p")),
        (("b", "p"), (None, None), ("b", "p")),
        ((None, "/p/"), (None, None), ("b", "p")),
        ((None, "q"), (None, "q"), ("b", "q")),
        (("c", None), ("c", None), ("c", "p")),
        (("c", "p"), ("c", "p"), ("c", "p")),
        (("b", "q"), (None, "q"), ("b", "q")),
    ],
)
def test_needless_overrides(
    given: tuple[str | None, str | None], needed: tuple[str | None, str | None], place: tuple[str, str]
) -> None:
    server = Server(VERSION, "s3", "b", "p")
    address = without_needless_overrides(server, BackupAddress("s3", "x1", *given))
    assert address == BackupAddress("s3", "x1", *needed)
    assert place_of(server, address) == place


class TestListedBackup:
    def test_there(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_backup("x1", ["Article"])
        found = listed_backup(client, VERSION, BackupAddress("s3", "x1"))
        assert found is not None
        assert found.collections == ("Article",)

    def test_not_there(self, client: WeaviateClient) -> None:
        assert listed_backup(client, VERSION, BackupAddress("s3", "x1")) is None

    def test_never_looked_for_where_it_can_not_be(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_backup("x1", ["Article"])
        assert listed_backup(client, VERSION, BackupAddress("s3", "x1", path="team/a")) is None
        assert listed_backup(client, parse_version("1.26.4"), BackupAddress("s3", "x1")) is None
        assert server.requests == []


class TestDescription:
    def test_of_a_healthy_server(self, client: WeaviateClient) -> None:
        text = "Weaviate 1.39.2; backends enabled: filesystem, s3; nodes: node1 HEALTHY."
        assert describe_server(client) == (True, text)

    def test_of_an_ill_one(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.nodes["node2"] = "UNHEALTHY"
        good, text = describe_server(client)
        assert (good, text.endswith("nodes: node1 HEALTHY, node2 UNHEALTHY.")) == (False, True)

    def test_of_one_without_backups(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.modules.clear()
        good, text = describe_server(client)
        assert (good, "Add a backup module" in text) == (False, True)
