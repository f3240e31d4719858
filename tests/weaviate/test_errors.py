from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from airflow_provider_vectorbackup.exceptions import (
    AlreadyExists,
    Forbidden,
    InvalidConnection,
    NotFound,
    OperationInProgress,
    Rejected,
    ServerFault,
    TlsFailed,
    Unauthenticated,
    UnexpectedAnswer,
    Unreachable,
    WeaviateError,
)
from airflow_provider_vectorbackup.weaviate import answers
from airflow_provider_vectorbackup.weaviate.calls import Call
from airflow_provider_vectorbackup.weaviate.endpoint import Retries
from airflow_provider_vectorbackup.weaviate.errors import (
    HttpAnswer,
    bad_url,
    error_of,
    no_answer,
    no_tls,
    read_answer,
    seconds_before_repeat,
)

CREATE: Call[Any] = Call("POST", "/backups/s3", answers.parse_accepted, backup_id="x1")
RESTORE: Call[Any] = Call("POST", "/backups/s3/x1/restore", answers.parse_accepted, backup_id="x1")
STATUS: Call[Any] = Call("GET", "/backups/s3/x1", answers.parse_backup_status, backup_id="x1")
LIST: Call[Any] = Call("GET", "/backups/s3", answers.parse_list)
CANCEL: Call[Any] = Call("DELETE", "/backups/s3/x1", answers.parse_nothing, backup_id="x1", has_answer=False)

NOT_ENABLED = "did you enable the right module?"
NODE = 'node "w1": cannot commit : '
CHECK = 'check if backup "x1" exists at "s3://b/x1": %!w(<nil>)'
CHAIN = "resolve base backup chain: "
HOSTS = 'cannot resolve hostname for "node1", nodes=map[w1:0xc0], nodeMapping=map[]'
BUCKET = "init uploader: failed to access-check s3 backup module: put object: The specified bucket does not exist"
FILESYSTEM = "local filesystem backend is not viable for backing up a node cluster, try s3 or gcs"
LOST = 'coordinator cannot get status: metadata not found: "": get object: dial tcp: connection refused'
UNKNOWN = 'coordinator cannot get status: metadata not found: "": '
CUT = 'Get "http://127.0.0.1:9000/b/x1/backup_config.json": read tcp 127.0.0.1:1->127.0.0.1:2: connection reset by peer'
FORBIDDEN = "rbac: authorization, forbidden action: user 'u' has insufficient permissions to create_backups [[Domain]]"

