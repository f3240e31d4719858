from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind
from airflow_provider_vectorbackup.exceptions import (
    Forbidden,
    InvalidConnection,
    NotFound,
    Rejected,
    ServerFault,
    Unauthenticated,
    UnexpectedAnswer,
    Unreachable,
    WeaviateError,
)
from airflow_provider_vectorbackup.weaviate import answers, calls
from airflow_provider_vectorbackup.weaviate.async_client import AsyncWeaviateClient
from airflow_provider_vectorbackup.weaviate.calls import Call
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint, Retries, Timeouts
from tests.scripted_server import Reply, scripted_server, silent_port
from tests.weaviate.conftest import Send

QUICK = Retries(attempts=4, first_wait=0.01)
META = calls.read_meta()
CREATE: Call[Any] = Call("POST", "/backups/s3", answers.parse_accepted, body={"id": "x1"}, backup_id="x1")
CANCEL: Call[Any] = Call("DELETE", "/backups/s3/x1", answers.parse_nothing, has_answer=False)
ACCEPTED = json.dumps({"status": "STARTED", "path": "s3://b/x1", "classes": ["B", "A"]}).encode()
SECRET = "kEy-0123456789"
KEY = {"Authorization": f"Bearer {SECRET}"}


def endpoint(url: str, headers: dict[str, str] | None = None, timeouts: Timeouts | None = None) -> Endpoint:
    return Endpoint(url, headers or {}, timeouts=timeouts or Timeouts(), retries=QUICK)


def assert_refused(send: Send, url: str, call: Call[Any] = META, timeouts: Timeouts | None = None) -> WeaviateError:
    """Send with a secret, and make sure that the error does not tell it."""
    with pytest.raises(WeaviateError) as caught:
        send(endpoint(url, KEY, timeouts), call)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error}{error!r}"
        error = error.__cause__ or error.__context__
    return caught.value


class TestRequests:
    def test_headers_of_the_connection_are_sent(self, send: Send) -> None:
        with scripted_server() as server:
            send(endpoint(server.url, KEY | {"X-Team": "data"}), META)
        assert server.seen[0].headers["Authorization"] == f"Bearer {SECRET}"
        assert server.seen[0].headers["X-Team"] == "data"

    def test_get(self, send: Send) -> None:
        with scripted_server() as server:
            assert send(endpoint(server.url), META).version == "1.39.2"
        assert (server.seen[0].method, server.seen[0].target, server.seen[0].body) == ("GET", "/v1/meta", b"")

    def test_post(self, send: Send) -> None:
        with scripted_server(Reply(body=ACCEPTED)) as server:
            assert send(endpoint(server.url), CREATE).collections == ("A", "B")
        (seen,) = server.seen
        assert (seen.method, seen.target, json.loads(seen.body)) == ("POST", "/v1/backups/s3", {"id": "x1"})
        assert seen.headers["Content-Type"] == "application/json"

    def test_post_always_has_a_body(self, send: Send) -> None:
        """The server refuses one without."""
        with scripted_server(Reply(body=ACCEPTED)) as server:
            send(endpoint(server.url), Call("POST", "/backups/s3/x1/restore", answers.parse_accepted))
            send(endpoint(server.url), Call("POST", "/backups/s3/x1/restore", answers.parse_accepted, body={}))
        assert [seen.body for seen in server.seen] == [b"{}", b"{}"]

    def test_parameters_are_quoted(self, send: Send) -> None:
        with scripted_server(Reply(body=b'{"status": "STARTED"}')) as server:
            address = BackupAddress("s3", "x1", "b&c", "team/ä b?#%2F")
            send(endpoint(server.url), calls.status_of(OperationKind.BACKUP, address))
        path, _, query = server.seen[0].target.partition("?")
        assert path == "/v1/backups/s3/x1"
        assert parse_qs(query) == {"bucket": ["b&c"], "path": ["team/ä b?#%2F"]}

    def test_quoted_path_stays_quoted(self, send: Send) -> None:
        with scripted_server(Reply(204, b"")) as server:
            send(endpoint(server.url), calls.delete_collection("ns:A/B"))
        assert server.seen[0].target in ("/v1/schema/ns%3AA%2FB", "/v1/schema/ns:A%2FB")

    def test_path_of_the_connection_comes_first(self, send: Send) -> None:
        with scripted_server() as server:
            send(endpoint(f"{server.url}/proxy/weaviate"), META)
        assert server.seen[0].target == "/proxy/weaviate/v1/meta"

    def test_answer_without_a_body(self, send: Send) -> None:
        with scripted_server(Reply(204, b"")) as server:
            assert send(endpoint(server.url), CANCEL) is None


