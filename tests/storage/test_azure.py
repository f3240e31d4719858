"""What Azure alone does, on its stand-in and on answers made up for what that lacks."""

from __future__ import annotations

import gzip
import logging
import random
import ssl
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from azure.core.credentials import AccessToken
from azure.storage.blob import (
    AccountSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ContentSettings,
    ResourceTypes,
    generate_account_sas,
)
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import (
    DeletionFailed,
    InvalidRequest,
    ObjectChanged,
    StorageError,
    StorageUnreachable,
)
from airflow_provider_vectorbackup.storage import azure, azure_blocks, azure_requests
from airflow_provider_vectorbackup.storage.azure import AzureStore
from airflow_provider_vectorbackup.storage.azure_access import AzureAccess
from airflow_provider_vectorbackup.storage.store import (
    CONNECTIONS,
    PART_BYTES,
    PIECE_BYTES,
    StoredObject,
    UnfinishedUpload,
)
from tests import scripted_server as scripted
from tests.scripted_server import Reply, ScriptedServer, scripted_server
from tests.services.fixtures import BUCKET
from tests.services.object_stores import AzureSettings
from tests.storage.conftest import KEY, SECRET, open_azure

LOCATION = Location.parse("azure://conn@bucket/backups")
LARGE = random.Random(0).randbytes(2 * PART_BYTES + 1)
MADE = Reply(201, b"", {"ETag": '"1"'})
FOUND = Reply(200, b"", {"ETag": '"1"', "Content-Length": "25", "x-ms-meta-backup": "b1"})
COPIED = Reply(202, b"", {"ETag": '"2"', "x-ms-copy-status": "success"})


def refusal(status: int, code: str) -> Reply:
    return Reply(status, b"", {"x-ms-error-code": code})


def content(body: bytes, start: int, total: int) -> Reply:
    span = f"bytes {start}-{start + len(body) - 1}/{total}"
    return Reply(206, body, {"Content-Range": span, "ETag": '"1"', "x-ms-blob-type": "BlockBlob"})


@pytest.fixture(autouse=True)
def _heads_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted._Handler, "do_HEAD", scripted._Handler._serve, raising=False)


@pytest.fixture
def container(azurite: AzureSettings) -> Iterator[ContainerClient]:
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        yield service.get_container_client(BUCKET)


def access_of(azurite: AzureSettings) -> AzureAccess:
    return AzureAccess(azurite.url, account_name=azurite.account, account_key=azurite.key)


@pytest.fixture
def location(request: pytest.FixtureRequest) -> Location:
    return Location("azure", BUCKET, f"azure/{request.node.name}".replace("[", "/").rstrip("]"))


@pytest.fixture
def store(azurite: AzureSettings, location: Location) -> Iterator[AzureStore]:
    with closing(AzureStore(location, access_of(azurite))) as store:
        yield store