# The code on 1.37.0 and on 1.39.2 (None: it does not happen there), the server's words, and what they mean.
MESSAGES: tuple[tuple[Call[Any], int | None, int | None, str, type[WeaviateError]], ...] = (
    (CREATE, 422, 422, f'no backup backend "x": backup: x not found, {NOT_ENABLED}', Rejected),
    (STATUS, 422, 422, f'no backup provider "x": backup: x not found, {NOT_ENABLED}', Rejected),
    (STATUS, 422, 500, f'no backup provider "x": backup: x not found, {NOT_ENABLED}', Rejected),
    (CANCEL, 422, 422, f'no backup provider "x": backup: x not found, {NOT_ENABLED}', Rejected),
    (LIST, 500, None, "backup: x not found", Rejected),
    (LIST, None, 422, 'no backup backend "x": backup: x not found', Rejected),
    (CREATE, 422, 422, "invalid backup id: 'X' allowed characters are lowercase, 0-9, _, -", Rejected),
    (CREATE, 422, 422, 'backup "x1" already exists at "s3://b/x1"', AlreadyExists),
    (CREATE, 422, 422, CHECK, AlreadyExists),
    (CREATE, 422, None, 'backup "x1" was cancelled. please retry with new backup id', AlreadyExists),
    (CREATE, 422, 422, "malformed request: 'include' and 'exclude' cannot both contain values", Rejected),
    (CREATE, 422, 422, "class X doesn't exist", Rejected),
    (CREATE, 422, 422, "class list 'include' contains duplicate: X", Rejected),
    (CREATE, 422, 422, "empty class list: please choose from : [A B]", Rejected),
    (CREATE, 422, 422, "no available classes to backup, there's nothing to do here", Rejected),
    (CREATE, 422, 422, "backup y already in progress", OperationInProgress),
    (CREATE, 422, 500, f"{NODE}backup y already in progress", OperationInProgress),
    (RESTORE, 422, 422, "restoration y already in progress", OperationInProgress),
    (RESTORE, 422, 500, f"{NODE}restoration y already in progress", OperationInProgress),
    (CREATE, 422, 500, BUCKET, Rejected),
    (CANCEL, 422, 500, BUCKET, Rejected),
    (CREATE, 422, 422, f"{CHAIN}could not fetch base backup: get object contents from b:nope", Rejected),
    (CREATE, 422, 422, f'{CHAIN}backup "b" has compression type "gzip", expected "zstd"', Rejected),
    (CREATE, 422, 422, f'{CHAIN}backup "b" has status "STARTED", expected "SUCCESS"', Rejected),
    (CREATE, None, 422, 'base backup "b" started at 1 is not older than the backup that depends on it', Rejected),
    (CREATE, 500, 500, "base backup cannot be the same as the new backup ID: x1", Rejected),
    (CREATE, 422, 422, FILESYSTEM, Rejected),
    (STATUS, 404, 404, 'coordinator cannot get status: metadata not found: "": get object', NotFound),
    (STATUS, 404, None, LOST, ServerFault),
    (STATUS, 404, None, f"{UNKNOWN}get object: {CUT}", ServerFault),
    (CREATE, 422, None, f'check if backup "x1" exists at "s3://b/x1": get object contents: {CUT}', ServerFault),
    (CREATE, 422, 500, f"init uploader: failed to access-check s3 backup module: put object: {CUT}", ServerFault),
    (STATUS, None, 500, LOST, ServerFault),
    (RESTORE, 404, 404, 'backup id "x1" does not exist: get object contents', NotFound),
    (RESTORE, 422, 422, "invalid backup in scheduler s3://b/x1 status: STARTED", Rejected),
    (RESTORE, 422, 422, "class X doesn't exist in the backup, but does have [A]: ", Rejected),
    (RESTORE, 422, 422, "nothing left to restore: please choose from : [A]", Rejected),
    (RESTORE, 422, 500, HOSTS, Rejected),
    (RESTORE, None, 500, f'{NODE}restorer cannot validate: metadata not found: "s3://b/x1/gone/backup.json"', Rejected),
    (RESTORE, 422, None, "get object contents from b:x1/w1/backup.json not found x1/w1/backup.json", Rejected),
    (RESTORE, None, 404, 'fetch meta of node "w1": get object contents', NotFound),
    (RESTORE, 422, 500, f"{NODE}invalid backup in restorer s3://b/x1 status: FAILED", Rejected),
    (RESTORE, 422, 500, f"{NODE}corrupted backup file: attribute mismatch: [id versions time error]", Rejected),
    (RESTORE, 422, 500, f'{NODE}wrong backup file: expected "a" got "b"', Rejected),
    (CANCEL, 422, 422, 'backup "x1" already succeeded', Rejected),
    (CANCEL, 422, 422, 'restore "x1" is applying schema changes and cannot be cancelled', Rejected),
    (CANCEL, None, 500, 'cannot resolve hostname for "w1"', Rejected),
    (CREATE, 403, 403, FORBIDDEN, Forbidden),
    (STATUS, None, 500, "list all backups: context deadline exceeded", ServerFault),
    # Words of other troubles in a user's own names must not decide.
    (CREATE, 403, 403, 'forbidden action on "already in progress"', Forbidden),
)
BY_VERSION = [
    (call, code, text, kind) for call, *codes, text, kind in MESSAGES for code in dict.fromkeys(codes) if code
]


@pytest.mark.parametrize(("call", "code", "text", "kind"), BY_VERSION)
def test_what_the_servers_words_mean(call: Call[Any], code: int, text: str, kind: type[WeaviateError]) -> None:
    body = json.dumps({"error": [{"message": text}]}).encode()
    error = error_of(call, HttpAnswer(code, body))
    assert type(error) is kind
    assert (error.status_code, error.backup_id) == (code, call.backup_id)
    assert error.may_have_started is (call.method == "POST" and code >= 500)
    assert text.rstrip(". ") in error.message
    assert error.message.startswith(f"Weaviate answered {code} to {call.method} {call.path}: ")


@pytest.mark.parametrize(
    ("code", "body", "kind", "text"),
    [
        (401, b'{"code":401,"message":"unauthorized: invalid api key"}', Unauthenticated, "invalid api key"),
        (403, b"", Forbidden, "nothing else"),
        (404, b'{"code":404,"message":"path /v1/x was not found"}', NotFound, "was not found"),
        (405, b'{"code":405,"message":"method DELETE is not allowed"}', Rejected, "is not allowed"),
        (422, b'{"code":602,"message":"body in body is required"}', Rejected, "body in body is required"),
        (422, b'{"error":[{"message":"one"},{"message":"two"}]}', Rejected, "one; two"),
        (422, b'{"error":"a text"}', Rejected, "a text"),
        (422, b'["a", "list"]', Rejected, 'to POST /backups/s3: ["a", "list"]'),
        (500, b"", ServerFault, "nothing else"),
        (500, b"panic: runtime error", ServerFault, "panic: runtime error"),
        (502, b"<html>Bad Gateway</html>", ServerFault, "Bad Gateway"),
        (503, b"\xff\xfe", ServerFault, "answered 503"),
        (429, b'{"message":"slow down"}', ServerFault, "slow down"),
        (404, b"<html>nginx</html>", UnexpectedAnswer, "nginx"),
        (302, b"", UnexpectedAnswer, "answered 302"),
        (304, b"", UnexpectedAnswer, "answered 304"),
    ],
)
def test_other_bodies(code: int, body: bytes, kind: type[WeaviateError], text: str) -> None:
    with pytest.raises(WeaviateError) as caught:
        read_answer(CREATE, HttpAnswer(code, body))
    assert type(caught.value) is kind
    assert text in caught.value.message


