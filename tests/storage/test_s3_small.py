"""Small objects of S3: through obstore where that is known to do the same, and as before where it is not."""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme

from airflow_provider_vectorbackup.exceptions import ObjectChanged, ObjectNotFound, StorageError
from airflow_provider_vectorbackup.storage.s3 import S3Store
from airflow_provider_vectorbackup.storage.s3_reading import SMALL_BYTES
from tests.scripted_server import Reply, ScriptedServer, Seen, scripted_server
from tests.storage.conftest import KEY
from tests.storage.test_s3_requests import NO_SUCH_KEY, Expiring, is_by_boto3, open_at, streamed

CONTENT = b"descriptor"
WHOLE = Reply(200, CONTENT, {"ETag": '"1"'})
PART = Reply(
    206,
    CONTENT,
    {"ETag": '"1"', "Content-Range": "bytes 0-9/10", "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"},
)
REFUSED = Reply(503, b"")
CHANGED = Reply(412, b"<Error><Code>PreconditionFailed</Code></Error>")


def by(seen: Seen) -> str:
    if is_by_boto3(seen):
        return "boto3"
    return "obstore" if "accept" in seen.headers else "lean"


def ways(server: ScriptedServer) -> list[str]:
    return [by(seen) for seen in server.seen]


def small(store: S3Store, **wanted: Any) -> bytes:
    return streamed(store, end=len(CONTENT), **wanted)


def stored(content: bytes) -> Reply:
    return Reply(200, b"", {"ETag": f'"{hashlib.md5(content).hexdigest()}"'})


class TestReading:
    def test_first_shows_the_way(self) -> None:
        with scripted_server(PART) as server, closing(open_at(server, region="eu-north-1")) as store:
            assert [small(store, etag='"1"') for _ in range(2)] == [CONTENT] * 2
            first, second = server.seen
        assert [by(first), by(second)] == ["boto3", "obstore"]
        assert first.target == second.target == f"/bucket/backups/{KEY}"
        assert first.headers["User-Agent"] == second.headers["user-agent"]
        assert (second.headers["range"], second.headers["if-match"]) == ("bytes=0-9", '"1"')
        assert "/eu-north-1/s3/aws4_request" in second.headers["authorization"]

    @pytest.mark.parametrize("end", [None, SMALL_BYTES + 1])
    def test_others(self, end: int | None) -> None:
        with scripted_server(WHOLE) as server, closing(open_at(server)) as store:
            streamed(store)
            with pytest.raises(StorageError, match="ranges"):
                streamed(store, start=1, end=end and end + 1)
            assert ways(server) == ["boto3", "lean"]

    @pytest.mark.parametrize("failure", [REFUSED, Reply(cut=True), Reply(307), Reply(400), WHOLE], ids=repr)
    def test_failure_is_asked_again(self, failure: Reply) -> None:
        with scripted_server(PART, failure, PART) as server, closing(open_at(server)) as store:
            assert [small(store) for _ in range(3)] == [CONTENT] * 3
            assert ways(server) == ["boto3", "obstore", "lean", "obstore"]

    def test_several_failures_in_a_row(self) -> None:
        replies = [PART, *[REFUSED, PART] * 3, PART]
        with scripted_server(*replies) as server, closing(open_at(server)) as store:
            for _ in range(5):
                assert small(store) == CONTENT
            assert ways(server) == ["boto3", *["obstore", "lean"] * 3, "lean"]

    def test_objects_that_are_gone_are_no_failures(self) -> None:
        replies = [PART, *[NO_SUCH_KEY] * 12, PART]
        with scripted_server(*replies) as server, closing(open_at(server)) as store:
            assert small(store) == CONTENT
            for _ in range(4):
                with pytest.raises(ObjectNotFound):
                    small(store)
            assert small(store) == CONTENT
            assert ways(server) == ["boto3", *["obstore", "lean", "boto3"] * 4, "obstore"]

    @pytest.mark.parametrize("replies", [[CHANGED], [PART]], ids=["refused", "passed over"])
    def test_other_content(self, replies: list[Reply]) -> None:
        with scripted_server(PART, *replies) as server, closing(open_at(server)) as store:
            small(store)
            with pytest.raises(ObjectChanged):
                small(store, etag='"2"')
            assert ways(server)[:2] == ["boto3", "obstore"]

    def test_object_that_is_shorter(self) -> None:
        short = Reply(206, b"des", {**PART.headers, "Content-Range": "bytes 0-2/3"})
        with scripted_server(PART, short) as server, closing(open_at(server)) as store:
            small(store)
            with pytest.raises(StorageError, match="it ends after 3 bytes"):
                small(store)

    def test_credentials_that_expire(self) -> None:
        expiring = Expiring()
        with scripted_server(PART) as server, expiring.store(server) as store:
            for _ in range(3):
                assert small(store) == CONTENT
                expiring.expire()
            assert ways(server) == ["boto3", "obstore", "obstore"]
            tokens = [{**seen.headers}.get("x-amz-security-token") for seen in server.seen[1:]]
            assert tokens == ["token-2", "token-3"]


def watched(store: S3Store) -> None:
    store._client.meta.events.register("before-send.s3.GetObject", lambda **_: None)


