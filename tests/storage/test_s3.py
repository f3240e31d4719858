"""What S3 alone needs: uploads in parts, copies in parts, and servers that are not Amazon's."""

from __future__ import annotations

import base64
import hashlib
import random
import secrets
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from botocore.exceptions import ConnectionClosedError

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import DeletionFailed, ObjectChanged, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage import s3
from airflow_provider_vectorbackup.storage.s3 import S3Access, S3Store
from airflow_provider_vectorbackup.storage.store import PartLimits
from tests.scripted_server import Reply, scripted_server
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.storage.conftest import KEY, open_s3

LARGE = random.Random(0).randbytes(11 * 2**20 + 1)


class TestCreate:
    CONFLICT = Reply(409, b"<Error><Code>ConditionalRequestConflict</Code></Error>")

    def test_conflict_that_passes(self) -> None:
        with scripted_server(self.CONFLICT, Reply(200, b"")) as server, closing(open_s3(server.url)) as store:
            assert store.create(KEY, b"mine") is True
            assert [seen.headers["If-None-Match"] for seen in server.seen] == ["*", "*"]

    def test_conflict_that_stays(self) -> None:
        with (
            scripted_server(self.CONFLICT) as server,
            closing(open_s3(server.url)) as store,
            pytest.raises(StorageUnreachable, match="can't be written: S3 answered 409"),
        ):
            store.create(KEY, b"mine")


class TestDelete:
    def test_some_that_are_refused(self) -> None:
        refused = "".join(
            f"<Error><Key>backups/{key}</Key><Code>AccessDenied</Code><Message>No.</Message></Error>" for key in "ac"
        )
        answer = Reply(200, f"<DeleteResult>{refused}</DeleteResult>".encode())
        with (
            scripted_server(answer) as server,
            closing(open_s3(server.url)) as store,
            pytest.raises(DeletionFailed, match="2 objects of s3://conn@bucket/backups can't be deleted") as caught,
        ):
            store.delete(iter("abc"))
        assert caught.value.reasons == dict.fromkeys("ac", "AccessDenied: No.")
        assert "s3:DeleteObject" in caught.value.hint

    def test_pages_and_their_checksums(self) -> None:
        """Older servers ask for Content-MD5."""
        with scripted_server(Reply(200, b"<DeleteResult/>")) as server, closing(open_s3(server.url)) as store:
            store.delete(f"b1/{number}" for number in range(1001))
            assert [seen.body.count(b"<Key>") for seen in server.seen] == [1000, 1]
            for seen in server.seen:
                assert base64.b64decode(seen.headers["Content-MD5"]) == hashlib.md5(seen.body).digest()

    def test_refusal_of_all(self) -> None:
        denied = Reply(403, b"<Error><Code>AccessDenied</Code></Error>")
        with (
            scripted_server(denied) as server,
            closing(open_s3(server.url)) as store,
            pytest.raises(StorageError, match="backups/a can't be deleted: S3 answered 403 AccessDenied"),
        ):
            store.delete(["a"])


SMALL_PARTS = PartLimits(5 * 2**20, 5 * 2**20, 10_000, is_buffered=True)
BEGUN = Reply(200, b"<InitiateMultipartUploadResult><UploadId>u/1+</UploadId></InitiateMultipartUploadResult>")
PART = Reply(200, b"", {"ETag": '"0"'})


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have uploads in parts of 5 MiB, the least that servers take."""
    monkeypatch.setattr(S3Store, "part_limits", SMALL_PARTS)
    monkeypatch.setattr(s3, "COPY_BYTES", SMALL_PARTS.least_bytes)


@pytest.mark.usefixtures("small_parts")
class TestUploads:
    def test_error_with_the_status_of_a_success(self) -> None:
        """As S3 answers where it began to answer before it knew."""
        failed = Reply(200, b"<Error><Code>InternalError</Code><Message>Again.</Message></Error>")
        replies = (BEGUN, PART, PART, PART, failed, failed, failed, Reply(204, b""))
        with (
            scripted_server(*replies) as server,
            closing(open_s3(server.url)) as store,
            pytest.raises(StorageUnreachable, match=r"can't be written: .*InternalError: Again"),
        ):
            store.write(KEY, [LARGE], len(LARGE))
        assert server.seen[-1].method == "DELETE"
        assert server.seen[-1].target.endswith("?uploadId=u%2F1%2B")

    @pytest.mark.services
    @pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_interrupt(self, minio_store: S3Store, end: type[BaseException]) -> None:
        def pieces() -> Iterator[bytes]:
            yield LARGE
            raise end

        with pytest.raises(end):
            minio_store.write(KEY, pieces(), len(LARGE) + 1)
        assert list(minio_store.list_unfinished_uploads(KEY)) == []
        assert minio_store.read(KEY) is None

    @pytest.mark.services
    def test_lost_answer_of_the_last_request(self, minio_store: S3Store) -> None:
        """It is asked again, and the upload is not there any more; the object is."""
        lost: list[str] = []

        def lose(request: Any, **_: object) -> None:
            if not lost:
                assert minio_store._client._endpoint.http_session.send(request).status_code == 200
                lost.append(request.url)
                raise ConnectionClosedError(endpoint_url=request.url)

        minio_store._client.meta.events.register("before-send.s3.CompleteMultipartUpload", lose)
        minio_store.write(KEY, [LARGE], len(LARGE))
        assert len(lost) == 1
        assert minio_store.read(KEY) == LARGE

    @pytest.mark.services
    def test_upload_that_someone_aborted(self, minio_store: S3Store) -> None:
        def pieces() -> Iterator[bytes]:
            yield LARGE[:-1]
            for upload in minio_store.list_unfinished_uploads(KEY):
                minio_store.abort(upload)
            yield LARGE[-1:]

        minio_store.write(KEY, [b"old"], 3)
        with pytest.raises(StorageError, match="can't be written: S3 answered 404 NoSuchUpload"):
            minio_store.write(KEY, pieces(), len(LARGE))
        assert minio_store.read(KEY) == b"old"

    @pytest.mark.services
    @pytest.mark.parametrize("key", ["chunk-1", "ä b+c%2F?#&=~'()*!\""])
    def test_copy_in_parts(self, minio_store: S3Store, key: str) -> None:
        minio_store.write(key, [LARGE], len(LARGE))
        minio_store.copy(minio_store._location, key, "copied")
        (copied,) = minio_store.list_objects("copied")
        assert copied.etag.endswith('-3"')
        assert minio_store.read("copied") == LARGE
        assert list(minio_store.list_unfinished_uploads("copied")) == []

    @pytest.mark.services
    def test_memory(self, minio_store: S3Store) -> None:
        """One part's worth, however large the object."""
        piece, pieces = bytes(2**20), 60
        minio_store.write("first", [piece], len(piece))
        tracemalloc.start()
        try:
            minio_store.write(KEY, (piece for _ in range(pieces)), len(piece) * pieces)
            assert tracemalloc.get_traced_memory()[1] < 2 * 5 * 2**20
        finally:
            tracemalloc.stop()


