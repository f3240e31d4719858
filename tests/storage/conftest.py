"""The three SDKs, each opened against a server that answers as a test says."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from google.cloud.storage.retry import DEFAULT_RETRY

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.storage import gcs, gcs_requests
from airflow_provider_vectorbackup.storage.azure import AzureStore
from airflow_provider_vectorbackup.storage.azure_access import AzureAccess
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.storage.gcs import GCSAccess, GCSStore
from airflow_provider_vectorbackup.storage.s3 import S3Access, S3Store
from airflow_provider_vectorbackup.storage.store import Store
from tests.contract.stores import without_sdk_settings
from tests.scripted_server import ScriptedServer, scripted_server
from tests.storage.gcs_answers import PART

SECRET = base64.b64encode(b"not to be shown").decode()
KEY = "b1/backup_config.json"

Open = Callable[[str], Store]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sdk_settings(monkeypatch)


@pytest.fixture
def real_waits() -> None:
    """Keep the waits before repeats as they are."""


@pytest.fixture(autouse=True)
def short_waits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real_waits" not in request.fixturenames:
        shorten_waits(monkeypatch)


def shorten_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat failed requests as often as ever, but at once."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    monkeypatch.setitem(gcs_requests.PATIENCE, "retry", DEFAULT_RETRY.with_delay(0.01, 0.01).with_timeout(0.1))


def open_s3(url: str) -> Store:
    access = S3Access("id", SECRET, region="us-east-1", endpoint_url=url)
    return S3Store(Location.parse("s3://conn@bucket/backups"), access)


def open_gcs(url: str) -> Store:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STORAGE_EMULATOR_HOST", url)
        return GCSStore(Location.parse("gs://conn@bucket/backups"), GCSAccess())


def open_azure(url: str) -> Store:
    access = AzureAccess(f"{url}/account", account_name="account", account_key=SECRET)
    return AzureStore(Location.parse("azure://conn@bucket/backups"), access)


@pytest.fixture(params=[open_s3, open_gcs, open_azure], ids=["s3", "gcs", "azure"])
def open_store(request: pytest.FixtureRequest) -> Open:
    opener: Open = request.param
    return opener


def read(open_store: Open, url: str) -> bytes | None:
    return read_from(open_store(url))


def read_from(store: Store) -> bytes | None:
    with closing(store):
        return store.read(KEY)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the directory of a location, beside another one."""
    folder = tmp_path / "backups"
    (folder / "b1").mkdir(parents=True)
    (folder / "b1" / "x.json").write_bytes(b"inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.json").write_bytes(b"outside")
    return folder


@pytest.fixture
def store(root: Path) -> Iterator[FilesystemStore]:
    """Yield the store of the directory; no file stays open, whatever happens."""
    before = psutil.Process().num_fds()
    yield FilesystemStore(Location.parse(f"file://{root}"))
    assert psutil.Process().num_fds() == before


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def gcs_store(server: ScriptedServer) -> Iterator[Store]:
    with closing(open_gcs(server.url)) as store:
        yield store


@pytest.fixture
def small_gcs_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs, "PART_BYTES", PART)
