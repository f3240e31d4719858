"""Listings of S3: boto3's pages, and ours that are made after them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from urllib.parse import parse_qs, quote, quote_plus

import pytest

from airflow_provider_vectorbackup.exceptions import StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.s3 import S3Store
from airflow_provider_vectorbackup.storage.s3_listing import Page, parse_page
from tests.scripted_server import Reply, ScriptedServer, Seen, scripted_server
from tests.storage.test_s3_requests import CONTENT, Expiring, is_by_boto3, open_at, streamed

AMAZON = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
WRITTEN_AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
URL, WHOLE = "<EncodingType>url</EncodingType>", "<IsTruncated>false</IsTruncated>"
ODD_KEY = "ä b+c%2F?#&=~'()*!\"<&amp;>\x01\n日本"


def entry(name: str, **changed: str) -> str:
    fields = {
        "Key": name,
        "LastModified": "2026-01-02T03:04:05.678Z",
        "ETag": "&quot;1&quot;",
        "Size": "10",
        "Owner": "<ID>1</ID><DisplayName/>",
    }
    told = "".join(f"<{field}>{value}</{field}>" for field, value in (fields | changed).items() if value != "-")
    return f"<Contents>{told}</Contents>"


def listing(*parts: str, space: str = AMAZON) -> bytes:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f"{head}<ListBucketResult{space}><Name>bucket</Name>{''.join(parts)}</ListBucketResult>".encode()


def page(*keys: str, token: str | None = None) -> Reply:
    more = (
        WHOLE
        if token is None
        else f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
    )
    return Reply(200, listing(URL, more, *(entry(quote_plus(f"backups/{key}")) for key in keys)))


def keys_of(store: S3Store, prefix: str = "") -> list[str]:
    return [found.key for found in store.list_objects(prefix)]


def ways(server: ScriptedServer) -> list[bool]:
    return [is_by_boto3(seen) for seen in server.seen]


def query(seen: Seen) -> dict[str, list[str]]:
    return parse_qs(seen.target.partition("?")[2], keep_blank_values=True, strict_parsing=True)


class TestParse:
    @pytest.mark.parametrize("space", [AMAZON, ""], ids=["Amazon's namespace", "none"])
    def test_page(self, space: str) -> None:
        more = "<IsTruncated>true</IsTruncated><NextContinuationToken>1/+=</NextContinuationToken>"
        body = listing(URL, entry("a"), more, entry("b", ETag="&#34;2-2&#34;", Size="0"), space=space)
        found = [("a", 10, '"1"', WRITTEN_AT), ("b", 0, '"2-2"', WRITTEN_AT)]
        assert parse_page(body) == Page(found, is_truncated=True, next_token="1/+=")

    def test_nothing(self) -> None:
        assert parse_page(listing(WHOLE)) == Page([], is_truncated=False, next_token="")

    @pytest.mark.parametrize("encoded", [quote(ODD_KEY), quote_plus(ODD_KEY), quote(ODD_KEY, safe="")])
    def test_encoded_names(self, encoded: str) -> None:
        """A space is ``+`` or ``%20``, a plus is neither."""
        parsed = parse_page(listing(URL, WHOLE, entry(encoded)))
        assert parsed
        assert [name for name, *_ in parsed.found] == [ODD_KEY]

    @pytest.mark.parametrize("encoding", ["", "<EncodingType/>", "<EncodingType>other</EncodingType>"])
    def test_plain_names(self, encoding: str) -> None:
        parsed = parse_page(listing(encoding, WHOLE, entry("a+b%20c&lt;&amp;amp;&gt; ä")))
        assert parsed
        assert [name for name, *_ in parsed.found] == ["a+b%20c<&amp;> ä"]

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html><body>Nothing here.</body></html>",
            b"<Error><Code>InternalError</Code></Error>",
            f"<ListVersionsResult>{WHOLE}</ListVersionsResult>".encode(),
            listing(WHOLE, entry("a"))[:-1],
            listing(WHOLE, "\x01"),
            listing(WHOLE, "&unknown;"),
            listing(WHOLE).replace(b"bucket", b"\xff"),
            listing(entry("a")),
            listing("<x:IsTruncated xmlns:x='x'>false</x:IsTruncated>"),
            listing(WHOLE, entry("a").replace("<Contents>", "<Contents xmlns='x'>")),
            *(listing(WHOLE, entry("a", **{field: "-"})) for field in ("Key", "Size", "ETag", "LastModified")),
            listing(WHOLE, entry("a", Size="many")),
            listing(WHOLE, entry("a", LastModified="Fri, 02 Jan 2026 03:04:05 GMT")),
        ],
    )
    def test_what_is_not_plain(self, body: bytes) -> None:
        assert parse_page(body) is None


class TestPages:
    def test_what_they_have_in_common(self) -> None:
        replies = (page("a/1", "a/", token="1/+="), page("b c+", "é/", token="&lt;2&gt;"), page("d"))
        with scripted_server(*replies) as server, closing(open_at(server, region="eu-north-1")) as store:
            found = list(store.list_objects())
            assert ways(server) == [True, False, False]
            first, second, third = server.seen
        assert [each.key for each in found] == ["a/1", "b c+", "d"]
        assert {(each.size_bytes, each.etag, each.modified_at) for each in found} == {(10, '"1"', WRITTEN_AT)}
        asked = {"list-type": ["2"], "prefix": ["backups/"], "encoding-type": ["url"]}
        assert query(first) == asked
        assert query(second) == asked | {"continuation-token": ["1/+="]}
        assert query(third) == asked | {"continuation-token": ["<2>"]}
        for seen in server.seen:
            assert seen.method == "GET"
            assert seen.target.partition("?")[0].rstrip("/") == "/bucket"
            assert seen.headers["User-Agent"] == first.headers["User-Agent"]
            assert "/eu-north-1/s3/aws4_request" in seen.headers["Authorization"]

    def test_after_other_requests(self) -> None:
        """All are lean."""
        replies = (CONTENT, page("a", token="1"), page("b"))
        with scripted_server(*replies) as server, closing(open_at(server)) as store:
            assert streamed(store) == b"descriptor"
            assert keys_of(store) == ["a", "b"]
            assert ways(server) == [True, False, False]

    @pytest.mark.parametrize("prefix", ["", ODD_KEY, "b1/"])
    def test_prefix(self, prefix: str) -> None:
        with scripted_server(page("a")) as server, closing(open_at(server)) as store:
            for _ in range(2):
                assert keys_of(store, prefix) == ["a"]
            first, second = server.seen
            assert ways(server) == [True, False]
        assert query(first) == query(second)
        assert query(first)["prefix"] == [f"backups/{prefix}"]

    def test_host_name_for_the_bucket(self) -> None:
        with scripted_server(page("a")) as server:
            config = {"proxies": {"http": server.url}, "s3": {"addressing_style": "virtual"}}
            with closing(open_at(server, endpoint_url="http://storage.invalid", config=config)) as store:
                for _ in range(2):
                    assert keys_of(store) == ["a"]
            assert ways(server) == [True, False]
            assert {seen.target.partition("?")[0] for seen in server.seen} == {"http://bucket.storage.invalid/"}

    def test_hooks_of_the_client_see_them(self) -> None:
        operations: list[str] = []
        with scripted_server(page("a", token="1"), page("b")) as server, closing(open_at(server)) as store:
            store._client.meta.events.register("before-send.s3", lambda event_name, **_: operations.append(event_name))
            assert keys_of(store) == ["a", "b"]
            assert ways(server) == [True, False]
        assert operations == ["before-send.s3.ListObjectsV2"] * 2

    @pytest.mark.parametrize("config", [{"signature_version": "unsigned"}, {"signature_version": "s3"}])
    def test_other_signatures_are_boto3s(self, config: dict[str, str]) -> None:
        replies = (page("a", token="1"), page("b"))
        with scripted_server(*replies) as server, closing(open_at(server, config=config)) as store:
            assert keys_of(store) == ["a", "b"]
            assert ways(server) == [True, True]

    def test_credentials_that_expire(self) -> None:
        expiring, replies = Expiring(), (page("a", token="1"), page("b", token="2"), page("c"))
        with scripted_server(*replies) as server, expiring.store(server) as store:
            for found, key in zip(store.list_objects(), "abc", strict=True):
                assert found.key == key
                if key == "a":
                    expiring.expire()
            assert ways(server) == [True, False, False]
            assert [seen.headers["X-Amz-Security-Token"] for seen in server.seen] == ["token-1", "token-2", "token-2"]

    def test_no_more_is_asked_than_needed(self) -> None:
        with (
            scripted_server(page("a", token="1"), page("b")) as server,
            closing(open_at(server)) as store,
            closing(store.list_objects()) as found,
        ):
            assert next(found).key == "a"
            assert len(server.seen) == 1


ODD = {
    "refused": Reply(400),
    "fault": Reply(503),
    "cut": Reply(cut=True),
    "cut in the body": Reply(200, page("b").body[:-9], {"Content-Length": "10000"}),
    "shortened": Reply(200, page("b").body[:-9]),
    "empty": Reply(200, b""),
    "error with the status of a success": Reply(200, b"<Error><Code>InternalError</Code></Error>"),
    "no content": Reply(204, b""),
    "no size": Reply(200, listing(URL, WHOLE, entry("backups/b", Size="-"))),
    "no token": Reply(200, listing(URL, "<IsTruncated>true</IsTruncated>", entry("backups/b"))),
    "empty token": page("b", token=""),
    "the same token": page("b", token="1"),
}


class TestWhatIsNotPlain:
    @pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
    def test_is_asked_again_by_boto3(self, odd: Reply) -> None:
        """Just that page."""
        replies = (page("a", token="1"), odd, page("b", token="2"), page("c"))
        with scripted_server(*replies) as server, closing(open_at(server)) as store:
            assert keys_of(store) == ["a", "b", "c"]
            assert ways(server) == [True, False, True, False]
            assert [query(seen).get("continuation-token") for seen in server.seen] == [None, ["1"], ["1"], ["2"]]

    @pytest.fixture
    def begun(self) -> Iterator[tuple[ScriptedServer, Iterator[str]]]:
        with (
            scripted_server(page("a", token="1")) as server,
            closing(open_at(server)) as store,
            closing(store.list_objects()) as found,
        ):
            keys = (each.key for each in found)
            assert next(keys) == "a"
            yield server, keys

    def test_refusal(self, begun: tuple[ScriptedServer, Iterator[str]]) -> None:
        server, keys = begun
        server.replies = [Reply(403, b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>")]
        with pytest.raises(StorageError, match=r"backups/ can't be listed: S3 answered 403 AccessDenied: No") as caught:
            next(keys)
        assert "s3:ListBucket" in caught.value.hint

    @pytest.mark.parametrize("failure", [Reply(503), Reply(cut=True)], ids=repr)
    def test_failure(self, begun: tuple[ScriptedServer, Iterator[str]], failure: Reply) -> None:
        server, keys = begun
        server.replies = [failure]
        with pytest.raises(StorageUnreachable, match="can't be listed"):
            next(keys)

    @pytest.mark.parametrize("last", [page("b", token=""), page("b", token="1")], ids=["no token", "the same"])
    def test_page_that_does_not_lead_on(self, begun: tuple[ScriptedServer, Iterator[str]], last: Reply) -> None:
        """A listing that lacks objects must not look whole."""
        server, keys = begun
        server.replies = [last]
        assert next(keys) == "b"
        with pytest.raises(StorageError, match="can't be listed: the server has more, and does not tell how to go on"):
            next(keys)
