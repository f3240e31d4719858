"""Objects that Google makes of others, and those that are sent without being kept."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import closing
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import InvalidRequest, ObjectNotFound, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.gcs import SMALL_BYTES, GCSAccess, GCSStore
from airflow_provider_vectorbackup.storage.gcs_checksums import combined
from airflow_provider_vectorbackup.storage.store import PIECE_BYTES, Part, Store, UnfinishedUpload
from tests.scripted_server import Reply, ScriptedServer
from tests.services.fixtures import BUCKET
from tests.services.object_stores import GCSSettings
from tests.storage.conftest import KEY
from tests.storage.gcs_answers import NAME, crc32c, stored

UPLOAD = "b1/_vectorbackup/0123456789abcdef"
LARGE = random.Random(0).randbytes(2 * SMALL_BYTES + 1)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_checksum_of_two_contents(first: bytes, second: bytes) -> None:
    assert combined(crc32c(first), crc32c(second), len(second)) == crc32c(first + second)


def test_checksum_of_large_contents() -> None:
    assert combined(crc32c(LARGE), crc32c(LARGE[1:]), len(LARGE) - 1) == crc32c(LARGE + LARGE[1:])


@pytest.mark.parametrize("text", ["", "AAAA", "no base64"])
def test_what_is_no_checksum(text: str) -> None:
    for pair in ((text, "AAAAAA=="), ("AAAAAA==", text)):
        with pytest.raises(ValueError, match=r"."):
            combined(*pair, 1)


class TestSend:
    """More than a piece, and not more than is sent in one request."""

    def test_request(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [stored(LARGE)]
        assert gcs_store.write(KEY, [LARGE], len(LARGE)) == "7"
        (seen,) = server.seen
        assert seen.target == f"/upload/storage/v1/b/bucket/o?uploadType=multipart&name={NAME}"
        assert "Transfer-Encoding" not in seen.headers
        boundary = seen.headers["Content-Type"].partition("boundary=")[2].encode()
        empty, metadata, content, end = seen.body.split(b"--" + boundary)
        assert (empty, end) == (b"", b"--\r\n")
        assert json.loads(metadata.partition(b"\r\n\r\n")[2]) == {}
        assert content == b"\r\nContent-Type: application/octet-stream\r\n\r\n" + LARGE + b"\r\n"

    @pytest.mark.parametrize("answer", [Reply(503), Reply(429), Reply(cut=True)], ids=["503", "429", "cut"])
    def test_is_not_repeated(self, server: ScriptedServer, gcs_store: Store, answer: Reply) -> None:
        server.replies = [answer]
        with pytest.raises(StorageUnreachable, match="can't be written"):
            gcs_store.write(KEY, [LARGE], len(LARGE))
        assert len(server.seen) == 1

    @pytest.mark.parametrize("changes", [{"crc32c": "AAAAAA=="}, {"size": "1"}])
    def test_another_content_was_stored(
        self, server: ScriptedServer, gcs_store: Store, changes: dict[str, str]
    ) -> None:
        server.replies = [stored(LARGE, changes), Reply(204, b"")]
        with pytest.raises(StorageUnreachable, match="does not fit its checksum"):
            gcs_store.write(KEY, [LARGE], len(LARGE))
        assert (server.seen[-1].method, server.seen[-1].target.partition("?")[2]) == ("DELETE", "generation=7")

    @pytest.mark.services
    def test_memory_does_not_grow_with_the_object(self, fake_store: GCSStore) -> None:
        size = 64 * PIECE_BYTES
        piece = bytes(PIECE_BYTES)
        tracemalloc.start()
        try:
            fake_store.write("x", (piece for _ in range(64)), size)
            written = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert written < 4 * PIECE_BYTES


@pytest.fixture
def fake_store(
    request: pytest.FixtureRequest, fake_gcs: GCSSettings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GCSStore]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake_gcs.url)
    with closing(GCSStore(Location("gs", BUCKET, f"parts/{request.node.name}"), GCSAccess())) as store:
        yield store


@pytest.mark.services
@pytest.mark.parametrize("count", [1, 32, 33, 64, 100])
def test_any_number_of_parts(fake_store: GCSStore, count: int) -> None:
    content = random.Random(count).randbytes(3 * count)
    upload_id = fake_store.begin_upload("x", len(content), "b1/_vectorbackup/")
    parts = [Part(number + 1, 3 * number, 3) for number in range(count)]
    receipts = [fake_store.put_part("x", upload_id, each, [content[each.start : each.start + 3]]) for each in parts]
    etag = fake_store.finish_upload("x", upload_id, len(content), receipts)
    (found,) = fake_store.list_objects()
    assert (found.key, found.size_bytes, found.etag) == ("x", len(content), etag)
    assert fake_store.read("x") == content


def listing(*contents: bytes) -> Reply:
    items = [
        {"name": f"backups/{UPLOAD}/{number:05}", "size": str(len(each)), "generation": "7", "crc32c": crc32c(each)}
        for number, each in enumerate(contents, 1)
    ]
    return Reply(200, json.dumps({"items": items}).encode())


def receipts_of(*contents: bytes) -> Sequence[str]:
    return [f"7:{crc32c(each)}" for each in contents]


class TestFinish:
    def finish(self, gcs_store: Store) -> str:
        return gcs_store.finish_upload(KEY, UPLOAD, 7, receipts_of(b"con", b"tent"))

    def test_requests(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [listing(b"con", b"tent"), stored(b"content"), Reply(200, b"{}")]
        assert self.finish(gcs_store) == "7"
        _, composing, _ = server.seen
        assert composing.target == f"/storage/v1/b/bucket/o/{NAME}/compose"
        sources = json.loads(composing.body)["sourceObjects"]
        assert [source["name"] for source in sources] == [f"backups/{UPLOAD}/0000{number}" for number in (1, 2)]
        assert {source["objectPreconditions"]["ifGenerationMatch"] for source in sources} == {"7"}

    @pytest.mark.parametrize("there", [[], [b"con"], [b"con", b"text"], [b"con", b"tent!"]])
    def test_part_that_is_missing(self, server: ScriptedServer, gcs_store: Store, there: list[bytes]) -> None:
        server.replies = [listing(*there)]
        with pytest.raises(ObjectNotFound, match="a part of it is missing"):
            self.finish(gcs_store)
        assert len(server.seen) == 1

    @pytest.mark.parametrize("status", [404, 412])
    def test_part_that_goes_in_the_meantime(self, server: ScriptedServer, gcs_store: Store, status: int) -> None:
        server.replies = [listing(b"con", b"tent"), Reply(status)]
        with pytest.raises(ObjectNotFound, match="a part of it is missing"):
            self.finish(gcs_store)

    @pytest.mark.parametrize("changes", [{"crc32c": "AAAAAA=="}, {"size": "1"}])
    def test_another_content(self, server: ScriptedServer, gcs_store: Store, changes: dict[str, str]) -> None:
        server.replies = [listing(b"con", b"tent"), stored(b"content", changes), Reply(204, b"")]
        with pytest.raises(StorageUnreachable, match="does not fit the checksums of its parts"):
            self.finish(gcs_store)
        assert (server.seen[-1].method, server.seen[-1].target.partition("?")[2]) == ("DELETE", "generation=7")

    @pytest.mark.parametrize("status", [403, 503])
    def test_parts_that_can_not_be_deleted(self, server: ScriptedServer, gcs_store: Store, status: int) -> None:
        """They are objects that a listing shows: no failure of the upload."""
        server.replies = [listing(b"con", b"tent"), stored(b"content"), Reply(status)]
        assert self.finish(gcs_store) == "7"

    @pytest.mark.parametrize("upload_id", ["b1", "b1/x", f"../{UPLOAD}", f"/{UPLOAD}"])
    def test_what_is_no_upload(self, server: ScriptedServer, gcs_store: Store, upload_id: str) -> None:
        """Else a part could lie, and be deleted, anywhere."""
        for call in (
            lambda: gcs_store.put_part(KEY, upload_id, Part(1, 0, 1), [b"x"]),
            lambda: gcs_store.finish_upload(KEY, upload_id, 1, receipts_of(b"x")),
            lambda: gcs_store.abort(UnfinishedUpload(KEY, upload_id)),
            lambda: gcs_store.begin_upload(KEY, 1, "../"),
        ):
            with pytest.raises(InvalidRequest):
                call()
        assert server.seen == []


class TestLockPolicy:
    @pytest.mark.parametrize(
        ("told", "words"),
        [
            ({}, ""),
            ({"defaultEventBasedHold": False}, ""),
            ({"retentionPolicy": {"retentionPeriod": "3600"}}, "a retention policy of 3600 seconds"),
            (
                {"retentionPolicy": {"retentionPeriod": "60"}, "defaultEventBasedHold": True},
                "a retention policy of 60 seconds and a hold on each new object",
            ),
        ],
    )
    def test_words(self, server: ScriptedServer, gcs_store: Store, told: object, words: str) -> None:
        server.replies = [Reply(200, json.dumps(told).encode())]
        assert gcs_store.lock_policy() == words
        assert unquote(server.seen[0].target) == "/storage/v1/b/bucket?fields=retentionPolicy,defaultEventBasedHold"

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_refused(self, server: ScriptedServer, gcs_store: Store, status: int) -> None:
        server.replies = [Reply(status)]
        assert gcs_store.lock_policy() is None

    def test_unreachable(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [Reply(503)]
        with pytest.raises(StorageError) as caught:
            gcs_store.lock_policy()
        assert caught.value.retryable