@pytest.mark.services
class TestOnTheStandIn:
    def test_folders_of_a_hierarchical_namespace_are_not_shown(
        self, store: AzureStore, container: ContainerClient, location: Location
    ) -> None:
        for name, metadata in (("b1", {"hdi_isfolder": "true"}), ("b2", {"Hdi_isfolder": "true"}), ("b1/x", {})):
            container.upload_blob(f"{location.prefix}/{name}", b"", metadata=metadata)
        assert [found.key for found in store.list_objects()] == ["b1/x"]

    def test_object_that_is_replaced_while_it_is_streamed(self, store: AzureStore) -> None:
        store.write("x", [LARGE], len(LARGE))
        stream = store.stream("x")
        next(stream)
        store.write("x", [LARGE[::-1]], len(LARGE))
        with pytest.raises(ObjectChanged):
            list(stream)

    def test_object_that_says_it_is_compressed_is_read_as_it_lies_there(
        self, store: AzureStore, container: ContainerClient, location: Location
    ) -> None:
        zipped = gzip.compress(b"content")
        settings = ContentSettings(content_encoding="gzip")
        container.upload_blob(f"{location.prefix}/x", zipped, content_settings=settings)
        assert store.read("x") == zipped
        assert b"".join(store.stream("x", start=1, end=9)) == zipped[1:9]

    def test_objects_that_are_held(self, store: AzureStore, container: ContainerClient, location: Location) -> None:
        for key in ("leased", "kept", "free"):
            store.write(key, [b"x"], 1)
        container.get_blob_client(f"{location.prefix}/leased").acquire_lease()
        container.get_blob_client(f"{location.prefix}/kept").create_snapshot()
        with pytest.raises(DeletionFailed) as caught:
            store.delete(["leased", "free", "absent", "kept"])
        assert caught.value.reasons == {
            "leased": "Azure answered 412 LeaseIdMissing",
            "kept": "Azure answered 409 SnapshotsPresent",
        }
        assert "snapshots" in caught.value.hint
        assert [found.key for found in store.list_objects()] == ["kept", "leased"]
        with pytest.raises(StorageError, match="LeaseIdMissing") as refused:
            store.write("leased", [b"y"], 1)
        assert "lease" in refused.value.hint

    def test_two_uploads_to_one_name_do_not_mix(self, store: AzureStore) -> None:
        """The one that ends last fails, or replaces the other whole."""
        other = LARGE[::-1]

        def pieces() -> Iterator[bytes]:
            yield other[: PART_BYTES + 1]
            store.write("x", [LARGE], len(LARGE))
            yield other[PART_BYTES + 1 :]

        with pytest.raises(ObjectChanged, match="InvalidBlockList") as caught:
            store.write("x", pieces(), len(other))
        assert caught.value.retryable
        assert store.read("x") == LARGE

    def test_leftover_of_another_program(
        self, store: AzureStore, container: ContainerClient, location: Location
    ) -> None:
        """Its blocks' ids are of another length, which Azure does not take beside ours."""
        container.get_blob_client(f"{location.prefix}/x").stage_block("1", b"x")
        with pytest.raises(StorageError, match="InvalidBlobOrBlock") as caught:
            store.write("x", [LARGE], len(LARGE))
        assert "abort" in caught.value.hint

    def test_sas_token_does_everything(self, azurite: AzureSettings, location: Location) -> None:
        until = datetime.now(UTC) + timedelta(hours=1)
        allowed = AccountSasPermissions(read=True, write=True, delete=True, list=True, create=True)
        kinds = ResourceTypes(object=True, container=True)
        token = generate_account_sas(azurite.account, azurite.key, kinds, allowed, until)
        by_string = f"BlobEndpoint={azurite.url};SharedAccessSignature={token}"
        for access in (AzureAccess(azurite.url, sas_token=token), AzureAccess(connection_string=by_string)):
            with closing(AzureStore(location, access)) as store:
                store.write("x ä", [LARGE], len(LARGE))
                store.copy(location, "x ä", "y")
                assert store.create("z", b"z") is True
                with pytest.raises(RuntimeError):
                    store.write("w", _failing(), 2 * len(LARGE))
                assert list(store.list_unfinished_uploads()) == []
                assert [found.key for found in store.list_objects()] == ["x ä", "y", "z"]
                assert store.read("y") == LARGE
                store.delete(["x ä", "y", "z"])

    def test_backslash(self, store: AzureStore) -> None:
        """The stand-in, as Azure, would take it for a slash."""
        store.write("a/b", [b"x"], 1)
        for request in (
            lambda: store.read("a\\b"),
            lambda: list(store.stream("a\\b")),
            lambda: store.write("a\\b", [], 0),
            lambda: store.delete(["a\\b"]),
            lambda: store.copy(store._location, "a/b", "a\\b"),
            lambda: store.copy(store._location, "a\\b", "c"),
        ):
            with pytest.raises(InvalidRequest, match="backslash"):
                request()
        assert store.read("a/b") == b"x"

    def test_connections_are_kept_for_as_many_threads(
        self, store: AzureStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "urllib3.connectionpool")
        store.write("x", [b"x" * 100], 100)
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            assert set(threads.map(lambda _: store.read("x"), range(20 * CONNECTIONS))) == {b"x" * 100}
        assert caplog.text.count("Starting new HTTP connection") <= CONNECTIONS
        assert "pool is full" not in caplog.text

    def test_memory_does_not_grow_with_the_object(self, store: AzureStore) -> None:
        size = 8 * PART_BYTES
        tracemalloc.start()
        try:
            store.write("x", (bytes(PIECE_BYTES) for _ in range(size // PIECE_BYTES)), size)
            written = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            assert sum(map(len, store.stream("x"))) == size
            streamed = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert written < 4 * PART_BYTES
        assert streamed < 2 * PART_BYTES


def _failing() -> Iterator[bytes]:
    yield LARGE
    raise RuntimeError("of the source")


class Tokens:
    """A credential whose tokens are good for two seconds."""

    def __init__(self) -> None:
        self.given: dict[str, float] = {}

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        self.given[token := f"token-{len(self.given)}"] = time.time() + 2
        return AccessToken(token, int(time.time()) + 2)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return a context that clients trust: tokens go over HTTPS only."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    return context


def open_with(credential: object, server: ScriptedServer) -> AzureStore:
    return AzureStore(LOCATION, AzureAccess(f"{server.url}/account", credential=credential))


class TestTokens:
    def test_each_request_of_a_long_transfer_has_one_that_is_good(self, tls: ssl.SSLContext) -> None:
        span = azure_requests._RANGE_BYTES
        parts = [content(bytes(span), start, 3 * span) for start in range(0, 3 * span, span)]
        with scripted_server(*parts, MADE, tls=tls) as server, closing(open_with(Tokens(), server)) as store:
            assert sum(map(len, store.stream(KEY))) == 3 * span
            store.write(KEY, [LARGE], len(LARGE))
            bearers = [seen.headers["Authorization"] for seen in server.seen]
        assert bearers == [f"Bearer token-{number}" for number in range(3 + 4)]

    def test_copy(self, tls: ssl.SSLContext) -> None:
        with scripted_server(FOUND, COPIED, tls=tls) as server, closing(open_with(Tokens(), server)) as store:
            store.copy(LOCATION, KEY, "copied")
            copied = server.seen[1].headers
        assert copied["x-ms-copy-source"] == f"{server.url}/account/bucket/backups/{KEY}"
        assert copied["x-ms-copy-source-authorization"].startswith("Bearer token-")
        assert copied["x-ms-requires-sync"] == "True"
        assert copied["x-ms-source-if-match"] == '"1"'


class TestStream:
    def test_answer_that_is_shorter_than_it_says(self) -> None:
        short = content(b"0123", 0, 10)
        with scripted_server(short) as server, closing(open_azure(server.url)) as store:
            stream = store.stream(KEY)
            with pytest.raises(StorageUnreachable, match="bytes of it did not come"):
                list(stream)

    def test_what_answers_is_not_azure(self) -> None:
        with scripted_server(Reply(200, b"<html/>")) as server, closing(open_azure(server.url)) as store:
            stream = store.stream(KEY)
            with pytest.raises(StorageError, match="none of Azure's"):
                list(stream)


class TestCreate:
    @pytest.mark.parametrize(("there", "written"), [(b"mine", True), (b"them", False), (b"longer", False)])
    def test_lost_answer(self, there: bytes, written: bool) -> None:
        replies = [Reply(cut=True), refusal(409, "BlobAlreadyExists"), content(there, 0, len(there))]
        with scripted_server(*replies) as server, closing(open_azure(server.url)) as store:
            assert store.create(KEY, b"mine") is written

    def test_what_was_there_is_gone(self) -> None:
        replies = [refusal(409, "BlobAlreadyExists"), refusal(404, "BlobNotFound")]
        with (
            scripted_server(*replies) as server,
            closing(open_azure(server.url)) as store,
            pytest.raises(ObjectChanged),
        ):
            store.create(KEY, b"mine")


class TestLargeCopy:
    @pytest.fixture(autouse=True)
    def small_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(azure_blocks, "_COPY_BYTES", 10)

    def test_in_blocks(self) -> None:
        with scripted_server(FOUND, MADE, MADE, MADE, FOUND, MADE) as server, closing(open_azure(server.url)) as store:
            store.copy(LOCATION, KEY, "copied")
            _, *blocks, again, commit = server.seen
        assert [seen.headers["x-ms-source-range"] for seen in blocks] == ["bytes=0-9", "bytes=10-19", "bytes=20-24"]
        ids = [parse_qs(urlsplit(seen.target).query)["blockid"][0] for seen in blocks]
        assert len(set(ids)) == 3
        assert all(name.encode() in commit.body for name in ids)
        assert commit.headers["x-ms-meta-backup"] == "b1"
        assert again.headers["If-Match"] == '"1"'
        sources = [urlsplit(seen.headers["x-ms-copy-source"]) for seen in blocks]
        assert all(source.path.endswith(f"/bucket/backups/{KEY}") for source in sources)
        assert all(parse_qs(source.query)["sp"] == ["r"] for source in sources)

    def test_source_that_changes(self) -> None:
        """Nothing is committed."""
        replies = [FOUND, MADE, MADE, MADE, refusal(412, "ConditionNotMet"), refusal(404, "BlobNotFound")]
        with scripted_server(*replies) as server, closing(open_azure(server.url)) as store:
            with pytest.raises(ObjectChanged, match=f"{KEY} can't be read"):
                store.copy(LOCATION, KEY, "copied")
            assert [seen.target for seen in server.seen if seen.method == "PUT" and "blocklist" in seen.target] == []

    def test_signature_is_not_shown(self) -> None:
        with scripted_server(FOUND, refusal(403, "CannotVerifyCopySource"), Reply(403)) as server:
            with closing(open_azure(server.url)) as store, pytest.raises(StorageError) as caught:
                store.copy(LOCATION, KEY, "copied")
            signature = parse_qs(urlsplit(server.seen[1].headers["x-ms-copy-source"]).query)["sig"][0]
        assert signature not in str(caught.value)
        assert SECRET not in str(caught.value)

    def test_copy_that_is_not_done_at_once(self) -> None:
        pending = Reply(202, b"", {"x-ms-copy-status": "pending"})
        small = Reply(200, b"", {**FOUND.headers, "Content-Length": "5"})
        with (
            scripted_server(small, pending) as server,
            closing(open_azure(server.url)) as store,
            pytest.raises(StorageError, match="pending"),
        ):
            store.copy(LOCATION, KEY, "copied")


BLOCKS = Reply(200, b"<BlockList><UncommittedBlocks/></BlockList>", {"Content-Type": "application/xml"})


@pytest.mark.parametrize(
    "replies",
    [
        [BLOCKS, Reply(200, b"", {"x-ms-has-immutability-policy": "true"})],
        [BLOCKS, Reply(200, b"", {"x-ms-has-legal-hold": "true"})],
        [BLOCKS, Reply(200), refusal(403, "AuthorizationPermissionMismatch")],
        [BLOCKS, refusal(403, "AuthorizationPermissionMismatch")],
    ],
    ids=["immutable", "legal hold", "may not delete", "may not look"],
)
def test_no_empty_object_is_left_where_it_could_not_be_deleted(replies: list[Reply]) -> None:
    with scripted_server(*replies) as server, closing(open_azure(server.url)) as store:
        with pytest.raises(StorageError, match=f"{KEY} can't be written"):
            store.abort(UnfinishedUpload(KEY, KEY))
        assert "PUT" not in {seen.method for seen in server.seen}


@given(st.sets(st.text("/-a\uff01\U0001f600", min_size=1, max_size=5)))
def test_order_as_utf16_becomes_that_as_utf8(keys: set[str]) -> None:
    now = datetime.now(UTC)
    ordered = sorted(keys, key=lambda key: key.encode("utf-16-be"))
    found = azure._as_utf8(StoredObject(key, 0, "", now) for key in ordered)
    assert [each.key for each in found] == sorted(keys, key=str.encode)


def test_blocks_are_never_too_many() -> None:
    for size_bytes in (PART_BYTES + 1, 50_000 * PART_BYTES, 50_000 * PART_BYTES + 1, 190 * 2**40):
        block_bytes = azure_blocks._block_bytes(size_bytes, PART_BYTES)
        assert block_bytes >= PART_BYTES
        assert -(-size_bytes // block_bytes) <= 50_000