@pytest.fixture
def minio_store(minio: S3Settings) -> Iterator[S3Store]:
    access = S3Access(minio.access_key, minio.secret_key, region=minio.region, endpoint_url=minio.url)
    with closing(S3Store(Location("s3", BUCKET, f"s3/{secrets.token_hex(4)}"), access)) as store:
        yield store


@pytest.mark.services
def test_stream_from_the_end(minio_store: S3Store) -> None:
    """As one that goes on after all has come: S3 calls it an error."""
    minio_store.write(KEY, [b"content"], 7)
    (found,) = minio_store.list_objects()
    assert list(minio_store.stream(KEY, start=7)) == list(minio_store.stream(KEY, start=7, etag=found.etag)) == []
    with pytest.raises(StorageError, match="416 InvalidRange"):
        list(minio_store.stream(KEY, start=8))
    with pytest.raises(ObjectChanged):
        list(minio_store.stream(KEY, start=7, etag='"0"'))


def test_pages_of_unfinished_uploads() -> None:
    def page(key: str, rest: str) -> Reply:
        upload = f"<Key>backups/{key}</Key><UploadId>1</UploadId><Initiated>2026-01-01T00:00:00.000Z</Initiated>"
        listed = f"<EncodingType>url</EncodingType>{rest}<Upload>{upload}</Upload>"
        return Reply(200, f"<ListMultipartUploadsResult>{listed}</ListMultipartUploadsResult>".encode())

    more = "<IsTruncated>true</IsTruncated><NextKeyMarker>backups/a%2Bb+c</NextKeyMarker>"
    pages = (
        page("a%2Bb+c", f"{more}<NextUploadIdMarker>u%2B</NextUploadIdMarker>"),
        page("d", "<IsTruncated>false</IsTruncated>"),
    )
    with scripted_server(*pages) as server, closing(open_s3(server.url)) as store:
        assert [upload.key for upload in store.list_unfinished_uploads()] == ["a+b c", "d"]
        sent = dict(parse_qsl(server.seen[1].target.partition("?")[2]))
    assert (sent["key-marker"], sent["upload-id-marker"]) == ("backups/a+b c", "u%2B")


@pytest.mark.services
class TestListings:
    def test_names_that_xml_can_not_hold(self, minio_store: S3Store, minio: S3Settings) -> None:
        with minio.client() as client:
            for key in ("a\x01b", "line\nbreak"):
                client.put_object(Bucket=BUCKET, Key=f"{minio_store._location.prefix}/{key}", Body=b"")
        assert [found.key for found in minio_store.list_objects()] == ["a\x01b", "line\nbreak"]

    def test_unfinished_uploads_of_minio(self, minio_store: S3Store, minio: S3Settings) -> None:
        """It shows those to a name, or all of the bucket."""
        with minio.client() as client:
            for key in ("b1/x y+é", "b10/x"):
                client.create_multipart_upload(Bucket=BUCKET, Key=f"{minio_store._location.prefix}/{key}")
        for prefix in ("b1/", "b1/x y+é"):
            (upload,) = minio_store.list_unfinished_uploads(prefix)
            assert upload.key == "b1/x y+é"
            assert upload.started_at
            assert upload.started_at.utcoffset() == timedelta(0)
        for upload in minio_store.list_unfinished_uploads():
            minio_store.abort(upload)
        assert list(minio_store.list_unfinished_uploads()) == []
