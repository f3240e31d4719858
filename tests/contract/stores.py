"""Locations on real servers, and how a test puts objects there: not by the code under test."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from azure.storage.blob import BlobServiceClient

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.hooks.storage import open_store
from tests.services.fixtures import BUCKET
from tests.services.loopback import session
from tests.services.object_stores import AzureSettings, GCSSettings, S3Settings


@dataclass(frozen=True)
class Place:
    """A location, and the Airflow that reaches it.

    :param connection: what the connection ``store`` holds; the location names it.
    :param moved: what of connection and environment differs where the server is at another URL.
    """

    location: Location
    put: Callable[[str, bytes], None]
    connection: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    moved: Callable[[str], Mapping[str, Any]] = lambda _url: {}

    def read(self, key: str, monkeypatch: pytest.MonkeyPatch) -> bytes | None:
        """Read an object as a task does."""
        monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(dict(self.connection)))
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)
        with closing(open_store(self.location)) as store:
            return store.read(key)

    def elsewhere(self, url: str) -> Place:
        """Return this place with its server at another URL."""
        return replace(self, **self.moved(url))

    def connected_by(self, **changes: Any) -> Place:
        """Return this place with another connection of the same type."""
        return replace(self, connection={"conn_type": self.connection["conn_type"], **changes})


def without_sdk_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a developer's own settings away from the vendors' libraries."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_", "STORAGE_EMULATOR_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def s3_place(server: S3Settings, prefix: str) -> Place:
    """Return a location on an S3 server, reached by a key in the connection."""

    def put(name: str, content: bytes) -> None:
        with server.client() as client:
            client.put_object(Bucket=BUCKET, Key=name, Body=content)

    def connection(url: str) -> dict[str, Any]:
        return replace(server, endpoint=url.removeprefix("http://")).airflow_connection

    return Place(
        Location("s3", BUCKET, prefix, "store"),
        put,
        connection(server.url),
        moved=lambda url: {"connection": connection(url)},
    )


def gcs_place(server: GCSSettings, prefix: str) -> Place:
    """Return a location on a Google stand-in, reached without credentials."""

    def put(name: str, content: bytes) -> None:
        url = f"{server.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name, safe='')}"
        with session() as direct:
            direct.post(url, data=content, timeout=30).raise_for_status()

    return Place(
        Location("gs", BUCKET, prefix, "store"),
        put,
        {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True}},
        {"STORAGE_EMULATOR_HOST": server.url},
        moved=lambda url: {"env": {"STORAGE_EMULATOR_HOST": url}},
    )


def azure_place(server: AzureSettings, prefix: str) -> Place:
    """Return a location on an Azure stand-in, reached by an account's key."""

    def put(name: str, content: bytes) -> None:
        with BlobServiceClient.from_connection_string(server.connection_string) as service:
            service.get_blob_client(BUCKET, name).upload_blob(content, max_concurrency=1)

    def connection(url: str) -> dict[str, Any]:
        return {"conn_type": "wasb", "host": url, "login": server.account, "password": server.key}

    return Place(
        Location("azure", BUCKET, prefix, "store"),
        put,
        connection(server.url),
        moved=lambda url: {"connection": connection(f"{url}/{server.account}")},
    )


def filesystem_place(folder: Path, prefix: str) -> Place:
    """Return a location on the disk."""

    def put(name: str, content: bytes) -> None:
        path = Path("/", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    root = folder / BUCKET / prefix
    root.mkdir(parents=True)
    return Place(Location("file", "", str(root)), put)
