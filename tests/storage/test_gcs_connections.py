"""Connections to Google: tokens that expire in the middle, and one for each of many threads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from google.auth.credentials import Credentials
from google.oauth2.credentials import Credentials as OAuth

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import StorageUnreachable
from airflow_provider_vectorbackup.storage import gcs
from airflow_provider_vectorbackup.storage.gcs import SMALL_BYTES, GCSAccess, GCSStore
from airflow_provider_vectorbackup.storage.store import CONNECTIONS, PIECE_BYTES
from tests.scripted_server import Reply, ScriptedServer, Seen
from tests.services.fixtures import BUCKET
from tests.services.object_stores import GCSSettings
from tests.storage.conftest import KEY
from tests.storage.gcs_answers import CONTENT, PART, SIZE, begun, kept, media, rest, stored


class Expiring(Credentials):  # type: ignore[no-untyped-call, misc, unused-ignore]
    """Gives a token after the other."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.given = 0

    def refresh(self, _request: object) -> None:
        self.given += 1
        self.token = f"token-{self.given}"
        self.expire(timedelta(hours=1))

    def expire(self, after: timedelta = timedelta(0)) -> None:
        self.expiry = datetime.now(UTC).replace(tzinfo=None) + after


@pytest.fixture
def small_gcs_parts(small_gcs_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also have even small objects written in parts."""
    monkeypatch.setattr(gcs, "SMALL_BYTES", 7)
    monkeypatch.setattr(GCSStore, "part_limits", replace(GCSStore.part_limits, whole_bytes=7))


@pytest.mark.usefixtures("small_gcs_parts")
class TestToken:
    """One lasts an hour; a transfer may last longer."""

    @pytest.fixture
    def credentials(self) -> Expiring:
        return Expiring()

    @pytest.fixture
    def store(
        self, server: ScriptedServer, credentials: Expiring, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[GCSStore]:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        location = Location.parse("gs://conn@bucket/backups")
        with closing(GCSStore(location, GCSAccess(credentials=credentials))) as store:
            yield store

    def tokens(self, seen: list[Seen]) -> list[str]:
        return [each.headers["authorization"].removeprefix("Bearer ") for each in seen]

    def test_refused_for_a_small_object(self, server: ScriptedServer, store: GCSStore) -> None:
        server.replies = [Reply(401), Reply(401), stored(b"content")]
        assert store.write(KEY, [b"content"], 7) == "7"
        assert self.tokens(server.seen) == ["token-1", "token-1", "token-2"]
        assert {seen.body for seen in server.seen} == {b"content"}

    def test_expired_before_a_small_object(
        self, server: ScriptedServer, store: GCSStore, credentials: Expiring
    ) -> None:
        server.replies = [stored(b"content")]
        for _ in range(2):
            store.write(KEY, [b"content"], 7)
            credentials.expire()
        assert self.tokens(server.seen) == ["token-1", "token-2"]

    def test_refused_between_parts(self, server: ScriptedServer, store: GCSStore) -> None:
        server.replies = [begun(server), kept(PART), Reply(401), kept(2 * PART), stored()]
        store.write(KEY, [CONTENT], SIZE)
        assert self.tokens(server.seen) == ["token-1"] * 3 + ["token-2"] * 2
        assert server.seen[2].body == server.seen[3].body == CONTENT[PART : 2 * PART]

    def test_refused_where_nothing_is_kept(
        self, server: ScriptedServer, store: GCSStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was sent is gone; the next attempt has another token."""
        monkeypatch.setattr(GCSStore, "part_limits", replace(GCSStore.part_limits, whole_bytes=SIZE))
        server.replies = [Reply(401), stored()]
        with pytest.raises(StorageUnreachable, match="refused the token"):
            store.write(KEY, [CONTENT], SIZE)
        store.write(KEY, [CONTENT], SIZE)
        assert self.tokens(server.seen) == ["token-1", "token-2"]

    def test_expired_between_parts(self, server: ScriptedServer, store: GCSStore, credentials: Expiring) -> None:
        server.replies = [begun(server), kept(PART), kept(2 * PART), stored()]

        def pieces() -> Iterator[bytes]:
            yield CONTENT[: PART + 1]
            credentials.expire()
            yield CONTENT[PART + 1 :]

        store.write(KEY, pieces(), SIZE)
        assert self.tokens(server.seen) == ["token-1"] * 2 + ["token-2"] * 2

    def test_expired_during_a_stream(self, server: ScriptedServer, store: GCSStore, credentials: Expiring) -> None:
        large = CONTENT * 4
        server.replies = [media(large, cut_after=PIECE_BYTES), Reply(401), rest(large, PIECE_BYTES)]
        stream = store.stream(KEY)
        received = next(stream)
        credentials.expire()
        assert received + b"".join(stream) == large
        assert self.tokens(server.seen) == ["token-1", "token-2", "token-3"]


def test_quota_project(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small or not, it is told whom to bill."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    credentials = OAuth("a-token", quota_project_id="payer")  # type: ignore[no-untyped-call, unused-ignore]
    for content in (b"content", bytes(SMALL_BYTES + 1)):
        server.replies = [stored(content)]
        with closing(GCSStore(Location.parse("gs://bucket/backups"), GCSAccess(credentials=credentials))) as store:
            store.write(KEY, [content], len(content))
    assert [seen.headers["x-goog-user-project"] for seen in server.seen] == ["payer"] * 2


@pytest.mark.parametrize("excepted", ["", "bucket.invalid"])
def test_proxy(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, excepted: str) -> None:
    """Small or not, it goes by the proxy of the environment, unless that is not for this host."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://bucket.invalid")
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", excepted)
    server.replies = [stored(b"content"), Reply(503)]
    with closing(GCSStore(Location.parse("gs://bucket/backups"), GCSAccess(is_anonymous=True))) as store:
        for content in (b"content", bytes(SMALL_BYTES + 1)):
            with suppress(StorageUnreachable):
                store.write(KEY, [content], len(content))
    through = [seen.target.startswith("http://bucket.invalid/upload/") for seen in server.seen]
    assert through == ([] if excepted else [True, True])


@pytest.mark.services
def test_a_connection_for_each_of_many_threads(fake_gcs: GCSSettings, caplog: pytest.LogCaptureFixture) -> None:
    """They are kept: the second round opens none."""
    caplog.set_level(logging.DEBUG, logger="urllib3.connectionpool")
    location = Location("gs", BUCKET, "connections")
    content = bytes(SMALL_BYTES + 1)
    with pytest.MonkeyPatch.context() as environment, ExitStack() as stack:
        environment.setenv("STORAGE_EMULATOR_HOST", fake_gcs.url)
        store = stack.enter_context(closing(GCSStore(location, GCSAccess())))
        threads = stack.enter_context(ThreadPoolExecutor(CONNECTIONS))
        store.write(KEY, [content], len(content))
        all_open = threading.Barrier(CONNECTIONS, timeout=30)

        def read(_: int) -> bytes:
            stream = store.stream(KEY)
            first = next(stream)
            all_open.wait()
            return first + b"".join(stream)

        for _ in range(2):
            assert list(threads.map(read, range(CONNECTIONS))) == [content] * CONNECTIONS
            assert caplog.text.count("Starting new HTTP connection") == CONNECTIONS
    assert "pool is full" not in caplog.text
