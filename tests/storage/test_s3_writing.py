"""What S3 is sent of objects and parts that are not small, so that it compares them at little cost."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from collections.abc import Iterator
from contextlib import closing

import pytest

from airflow_provider_vectorbackup.exceptions import ObjectNotFound, StorageUnreachable
from airflow_provider_vectorbackup.storage.s3 import S3Store
from airflow_provider_vectorbackup.storage.s3_writing import Buffers
from airflow_provider_vectorbackup.storage.store import PART_BYTES, Part
from tests.scripted_server import Reply, ScriptedServer, Seen, scripted_server
from tests.storage.conftest import KEY
from tests.storage.test_s3_requests import is_by_boto3, open_at

LARGE = random.Random(0).randbytes(2**20 + 1)
CRC32 = base64.b64encode(zlib.crc32(LARGE).to_bytes(4, "big")).decode()
MD5 = base64.b64encode(hashlib.md5(LARGE).digest()).decode()
BEGUN_XML = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
BEGUN = Reply(200, BEGUN_XML, {"x-amz-checksum-algorithm": "CRC32"})
OLD_BEGUN = Reply(200, BEGUN_XML)
PLAIN = Reply(200, b"", {"ETag": '"1"'})
ECHO = Reply(200, b"", {"ETag": '"1"', "x-amz-checksum-crc32": CRC32})
OTHER = Reply(200, b"", {"ETag": '"1"', "x-amz-checksum-crc32": "AAAAAA=="})
NOT_UNDERSTOOD = Reply(400, b"<Error><Code>InvalidArgument</Code></Error>")
NO_SUCH_UPLOAD = Reply(404, b"<Error><Code>NoSuchUpload</Code></Error>")
COMPLETE = Reply(200, b"<CompleteMultipartUploadResult><ETag>&quot;9-1&quot;</ETag></CompleteMultipartUploadResult>")
PART = Part(1, 0, len(LARGE))


def write(store: S3Store) -> str:
    return store.write(KEY, [LARGE[:7], LARGE[7:]], len(LARGE))


def put_part(store: S3Store, upload_id: str = "u1") -> str:
    return store.put_part(KEY, upload_id, PART, [LARGE[:7], LARGE[7:]])


def checksums(seen: Seen) -> set[str]:
    """Return which of the two went with a request, and make sure of them."""
    sent = {name.lower(): value for name, value in seen.headers.items()}
    found = {"x-amz-checksum-crc32": CRC32, "content-md5": MD5}.items() & sent.items()
    assert len(found) == len({"x-amz-checksum-crc32", "content-md5"} & sent.keys())
    assert all(f"{name};" in sent["authorization"] for name, _ in found)
    assert seen.body == LARGE
    return {"crc32" if name.endswith("crc32") else "md5" for name, _ in found}


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the first request, which is boto3's, be another one."""
    opened = S3Store.__init__

    def open_and_read(self: S3Store, *given: object) -> None:
        opened(self, *given)  # type: ignore[arg-type]
        self.read(KEY)

    monkeypatch.setattr(S3Store, "__init__", open_and_read)


READ = Reply(200, b"x", {"ETag": '"0"'})


@pytest.mark.usefixtures("learned")
class TestObjects:
    def test_crc32_alone_once_the_server_repeats_it(self) -> None:
        with scripted_server(READ, ECHO) as server, closing(open_at(server)) as store:
            assert [write(store) for _ in range(3)] == ['"1"'] * 3
            assert [checksums(seen) for seen in server.seen[1:]] == [{"crc32", "md5"}, {"crc32"}, {"crc32"}]
            assert {seen.headers["X-Amz-Content-SHA256"] for seen in server.seen[1:]} == {"UNSIGNED-PAYLOAD"}
            assert not any(map(is_by_boto3, server.seen[1:]))

    def test_both_as_long_as_it_does_not(self) -> None:
        with scripted_server(READ, PLAIN) as server, closing(open_at(server)) as store:
            assert [write(store) for _ in range(2)] == ['"1"'] * 2
            assert [checksums(seen) for seen in server.seen[1:]] == [{"crc32", "md5"}] * 2

    def test_server_that_repeats_it_no_more(self) -> None:
        with scripted_server(READ, ECHO, PLAIN) as server, closing(open_at(server)) as store:
            assert [write(store) for _ in range(2)] == ['"1"'] * 2
            assert [checksums(seen) for seen in server.seen[2:]] == [{"crc32"}, {"md5"}]
            assert is_by_boto3(server.seen[-1])

    @pytest.mark.parametrize("replies", [[OTHER], [ECHO, OTHER]])
    def test_other_bytes_arrived(self, replies: list[Reply]) -> None:
        with scripted_server(READ, *replies) as server, closing(open_at(server)) as store:
            for _ in replies[1:]:
                write(store)
            with pytest.raises(StorageUnreachable, match=f"can't be written: .*is AAAAAA==, not {CRC32}"):
                write(store)

    def test_refusal_of_the_checksum(self) -> None:
        with scripted_server(READ, NOT_UNDERSTOOD, PLAIN) as server, closing(open_at(server)) as store:
            assert write(store) == '"1"'
            assert [checksums(seen) for seen in server.seen[1:]] == [{"crc32", "md5"}, {"md5"}]

    @pytest.mark.parametrize("signs", [False, True])
    def test_signed_content(self, signs: bool) -> None:
        """By the settings of the connection; its checksums are signed anyway."""
        config = {"s3": {"payload_signing_enabled": signs}}
        signed = hashlib.sha256(LARGE).hexdigest() if signs else "UNSIGNED-PAYLOAD"
        with scripted_server(READ, ECHO) as server, closing(open_at(server, config=config)) as store:
            for _ in range(2):
                write(store)
            assert [seen.headers["X-Amz-Content-SHA256"] for seen in server.seen[1:]] == [signed] * 2