def test_hints_say_what_to_do() -> None:
    def hint(code: int, text: str = "") -> str:
        return error_of(CREATE, HttpAnswer(code, json.dumps({"message": text}).encode())).hint

    assert "API key" in hint(401)
    assert "manage_backups" in hint(403)
    assert "ENABLE_MODULES" in hint(500, "backup: x not found")
    assert "redirect" in hint(308)
    assert "node_mapping" in hint(500, HOSTS)


def test_endless_messages_are_cut() -> None:
    assert len(error_of(CREATE, HttpAnswer(500, b"x" * 100_000)).message) < 1200


@pytest.mark.parametrize("body", [b"", b"  \n"])
@pytest.mark.parametrize(("call", "may_have_started"), [(CREATE, True), (STATUS, False)])
def test_empty_answer(call: Call[Any], body: bytes, may_have_started: bool) -> None:
    with pytest.raises(UnexpectedAnswer, match="answered 200 with nothing") as caught:
        read_answer(call, HttpAnswer(200, body))
    assert caught.value.may_have_started is may_have_started


def test_answer_that_is_not_json() -> None:
    with pytest.raises(UnexpectedAnswer, match=r"is not JSON: '<html>hello") as caught:
        read_answer(STATUS, HttpAnswer(200, b"<html>hello</html>"))
    assert "host and port" in caught.value.hint


def test_answer_that_nobody_reads() -> None:
    assert read_answer(CANCEL, HttpAnswer(204, b"")) is None
    assert read_answer(CANCEL, HttpAnswer(200, b"<html>")) is None


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "https://h:1 does not speak TLS"),
        ("[SSL] record layer failure (_ssl.c:1006)", "https://h:1 does not speak TLS"),
        ("certificate verify failed: self-signed certificate", "The certificate of https://h:1 was not accepted"),
    ],
)
def test_tls(reason: str, text: str) -> None:
    error = no_tls("https://h:1", reason)
    assert type(error) is TlsFailed
    assert error.message.startswith(text)
    assert not error.retryable


def test_bad_url() -> None:
    error = bad_url("http://:x")
    assert type(error) is InvalidConnection
    assert "'http://:x' is not a URL" in str(error)


@pytest.mark.parametrize("call", [CREATE, STATUS])
@pytest.mark.parametrize("never_sent", [True, False])
def test_no_answer(call: Call[Any], never_sent: bool) -> None:
    error = no_answer(call, "http://h:1", "refused", never_sent=never_sent)
    assert (error.retryable, error.backup_id) == (True, "x1")
    assert error.may_have_started is (call is CREATE and not never_sent)
    assert error.message == f"No answer from http://h:1 to {call.method} {call.path}: refused."


class TestRepeats:
    retries = Retries(attempts=4, first_wait=0.5)

    def waits(self, call: Call[Any], error: WeaviateError) -> list[float | None]:
        return [seconds_before_repeat(call, error, attempt, self.retries) for attempt in (1, 2, 3, 4)]

    @pytest.mark.parametrize("call", [STATUS, CANCEL])
    @pytest.mark.parametrize(
        "error", [Unreachable("No."), *(ServerFault("No.", status_code=code) for code in (429, 502, 503, 504))]
    )
    def test_what_is_safe_is_repeated_ever_later(self, call: Call[Any], error: WeaviateError) -> None:
        assert self.waits(call, error) == [0.5, 1.0, 2.0, None]

    @pytest.mark.parametrize(
        "error",
        [
            ServerFault("No.", status_code=500),
            NotFound("No.", status_code=404),
            Unauthenticated("No.", status_code=401),
            OperationInProgress("No.", status_code=422),
            UnexpectedAnswer("No.", status_code=200),
            TlsFailed("No."),
        ],
    )
    def test_what_does_not_pass_by_itself_is_not(self, error: WeaviateError) -> None:
        assert self.waits(STATUS, error) == [None] * 4

    @pytest.mark.parametrize("code", [429, 502, 503, 504])
    def test_post_that_was_answered_is_never_repeated(self, code: int) -> None:
        assert self.waits(CREATE, ServerFault("No.", status_code=code)) == [None] * 4

    def test_post_without_an_answer(self) -> None:
        assert self.waits(CREATE, Unreachable("No.", may_have_started=True)) == [None] * 4
        assert self.waits(CREATE, Unreachable("No.")) == [0.5, 1.0, 2.0, None]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_a_post_can_start_something(method: Literal["GET", "PUT", "DELETE"]) -> None:
    call: Call[Any] = Call(method, "/backups/s3/x1", answers.parse_nothing)
    assert not error_of(call, HttpAnswer(503, b"")).may_have_started