class TestWhatItIsNotToldOf:
    """Then the way is the one of before."""

    @pytest.mark.parametrize(
        ("config", "prepare"),
        [
            ({}, watched),
            ({"s3": {"payload_signing_enabled": True}}, lambda _store: None),
            ({"s3": {"payload_signing_enabled": False}}, lambda _store: None),
        ],
        ids=["hooks", "signing", "not signing"],
    )
    def test_settings(self, config: dict[str, Any], prepare: Callable[[S3Store], None]) -> None:
        with scripted_server(PART) as server, closing(open_at(server, config=config)) as store:
            prepare(store)
            assert [small(store) for _ in range(2)] == [CONTENT] * 2
            assert ways(server) == ["boto3", "lean"]

    def test_hooks_that_come_later(self) -> None:
        with scripted_server(PART) as server, closing(open_at(server)) as store:
            assert [small(store) for _ in range(2)] == [CONTENT] * 2
            watched(store)
            assert small(store) == CONTENT
            assert ways(server) == ["boto3", "obstore", "lean"]

    @pytest.mark.parametrize(
        "name", ["AWS_SSE_KMS_KEY_ID", "AWS_SERVER_SIDE_ENCRYPTION", "HTTPS_PROXY", "AWS_PROXY_URL"]
    )
    def test_variables(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, "http://proxy.invalid")
        with scripted_server(PART) as server, closing(open_at(server)) as store:
            assert [small(store) for _ in range(2)] == [CONTENT] * 2
            assert ways(server) == ["boto3", "lean"]

    def test_proxy(self) -> None:
        with scripted_server(PART) as server:
            config = {"proxies": {"http": server.url}}
            with closing(open_at(server, endpoint_url="http://storage.invalid", config=config)) as store:
                assert [small(store) for _ in range(2)] == [CONTENT] * 2
            assert ways(server) == ["boto3", "lean"]

    @pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
    @pytest.mark.parametrize("is_told", [True, False])
    def test_certificates(self, tmp_path: Path, is_told: bool) -> None:
        """It would take those that it knows beside those of the bundle."""
        authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        verify = str(tmp_path / "ca.pem") if is_told else False
        with scripted_server(PART, tls=tls) as server, closing(open_at(server, verify=verify)) as store:
            assert [small(store) for _ in range(2)] == [CONTENT] * 2
            assert ways(server) == ["boto3", "lean" if is_told else "obstore"]

    def test_forked_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It has none of the library's threads."""
        with scripted_server(PART) as server, closing(open_at(server)) as store:
            assert [small(store) for _ in range(2)] == [CONTENT] * 2
            process = os.getpid()
            monkeypatch.setattr(os, "getpid", lambda: process + 1)
            assert small(store) == CONTENT
            assert ways(server) == ["boto3", "obstore", "lean"]

    @pytest.mark.parametrize("key", ["a b", "ä", "a%2Fb", "a+b", "a~b"])
    def test_names_that_are_not_plain(self, key: str) -> None:
        with scripted_server(PART) as server, closing(open_at(server)) as store:
            for _ in range(2):
                assert b"".join(store.stream(key, end=len(CONTENT))) == CONTENT
            assert ways(server) == ["boto3", "lean"]


class TestWriting:
    def test_content_is_signed(self) -> None:
        with scripted_server(stored(CONTENT)) as server, closing(open_at(server)) as store:
            for _ in range(2):
                assert store.write(KEY, [CONTENT[:3], CONTENT[3:]], len(CONTENT)) == stored(CONTENT).headers["ETag"]
            assert ways(server) == ["boto3", "obstore"]
            assert [seen.body for seen in server.seen] == [CONTENT] * 2
            assert server.seen[1].headers["x-amz-content-sha256"] == hashlib.sha256(CONTENT).hexdigest()

    def test_etag_of_other_content(self) -> None:
        """It is written once more, so that the server compares it."""
        replies = [stored(CONTENT), stored(b"other"), stored(CONTENT)]
        with scripted_server(*replies) as server, closing(open_at(server)) as store:
            for _ in range(3):
                assert store.write(KEY, [CONTENT], len(CONTENT)) == stored(CONTENT).headers["ETag"]
            assert ways(server) == ["boto3", "obstore", "lean", "obstore"]
            assert "Content-MD5" in server.seen[2].headers

    def test_etags_that_tell_nothing(self) -> None:
        """As those of encrypted objects: the first one shows it, which boto3 had the server compare."""
        with scripted_server(stored(b"encrypted")) as server, closing(open_at(server)) as store:
            for _ in range(3):
                assert store.write(KEY, [CONTENT], len(CONTENT)) == stored(b"encrypted").headers["ETag"]
            assert ways(server) == ["boto3", "obstore", "obstore"]

    def test_encryption_that_is_found_later(self) -> None:
        with scripted_server(stored(CONTENT), stored(b"encrypted")) as server, closing(open_at(server)) as store:
            for _ in range(3):
                store.write(KEY, [CONTENT], len(CONTENT))
            assert ways(server) == ["boto3", "obstore", "lean", "obstore"]

    def test_refusal_is_boto3s(self) -> None:
        denied = Reply(403, b"<Error><Code>AccessDenied</Code></Error>")
        with scripted_server(stored(CONTENT), denied) as server, closing(open_at(server)) as store:
            store.write(KEY, [CONTENT], len(CONTENT))
            with pytest.raises(StorageError, match="can't be written: S3 answered 403 AccessDenied"):
                store.write(KEY, [CONTENT], len(CONTENT))
            assert ways(server) == ["boto3", "obstore", "lean", "boto3"]