class TestParts:
    def sent(self, server: ScriptedServer) -> list[set[str]]:
        return [checksums(seen) for seen in server.seen if seen.method == "PUT"]

    def test_receipts(self) -> None:
        with scripted_server(BEGUN, ECHO, COMPLETE) as server, closing(open_at(server)) as store:
            assert store.begin_upload(KEY, len(LARGE), "scratch") == "u1"
            receipt = put_part(store)
            assert store.finish_upload(KEY, "u1", len(LARGE), [receipt]) == '"9-1"'
            begin, put, finish = server.seen
        assert begin.headers["x-amz-checksum-algorithm"] == "CRC32"
        assert checksums(put) == {"crc32"}
        assert not is_by_boto3(put)
        assert put.target.endswith("?partNumber=1&uploadId=u1")
        assert b'<ETag>"1"</ETag>' in finish.body or b"<ETag>&quot;1&quot;</ETag>" in finish.body
        assert f"<ChecksumCRC32>{CRC32}</ChecksumCRC32>".encode() in finish.body

    def test_another_process_goes_on(self) -> None:
        """Its first request is boto3's."""
        with scripted_server(ECHO) as server, closing(open_at(server)) as store:
            assert [put_part(store) for _ in range(2)] == [f'"1" {CRC32}'] * 2
            assert [is_by_boto3(seen) for seen in server.seen] == [True, False]
            assert self.sent(server) == [{"crc32", "md5"}] * 2

    def test_server_that_knows_no_checksums(self) -> None:
        with scripted_server(OLD_BEGUN, PLAIN, COMPLETE) as server, closing(open_at(server)) as store:
            store.begin_upload(KEY, len(LARGE), "scratch")
            receipt = put_part(store)
            store.finish_upload(KEY, "u1", len(LARGE), [receipt])
            assert receipt == '"1"'
            assert self.sent(server) == [{"crc32", "md5"}]
            assert b"Checksum" not in server.seen[-1].body

    def test_server_that_refuses_checksums(self) -> None:
        refusals = (NOT_UNDERSTOOD, OLD_BEGUN, NOT_UNDERSTOOD, NOT_UNDERSTOOD, PLAIN)
        with scripted_server(*refusals) as server, closing(open_at(server)) as store:
            assert store.begin_upload(KEY, len(LARGE), "scratch") == "u1"
            assert put_part(store) == '"1"'
            assert self.sent(server) == [{"crc32", "md5"}, {"crc32", "md5"}, {"md5"}]

    def test_other_bytes_arrived(self) -> None:
        with scripted_server(BEGUN, OTHER) as server, closing(open_at(server)) as store:
            store.begin_upload(KEY, len(LARGE), "scratch")
            with pytest.raises(StorageUnreachable, match="other bytes than were sent"):
                put_part(store)

    def test_answer_without_the_checksum(self) -> None:
        """Then it is not known that anybody compared anything."""
        with scripted_server(BEGUN, PLAIN) as server, closing(open_at(server)) as store:
            store.begin_upload(KEY, len(LARGE), "scratch")
            assert put_part(store) == '"1"'
            assert self.sent(server) == [{"crc32"}, {"crc32", "md5"}]

    def test_upload_that_is_gone(self) -> None:
        with scripted_server(NO_SUCH_UPLOAD) as server, closing(open_at(server)) as store:
            with pytest.raises(ObjectNotFound, match="can't be written: S3 answered 404 NoSuchUpload"):
                put_part(store)
            with pytest.raises(ObjectNotFound):
                store.finish_upload(KEY, "u1", len(LARGE), ['"1"'])

    def test_part_that_is_missing(self) -> None:
        missing = Reply(400, b"<Error><Code>InvalidPart</Code></Error>")
        with scripted_server(missing) as server, closing(open_at(server)) as store, pytest.raises(ObjectNotFound):
            store.finish_upload(KEY, "u1", len(LARGE), ['"1"'])


class TestBuffers:
    def test_memory_is_used_again(self) -> None:
        buffers, seen = Buffers(), []
        for size in (PART_BYTES, 2**20 + 1, PART_BYTES):
            with buffers.joined([b"x" * (size - 1), b"y"], size) as content:
                assert (len(content), bytes(content[-2:])) == (size, b"xy")
                assert isinstance(content, memoryview)
                seen.append(content.obj)
        assert len({id(memory) for memory in seen}) == 1

    def test_several_at_once(self) -> None:
        buffers = Buffers()
        with buffers.joined([LARGE], len(LARGE)) as first, buffers.joined([LARGE[::-1]], len(LARGE)) as second:
            assert (first, second) == (LARGE, LARGE[::-1])

    def test_larger_parts(self) -> None:
        buffers = Buffers()
        for size in (PART_BYTES, PART_BYTES + 2**20):
            with buffers.joined([bytes(size)], size) as content:
                assert len(content) == size

    def test_source_that_fails(self) -> None:
        def pieces() -> Iterator[bytes]:
            yield b"x"
            raise ConnectionResetError

        buffers = Buffers()
        with pytest.raises(ConnectionResetError), buffers.joined(pieces(), len(LARGE)):
            pass
        with buffers.joined([LARGE], len(LARGE)) as content:
            assert content == LARGE
