"""Requests that move bytes: boto3's, and ours that are made after them."""

from __future__ import annotations

import random
import secrets
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import trustme
from botocore.credentials import RefreshableCredentials
from botocore.session import Session

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import ObjectChanged, ObjectNotFound, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.s3 import S3Access, S3Store
from airflow_provider_vectorbackup.storage.store import PartLimits
from tests.scripted_server import Reply, ScriptedServer, Seen, scripted_server
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.storage.conftest import KEY, SECRET

CONTENT = Reply(200, b"descriptor", {"ETag": '"1"'})
NO_SUCH_KEY = Reply(404, b"<Error><Code>NoSuchKey</Code><Message>None.</Message></Error>")
BEGUN = Reply(200, b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
PART = Reply(200, b"", {"ETag": '"0"'})
COMPLETE = Reply(200, b"<CompleteMultipartUploadResult/>")
LARGE = random.Random(0).randbytes(2 * 2**20 + 1)


def open_at(server: ScriptedServer, **given: Any) -> S3Store:
    access = {"access_key_id": "id", "secret_access_key": SECRET, "region": "us-east-1", "endpoint_url": server.url}
    return S3Store(Location.parse("s3://conn@bucket/backups"), S3Access(**{**access, **given}))


def streamed(store: S3Store, **wanted: Any) -> bytes:
    return b"".join(store.stream(KEY, **wanted))


def is_by_boto3(seen: Seen) -> bool:
    return "amz-sdk-invocation-id" in {name.lower() for name in seen.headers}


class TestRequests:
    """The first is boto3's, further ones are made after it."""

    def test_what_they_have_in_common(self) -> None:
        with scripted_server(CONTENT) as server, closing(open_at(server, region="eu-north-1")) as store:
            assert [streamed(store), streamed(store)] == [b"descriptor"] * 2
            first, second = server.seen
        assert [is_by_boto3(first), is_by_boto3(second)] == [True, False]
        assert first.target == second.target == f"/bucket/backups/{KEY}"
        assert first.headers["User-Agent"] == second.headers["User-Agent"]
        for seen in (first, second):
            assert "Credential=id/" in seen.headers["Authorization"]
            assert "/eu-north-1/s3/aws4_request" in seen.headers["Authorization"]

    def test_hooks_of_the_client_see_both(self) -> None:
        """For instance those of tracing, and of stand-ins inside the process."""
        operations: list[str] = []
        with scripted_server(CONTENT) as server, closing(open_at(server)) as store:
            store._client.meta.events.register("before-send.s3", lambda event_name, **_: operations.append(event_name))
            for _ in range(2):
                assert streamed(store) == b"descriptor"
            assert [is_by_boto3(seen) for seen in server.seen] == [True, False]
        assert operations == ["before-send.s3.GetObject"] * 2

    def test_conditions(self) -> None:
        part = Reply(206, b"scriptor", {"ETag": '"1"', "Content-Range": "bytes 2-9/10"})
        with scripted_server(part) as server, closing(open_at(server)) as store:
            for _ in range(2):
                assert streamed(store, start=2, etag='"1"') == b"scriptor"
            for seen in server.seen:
                assert (seen.headers["Range"], seen.headers["If-Match"]) == ("bytes=2-", '"1"')

    @pytest.mark.parametrize("failure", [Reply(503), Reply(cut=True), Reply(307), Reply(400)], ids=repr)
    def test_failure_is_asked_again_by_boto3(self, failure: Reply) -> None:
        with scripted_server(CONTENT, failure, CONTENT) as server, closing(open_at(server)) as store:
            for _ in range(3):
                assert streamed(store) == b"descriptor"
            assert [is_by_boto3(seen) for seen in server.seen] == [True, False, True, False]

    def test_object_that_is_gone(self) -> None:
        with scripted_server(CONTENT, NO_SUCH_KEY) as server, closing(open_at(server)) as store:
            assert streamed(store) == b"descriptor"
            assert store.read(KEY) is None
            with pytest.raises(ObjectNotFound, match="S3 answered 404 NoSuchKey: None"):
                streamed(store)

    def test_region_that_the_server_tells(self) -> None:
        error = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-north-1</Region></Error>"
        with scripted_server(Reply(400, error), CONTENT) as server, closing(open_at(server)) as store:
            for _ in range(2):
                assert streamed(store) == b"descriptor"
            assert not is_by_boto3(server.seen[-1])
            assert "/eu-north-1/s3/" in server.seen[-1].headers["Authorization"]

    def test_content_that_is_cut(self) -> None:
        cut = Reply(200, b"descri", {"Content-Length": "10"})
        with scripted_server(CONTENT, cut) as server, closing(open_at(server)) as store:
            assert streamed(store) == b"descriptor"
            with pytest.raises(StorageUnreachable, match="can't be read"):
                streamed(store)

    @pytest.mark.parametrize("algorithm", ["crc32", "sha256"])
    def test_checksum_that_does_not_fit(self, algorithm: str) -> None:
        wrong = Reply(200, b"descriptor", {f"x-amz-checksum-{algorithm}": "AAAAAA=="})
        with scripted_server(CONTENT, wrong) as server, closing(open_at(server)) as store:
            assert streamed(store) == b"descriptor"
            for _ in range(2):
                with pytest.raises(StorageError, match=r"can't be read: .*checksum"):
                    streamed(store)
            assert [is_by_boto3(seen) for seen in server.seen] == [True, False, False]

    @pytest.mark.parametrize("config", [{"signature_version": "unsigned"}, {"signature_version": "s3"}])
    def test_other_signatures_are_boto3s(self, config: dict[str, str]) -> None:
        with scripted_server(CONTENT) as server, closing(open_at(server, config=config)) as store:
            for _ in range(2):
                assert streamed(store) == b"descriptor"
            assert all(map(is_by_boto3, server.seen))

    def test_tls(self, tmp_path: Path) -> None:
        """Certificates are checked against the same bundle."""
        authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        with (
            scripted_server(Reply(200, b"", {"ETag": '"1"'}), tls=tls) as server,
            closing(open_at(server, verify=str(tmp_path / "ca.pem"))) as store,
        ):
            for _ in range(2):
                store.write(KEY, [b"content"], 7)
            assert [is_by_boto3(seen) for seen in server.seen] == [True, False]

    def test_proxy(self) -> None:
        with scripted_server(CONTENT) as server:
            config = {"proxies": {"http": server.url}}
            with closing(open_at(server, endpoint_url="http://storage.invalid", config=config)) as store:
                for _ in range(2):
                    assert streamed(store) == b"descriptor"
            assert [seen.target for seen in server.seen] == [f"http://storage.invalid/bucket/backups/{KEY}"] * 2
            assert [is_by_boto3(seen) for seen in server.seen] == [True, False]

    def test_host_name_for_the_bucket(self) -> None:
        with scripted_server(CONTENT) as server:
            config = {"proxies": {"http": server.url}, "s3": {"addressing_style": "virtual"}}
            with closing(open_at(server, endpoint_url="http://storage.invalid", config=config)) as store:
                for _ in range(2):
                    assert streamed(store) == b"descriptor"
            assert [seen.target for seen in server.seen] == [f"http://bucket.storage.invalid/backups/{KEY}"] * 2


class TestServersThatPassOverConditions:
    def test_range(self) -> None:
        with (
            scripted_server(CONTENT) as server,
            closing(open_at(server)) as store,
            pytest.raises(StorageError, match="does not answer ranges"),
        ):
            streamed(store, start=3)

    def test_etag(self) -> None:
        with scripted_server(CONTENT) as server, closing(open_at(server)) as store, pytest.raises(ObjectChanged):
            streamed(store, etag='"2"')


class Expiring:
    """Credentials that are replaced once they expire; their ids count up."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)
        self.made = 0
        given = self.make()
        self.credentials = RefreshableCredentials(
            given["access_key"],
            given["secret_key"],
            given["token"],
            self.now + timedelta(hours=1),
            self.make,
            "a test",
            time_fetcher=lambda: self.now,
        )

    def make(self) -> dict[str, str]:
        self.made += 1
        expiry = self.now + timedelta(hours=1)
        return {
            "access_key": f"id-{self.made}",
            "secret_key": SECRET,
            "token": f"token-{self.made}",
            "expiry_time": expiry.isoformat(),
        }

    def expire(self) -> None:
        self.now += timedelta(hours=2)

    @contextmanager
    def store(self, server: ScriptedServer) -> Iterator[S3Store]:
        session = Session()
        session._credentials = self.credentials
        ready = boto3.Session(botocore_session=session, region_name="us-east-1")
        access = S3Access(session=ready, endpoint_url=server.url)
        with closing(S3Store(Location.parse("s3://conn@bucket/backups"), access)) as store:
            yield store


class TestExpiringCredentials:
    def ids(self, server: ScriptedServer) -> list[str]:
        for seen in server.seen:
            number = seen.headers["Authorization"].partition("Credential=id-")[2].partition("/")[0]
            assert seen.headers["X-Amz-Security-Token"] == f"token-{number}"
        return [seen.headers["X-Amz-Security-Token"] for seen in server.seen]

    def test_in_an_upload(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(S3Store, "part_limits", PartLimits(2**20, 2**20, 10_000, is_buffered=True))
        expiring = Expiring()

        def pieces() -> Iterator[bytes]:
            yield LARGE[:-1]
            expiring.expire()
            yield LARGE[-1:]

        replies = (BEGUN, PART, PART, PART, COMPLETE)
        with scripted_server(*replies) as server, expiring.store(server) as store:
            store.write(KEY, pieces(), len(LARGE))
            assert [is_by_boto3(seen) for seen in server.seen] == [True, False, False, False, True]
            assert self.ids(server) == ["token-1"] * 2 + ["token-2"] * 3

    def test_in_a_stream(self) -> None:
        """It goes on; the next one, and those after it, have new credentials."""
        expiring = Expiring()
        whole = Reply(200, LARGE)
        with scripted_server(whole) as server, expiring.store(server) as store:
            for _ in range(2):
                with closing(store.stream(KEY)) as stream:
                    received = next(stream)
                    expiring.expire()
                    assert received + b"".join(stream) == LARGE
            assert streamed(store) == LARGE
            assert [is_by_boto3(seen) for seen in server.seen] == [True, False, False]
            assert self.ids(server) == ["token-1", "token-2", "token-3"]

    @pytest.mark.services
    def test_that_a_server_made(self, minio: S3Settings) -> None:
        keys = {"aws_access_key_id": minio.access_key, "aws_secret_access_key": minio.secret_key}
        with closing(boto3.client("sts", endpoint_url=minio.url, region_name=minio.region, **keys)) as sts:
            given = sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/x", RoleSessionName="reader")["Credentials"]
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        session = boto3.Session(*(given[name] for name in names), region_name=minio.region)
        access = S3Access(session=session, endpoint_url=minio.url)
        with closing(S3Store(Location("s3", BUCKET, f"s3/{secrets.token_hex(4)}"), access)) as store:
            for key in ("b1/a", "b1/b"):
                store.write(key, [b"content"], 7)
                assert store.read(key) == b"content"
