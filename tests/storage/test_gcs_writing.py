"""Writing to Google, where its stand-in does not do as it does: parts, lost answers, batches, long copies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import (
    DeletionFailed,
    ObjectChanged,
    ObjectNotFound,
    StorageError,
    StorageUnreachable,
)
from airflow_provider_vectorbackup.storage import gcs
from airflow_provider_vectorbackup.storage.gcs import GCSStore
from airflow_provider_vectorbackup.storage.store import Store, StoredObject
from tests.scripted_server import Reply, ScriptedServer
from tests.storage.conftest import KEY
from tests.storage.gcs_answers import CONTENT, NAME, PART, SIZE, UPLOAD_ID, begun, crc32c, kept, media, stored


@pytest.fixture
def small_gcs_parts(small_gcs_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also have even small objects written in parts."""
    monkeypatch.setattr(gcs, "SMALL_BYTES", 7)
    monkeypatch.setattr(GCSStore, "part_limits", replace(GCSStore.part_limits, whole_bytes=7))


@pytest.mark.usefixtures("small_gcs_parts")
class TestWrite:
    def write(self, gcs_store: Store) -> None:
        gcs_store.write(KEY, [CONTENT[:1000], CONTENT[1000:]], SIZE)

    def ranges(self, server: ScriptedServer) -> list[str]:
        return [seen.headers["Content-Range"] for seen in server.seen if seen.method == "PUT"]

    def test_small(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [stored(b"content")]
        assert gcs_store.write(KEY, [b"con", b"tent"], 7) == "7"
        (seen,) = server.seen
        assert seen.target == f"/upload/storage/v1/b/bucket/o?uploadType=media&name={NAME}"
        assert seen.body == b"content"
        assert seen.headers["X-Goog-Hash"] == f"crc32c={crc32c(b'content')}"

    def test_parts(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [begun(server), kept(PART), kept(2 * PART), stored()]
        self.write(gcs_store)
        begin, first, second, last = server.seen
        assert begin.target == f"/upload/storage/v1/b/bucket/o?uploadType=resumable&name={NAME}"
        assert begin.headers["X-Upload-Content-Length"] == str(SIZE)
        assert first.body + second.body + last.body == CONTENT
        assert last.headers["Content-Range"] == f"bytes {2 * PART}-{SIZE - 1}/{SIZE}"
        assert last.headers["X-Goog-Hash"] == f"crc32c={crc32c(CONTENT)}"
        assert "X-Goog-Hash" not in first.headers

    def test_part_that_was_kept_in_part(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [begun(server), kept(1000), kept(PART), kept(2 * PART), kept(SIZE - 1), stored()]
        self.write(gcs_store)
        _, first, again, *_, last = server.seen
        assert again.body == first.body[1000:]
        assert self.ranges(server)[1] == f"bytes 1000-{PART - 1}/{SIZE}"
        assert last.body == CONTENT[-1:]
        assert last.headers["X-Goog-Hash"] == f"crc32c={crc32c(CONTENT)}"

    @pytest.mark.parametrize("failure", [Reply(503), Reply(429), Reply(cut=True)], ids=["503", "429", "cut"])
    def test_part_that_failed_in_passing(self, server: ScriptedServer, gcs_store: Store, failure: Reply) -> None:
        server.replies = [begun(server), failure, kept(PART), failure, kept(2 * PART), failure, stored()]
        self.write(gcs_store)
        ranges = self.ranges(server)
        assert ranges[::2] == ranges[1::2]
        assert len(set(ranges)) == 3

    def assert_given_up(self, server: ScriptedServer, gcs_store: Store) -> StorageError:
        with pytest.raises(StorageError, match=r"backup_config\.json can't be written: ") as caught:
            self.write(gcs_store)
        (cancel,) = [seen for seen in server.seen if seen.method == "DELETE"]
        assert cancel.target.endswith(UPLOAD_ID)
        error: BaseException | None = caught.value
        while error:
            assert UPLOAD_ID not in f"{error}{error!r}"
            error = error.__cause__ or error.__context__
        return caught.value

    @pytest.mark.parametrize("answer", [Reply(503), Reply(cut=True), Reply(404), Reply(410)])
    def test_part_that_fails_for_good(self, server: ScriptedServer, gcs_store: Store, answer: Reply) -> None:
        server.replies = [begun(server), kept(PART), answer]
        assert self.assert_given_up(server, gcs_store).retryable

    def test_refused(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [begun(server), Reply(403, b"no storage.objects.delete access")]
        error = self.assert_given_up(server, gcs_store)
        assert not error.retryable
        assert "storage.objects.delete where it replaces" in error.hint

    @pytest.mark.parametrize("end", [0, PART - 1, 3 * PART])
    def test_kept_is_what_can_not_be(self, server: ScriptedServer, gcs_store: Store, end: int) -> None:
        server.replies = [begun(server), kept(PART), kept(end)]
        assert self.assert_given_up(server, gcs_store).retryable

    def test_never_ended(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [begun(server), kept(PART), kept(2 * PART), kept(SIZE), Reply(499), Reply(404)]
        assert self.assert_given_up(server, gcs_store).retryable

    def test_not_begun(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [Reply(200, b"")]
        with pytest.raises(StorageUnreachable, match="no upload was begun"):
            self.write(gcs_store)

    def test_lost_answer_to_the_last_part(self, server: ScriptedServer, gcs_store: Store) -> None:
        """The object is there: no error."""
        server.replies = [begun(server), kept(PART), kept(2 * PART), Reply(404), Reply(499), stored()]
        self.write(gcs_store)
        assert server.seen[-1].target == f"/storage/v1/b/bucket/o/{NAME}?fields=size%2Ccrc32c%2Cgeneration"

    @pytest.mark.parametrize(
        "found",
        [
            Reply(404),
            stored(b"of others"),
            stored(changes={"crc32c": "AAAAAA=="}),
            stored(changes={"crc32c": ""}),
            Reply(200, b"{}"),
        ],
    )
    def test_lost_last_part(self, server: ScriptedServer, gcs_store: Store, found: Reply) -> None:
        server.replies = [begun(server), kept(PART), kept(2 * PART), Reply(404), Reply(499), found]
        self.assert_given_up(server, gcs_store)

    def test_source_that_fails_where_its_beginning_lies(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [begun(server), kept(PART), Reply(499), stored(CONTENT[:PART])]

        def pieces() -> Iterator[bytes]:
            yield CONTENT[: PART + 1]
            raise ConnectionResetError("of the source")

        with pytest.raises(ConnectionResetError, match="of the source"):
            gcs_store.write(KEY, pieces(), SIZE)

    @pytest.mark.parametrize("changes", [{"crc32c": "AAAAAA=="}, {"size": "1"}])
    def test_another_content_was_stored(
        self, server: ScriptedServer, gcs_store: Store, changes: dict[str, str]
    ) -> None:
        """It is taken away: that very one."""
        server.replies = [begun(server), kept(PART), kept(2 * PART), stored(changes=changes), Reply(204, b"")]
        with pytest.raises(StorageUnreachable, match="does not fit its checksum"):
            self.write(gcs_store)
        assert server.seen[-1].method == "DELETE"
        assert server.seen[-1].target == f"/storage/v1/b/bucket/o/{NAME}?generation=7"

    def test_answer_of_what_is_no_store(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [Reply(200, b"<html>Welcome</html>")]
        with pytest.raises(StorageUnreachable):
            gcs_store.write(KEY, [b"content"], 7)


def test_created_before_the_answer_was_lost(server: ScriptedServer, gcs_store: Store) -> None:
    server.replies = [Reply(cut=True), Reply(412), media(b"mine")]
    assert gcs_store.create(KEY, b"mine") is True
    assert server.seen[0].target.endswith(f"name={NAME}&ifGenerationMatch=0")


class TestDelete:
    KEYS = ("b1/a", "b1/b", "b1/c")

    def batch(self, *statuses: int | None) -> Reply:
        """Return the answer to a batch: a status each, None for none."""
        parts = [
            f"--x\r\nContent-Type: application/http\r\nContent-ID: <response-{number}>\r\n\r\n"
            f"HTTP/1.1 {status} Of it\r\nContent-Type: application/json\r\n\r\n"
            f"{json.dumps({'error': {'message': f'Words {status}.'}}) if status != 204 else ''}\r\n"
            for number, status in enumerate(statuses)
            if status
        ]
        # In any order.
        return Reply(
            200, "".join([*reversed(parts), "--x--"]).encode(), {"Content-Type": "multipart/mixed; boundary=x"}
        )

    def test_request(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [self.batch(204, 204, 204)]
        gcs_store.delete(self.KEYS)
        (seen,) = server.seen
        assert seen.target == "/batch/storage/v1"
        for key in ("a", "b", "c"):
            assert f"\r\n\r\nDELETE /storage/v1/b/bucket/o/backups%2Fb1%2F{key} HTTP/1.1\r\n".encode() in seen.body

    def test_hundred_a_request(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [self.batch(*[204] * 100)] * 2 + [self.batch(204)]
        gcs_store.delete(f"b1/{number}" for number in range(201))
        assert [seen.body.count(b"DELETE") for seen in server.seen] == [100, 100, 1]

    def test_refused(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [self.batch(204, 403, 204)]
        with pytest.raises(DeletionFailed, match="1 object of gs://conn@bucket/backups can't be deleted") as caught:
            gcs_store.delete(self.KEYS)
        assert caught.value.reasons == {"b1/b": "Google answered 403: Words 403."}
        assert "storage.objects.delete" in caught.value.hint

    @pytest.mark.parametrize("status", [503, 429, None])
    def test_failed_in_passing(self, server: ScriptedServer, gcs_store: Store, status: int | None) -> None:
        """And what is not answered was not deleted."""
        server.replies = [self.batch(204, status, 204), Reply(503), Reply(204, b"")]
        gcs_store.delete(self.KEYS)
        assert server.seen[-1].target == "/storage/v1/b/bucket/o/backups%2Fb1%2Fb"

    def test_not_answered_at_all(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [Reply(200, b"<html>Welcome</html>"), Reply(403)]
        with pytest.raises(DeletionFailed) as caught:
            gcs_store.delete(self.KEYS)
        assert list(caught.value.reasons) == list(self.KEYS)

    def test_absent(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [self.batch(404, 204, 404), Reply(200, b"{}")]
        gcs_store.delete(self.KEYS)
        assert len(server.seen) == 2

    def test_missing_bucket(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [self.batch(404, 404, 404), Reply(404, b'{"error": {"message": "No such bucket."}}')]
        with pytest.raises(StorageError, match="No such bucket") as caught:
            gcs_store.delete(self.KEYS)
        assert not caught.value.retryable

    @pytest.mark.parametrize(("answer", "retryable"), [(Reply(503), True), (Reply(403), False)])
    def test_no_batch(self, server: ScriptedServer, gcs_store: Store, answer: Reply, retryable: bool) -> None:
        server.replies = [answer]
        with pytest.raises(StorageError, match=r"gs://conn@bucket/backups/.* can't be deleted") as caught:
            gcs_store.delete(self.KEYS)
        assert caught.value.retryable is retryable


def copied() -> Reply:
    return Reply(200, b'{"done": true, "resource": {"generation": "7", "size": "3", "crc32c": "AAAAAA=="}}')


def listed(etag: str) -> StoredObject:
    return StoredObject("b1/x", 3, etag, datetime.now(UTC))


class TestCopy:
    SOURCE = Location.parse("gs://other/old")

    def test_of_several_steps(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [Reply(200, b'{"done": false, "rewriteToken": "t1"}'), copied()]
        assert gcs_store.copy(self.SOURCE, "b1/x", "b2/x") == "7"
        first, second = server.seen
        assert first.target == "/storage/v1/b/other/o/old%2Fb1%2Fx/rewriteTo/b/bucket/o/backups%2Fb2%2Fx"
        assert second.target == f"{first.target}?rewriteToken=t1"
        assert first.body == second.body == b""

    def test_listed_one(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [Reply(200, b'{"done": false, "rewriteToken": "t1"}'), copied()]
        gcs_store.copy(self.SOURCE, "b1/x", "b2/x", listed=listed("5"))
        for seen in server.seen:
            assert "sourceGeneration=5" in seen.target
            assert "ifSourceGenerationMatch=5" in seen.target

    @pytest.mark.parametrize("status", [404, 412])
    @pytest.mark.parametrize(
        ("there", "kind"), [("5", StorageError), ("6", ObjectChanged), (None, ObjectNotFound)], ids=str
    )
    def test_refused(
        self, server: ScriptedServer, gcs_store: Store, status: int, there: str | None, kind: type[StorageError]
    ) -> None:
        items = [{"name": "old/b1/x", "generation": there}] if there else []
        server.replies = [Reply(status), Reply(200, json.dumps({"items": items}).encode())]
        with pytest.raises(StorageError) as caught:
            gcs_store.copy(self.SOURCE, "b1/x", "b2/x", listed=listed("5"))
        assert type(caught.value) is kind

    def test_neither_ended_nor_to_be_gone_on_with(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [Reply(200, b"{}")]
        with pytest.raises(StorageUnreachable, match="b2/x can't be written"):
            gcs_store.copy(self.SOURCE, "b1/x", "b2/x")

    def test_missing_target_bucket(self, server: ScriptedServer, gcs_store: Store) -> None:
        there = json.dumps({"items": [{"name": "old/b1/x"}]}).encode()
        server.replies = [Reply(404, b"No such bucket."), Reply(200, there)]
        with pytest.raises(StorageError, match="bucket/backups/b2/x can't be written: Google answered 404"):
            gcs_store.copy(self.SOURCE, "b1/x", "b2/x")