class TestEnvironment:
    def test_netrc_does_not_replace_the_key(self, send: Send, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        _netrc(tmp_path, monkeypatch)
        with scripted_server() as server:
            send(endpoint(server.url, KEY), META)
        assert server.seen[0].headers["Authorization"] == f"Bearer {SECRET}"

    def test_netrc_is_not_sent_to_an_open_server(
        self, send: Send, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _netrc(tmp_path, monkeypatch)
        with scripted_server() as server:
            send(endpoint(server.url), META)
        assert "Authorization" not in server.seen[0].headers

    def test_proxy_is_used(self, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
        with scripted_server() as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            send(endpoint("http://weaviate.invalid:8080"), META)
        assert proxy.seen[0].target == "http://weaviate.invalid:8080/v1/meta"

    def test_proxy_has_exceptions(self, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
        with scripted_server() as server, silent_port() as port:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            assert send(endpoint(server.url), META).version == "1.39.2"


def _netrc(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "netrc"
    file.write_text("default login somebody password else\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))


class TestAnswers:
    @pytest.mark.parametrize(
        ("code", "kind"),
        [(401, Unauthenticated), (403, Forbidden), (404, NotFound), (422, Rejected), (500, ServerFault)],
    )
    def test_codes(self, send: Send, code: int, kind: type[WeaviateError]) -> None:
        with scripted_server(Reply(code, b'{"error":[{"message":"the reason"}]}')) as server:
            error = assert_refused(send, server.url)
        assert type(error) is kind
        assert "the reason" in error.message
        assert len(server.seen) == 1

    def test_not_json(self, send: Send) -> None:
        with scripted_server(Reply(200, b"<html>Welcome</html>")) as server:
            assert type(assert_refused(send, server.url)) is UnexpectedAnswer

    def test_post_with_an_empty_answer(self, send: Send) -> None:
        with scripted_server(Reply(200, b"")) as server:
            error = assert_refused(send, server.url, CREATE)
        assert type(error) is UnexpectedAnswer
        assert error.may_have_started
        assert len(server.seen) == 1

    @pytest.mark.parametrize("code", [301, 302, 307, 308])
    def test_redirect_is_not_followed(self, send: Send, code: int) -> None:
        with scripted_server() as other, scripted_server(Reply(code, b"", {"Location": other.url})) as server:
            error = assert_refused(send, server.url)
        assert type(error) is UnexpectedAnswer
        assert "redirect" in error.hint
        assert other.seen == []

    def test_long_answer_is_read_whole(self, send: Send) -> None:
        names = [f"Collection{number}" for number in range(20_000)]
        body = json.dumps({"classes": [{"class": name} for name in names]}).encode()
        with scripted_server(Reply(200, body)) as server:
            assert [entry.name for entry in send(endpoint(server.url), calls.read_schema())] == names


class TestRepeats:
    def test_get_after_a_passing_fault(self, send: Send) -> None:
        with scripted_server(Reply(503, b""), Reply(cut=True), Reply()) as server:
            assert send(endpoint(server.url), META).version == "1.39.2"
        assert len(server.seen) == 3

    def test_get_is_given_up(self, send: Send) -> None:
        with scripted_server(Reply(503, b"busy")) as server:
            error = assert_refused(send, server.url)
        assert (type(error), error.status_code) == (ServerFault, 503)
        assert len(server.seen) == QUICK.attempts

    def test_delete_after_a_passing_fault(self, send: Send) -> None:
        with scripted_server(Reply(502, b""), Reply(204, b"")) as server:
            assert send(endpoint(server.url), CANCEL) is None
        assert len(server.seen) == 2

    @pytest.mark.parametrize("first", [Reply(503, b""), Reply(cut=True), Reply(200, b"")])
    def test_post_that_may_have_been_done(self, send: Send, first: Reply) -> None:
        with scripted_server(first, Reply(body=ACCEPTED)) as server:
            error = assert_refused(send, server.url, CREATE)
        assert error.may_have_started
        assert error.backup_id == "x1"
        assert len(server.seen) == 1

    def test_post_that_was_never_sent(self, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
        with silent_port() as port:
            attempts = _count_attempts(monkeypatch)
            error = assert_refused(send, f"http://127.0.0.1:{port}", CREATE)
        assert type(error) is Unreachable
        assert not error.may_have_started
        assert len(attempts) == QUICK.attempts


def _count_attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often a repeat was thought about; nothing else sees a refused connection."""
    from airflow_provider_vectorbackup.weaviate import async_client, client, errors

    attempts: list[int] = []

    def counted(call: Call[Any], error: WeaviateError, attempt: int, retries: Retries) -> float | None:
        attempts.append(attempt)
        return errors.seconds_before_repeat(call, error, attempt, retries)

    for module in (client, async_client):
        monkeypatch.setattr(module, "seconds_before_repeat", counted)
    return attempts


class TestNoAnswer:
    def test_refused_connection(self, send: Send) -> None:
        with silent_port() as port:
            error = assert_refused(send, f"http://127.0.0.1:{port}")
        assert type(error) is Unreachable
        assert "refused" in error.message.lower() or "Connect call failed" in error.message
        assert "0x" not in error.message

    def test_unknown_host(self, send: Send) -> None:
        error = assert_refused(send, "http://weaviate.invalid:8080")
        assert type(error) is Unreachable
        assert "http://weaviate.invalid:8080" in error.message
        assert "0x" not in error.message

    def test_cut_connection(self, send: Send) -> None:
        with scripted_server(Reply(cut=True)) as server:
            error = assert_refused(send, server.url)
        assert type(error) is Unreachable
        assert not error.may_have_started
        assert "0x" not in error.message

    def test_answer_that_ends_early(self, send: Send) -> None:
        with scripted_server(Reply(200, b'{"version"', {"Content-Length": "100"})) as server:
            assert type(assert_refused(send, server.url)) is Unreachable

    @pytest.mark.parametrize("call", [META, CREATE])
    def test_slow_answer(self, send: Send, call: Call[Any]) -> None:
        with scripted_server(Reply(delay_seconds=30.0)) as server:
            began = time.monotonic()
            error = assert_refused(send, server.url, call, Timeouts(connect=0.3, read=0.3, total=0.5))
        assert type(error) is Unreachable
        assert error.may_have_started is (call is CREATE)
        assert time.monotonic() - began < 5.0

    @pytest.mark.parametrize("call", [META, CREATE])
    def test_dripping_answer_is_cut(self, send: Send, call: Call[Any]) -> None:
        """Each byte comes within the time for one, the whole never does."""
        with scripted_server(Reply(200, b" " * 1000, drip_seconds=0.05)) as server:
            began = time.monotonic()
            error = assert_refused(send, server.url, call, Timeouts(connect=5.0, read=5.0, total=0.5))
        assert type(error) is Unreachable
        assert error.may_have_started is (call is CREATE)
        assert time.monotonic() - began < 5.0

    def test_total_holds_for_all_repeats(self, send: Send) -> None:
        with scripted_server(Reply(503, b"", delay_seconds=0.2)) as server:
            began = time.monotonic()
            with pytest.raises(WeaviateError):
                send(
                    Endpoint(server.url, timeouts=Timeouts(total=0.5), retries=Retries(attempts=1000, first_wait=0.01)),
                    META,
                )
        assert time.monotonic() - began < 5.0
        assert len(server.seen) > 1

    @pytest.mark.parametrize("url", ["http://host:99999", "http://a..b:80", "http://[::1:80", "ftp://host:80"])
    def test_what_is_no_url(self, send: Send, url: str) -> None:
        with pytest.raises((InvalidConnection, Unreachable)) as caught:
            send(endpoint(url), META)
        assert url in str(caught.value)


def test_asynchronous_client_is_used_as_a_context_manager() -> None:
    client = AsyncWeaviateClient(endpoint("http://127.0.0.1:1"))
    with pytest.raises(RuntimeError, match="outside of its 'async with'"):
        client.send(META).send(None)


def test_endpoint_does_not_show_its_secrets() -> None:
    shown = repr(endpoint("http://host:80", KEY))
    assert "http://host:80" in shown
    assert SECRET not in shown
