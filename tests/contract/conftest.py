"""The servers and clients of the contract; each real server is started once."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus
from airflow_provider_vectorbackup.exceptions import OperationInProgress
from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.weaviate import answers, calls
from airflow_provider_vectorbackup.weaviate.async_client import AsyncWeaviateClient
from airflow_provider_vectorbackup.weaviate.calls import Call
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint
from tests.contract.servers import BUCKET, Subject, real, stand_in
from tests.contract.stores import OBJECT_STORES, PLACES, Place, behind_a_proxy, without_sdk_settings
from tests.services.fault_proxy import FaultProxy
from tests.services.loopback import ADDRESS
from tests.services.object_stores import S3Settings
from tests.services.process import wait_until
from tests.storage.conftest import shorten_waits

T = TypeVar("T")
_END_SECONDS = 60.0


class Driver:
    """Sends calls with one of our two clients, and does what most tests begin with."""

    def __init__(self, subject: Subject, *, asynchronous: bool) -> None:
        self.subject = subject
        self._send_once = self._send_async if asynchronous else self._send_sync

    def send(self, call: Call[T]) -> T:
        return self._send_once(call)

    def create(self, address: BackupAddress, **request: Any) -> tuple[str, ...]:
        return self._start(calls.create_backup(calls.BackupRequest(address, **request), self.subject.version))

    def restore(self, address: BackupAddress, **request: Any) -> tuple[str, ...]:
        return self._start(calls.restore_backup(calls.RestoreRequest(address, **request), self.subject.version))

    def status(self, address: BackupAddress, kind: OperationKind = OperationKind.BACKUP) -> OperationStatus:
        return self.send(calls.status_of(kind, address))

    def end(self, address: BackupAddress, kind: OperationKind = OperationKind.BACKUP) -> list[OperationStatus]:
        """Wait for the end; return every status seen, the final one last."""
        seen: list[OperationStatus] = []

        def has_ended() -> bool:
            seen.append(self.status(address, kind))
            return seen[-1].is_final

        wait_until(has_ended, _END_SECONDS, f"the end of {kind.value} {address.backup_id}", poll_seconds=0.02)
        return seen

    def reason(self, address: BackupAddress, kind: OperationKind = OperationKind.BACKUP) -> str:
        """Return why it did not end well; a server tells that only after it has written the end to storage."""
        wait_until(lambda: bool(self.status(address, kind).error), _END_SECONDS, "the reason", poll_seconds=0.02)
        return self.status(address, kind).error

    def _start(self, call: Call[answers.Accepted]) -> tuple[str, ...]:
        """Start it once the slot is free: that of a canceled operation is not at once."""
        accepted: list[answers.Accepted] = []

        def is_accepted() -> bool:
            with contextlib.suppress(OperationInProgress):
                accepted.append(self.send(call))
            return bool(accepted)

        wait_until(is_accepted, _END_SECONDS, "the slot")
        return accepted[0].collections

    def _send_sync(self, call: Call[T]) -> T:
        with WeaviateClient(Endpoint(self.subject.url)) as client:
            return client.send(call)

    def _send_async(self, call: Call[T]) -> T:
        async def send() -> T:
            async with AsyncWeaviateClient(Endpoint(self.subject.url)) as client:
                return await client.send(call)

        return asyncio.run(send())


@pytest.fixture(scope="session")
def contract_store(minio: S3Settings) -> S3Settings:
    minio.create_bucket(BUCKET)
    return minio


@pytest.fixture(
    scope="session",
    params=[
        "stand-in 1.39.2",
        "stand-in 1.37.0",
        pytest.param("real 1.39.2", marks=pytest.mark.services),
        pytest.param("real 1.37.0", marks=pytest.mark.services),
    ],
)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    kind, version = request.param.split()
    if kind == "stand-in":
        with stand_in(version) as server:
            yield server
    else:
        folder: Path = request.getfixturevalue("services_folder")
        with real(version, folder, request.getfixturevalue("contract_store")) as server:
            yield server


@pytest.fixture(scope="session")
def finished(subject: Subject) -> BackupAddress:
    """Make one backup of everything that every test may look at and restore from."""
    address = BackupAddress("s3", "finished")
    driver = Driver(subject, asynchronous=False)
    driver.create(address)
    driver.end(address)
    return address


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest, subject: Subject) -> Driver:
    return Driver(subject, asynchronous=request.param == "async")


@pytest.fixture
def new_address() -> Callable[..., BackupAddress]:
    def address(**place: str) -> BackupAddress:
        return BackupAddress("s3", f"b-{secrets.token_hex(4)}", **place)

    return address


@pytest.fixture
def prefix() -> str:
    return f"stores/{secrets.token_hex(4)}"


@pytest.fixture
def place_at(request: pytest.FixtureRequest, prefix: str) -> Callable[[str], Place]:
    """Return what makes an empty place of a scheme."""

    def make(scheme: str) -> Place:
        make_place, server = PLACES[scheme]
        return make_place(request.getfixturevalue(server), prefix)

    return make


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, place_at: Callable[[str], Place]) -> Place:
    return place_at(request.param)


@pytest.fixture(params=OBJECT_STORES)
def bucket_place(request: pytest.FixtureRequest, place_at: Callable[[str], Place]) -> Place:
    """Return a place of every scheme but ``file``."""
    return place_at(request.param)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Place], Store]]:
    """Yield what opens a place as a task does; all are closed in the end."""
    without_sdk_settings(monkeypatch)
    with ExitStack() as stores:
        yield lambda place: stores.enter_context(closing(place.open(monkeypatch)))


@pytest.fixture
def store(opened: Callable[[Place], Store], place: Place) -> Store:
    return opened(place)


@pytest.fixture
def proxy(bucket_place: Place) -> Iterator[FaultProxy]:
    """Yield a proxy before the place's server."""
    with behind_a_proxy(bucket_place) as proxy:
        yield proxy


@pytest.fixture
def proxied(
    bucket_place: Place, proxy: FaultProxy, opened: Callable[[Place], Store], monkeypatch: pytest.MonkeyPatch
) -> Store:
    """Return the place's store behind the proxy."""
    shorten_waits(monkeypatch)
    return opened(bucket_place.elsewhere(f"http://{ADDRESS}:{proxy.port}"))
