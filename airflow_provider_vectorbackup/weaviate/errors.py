"""The one map from an HTTP answer to a value or to an error of our tree.

The same trouble has other status codes on other versions and nodes, so the server's text decides before the code does.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, TypeVar

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
from airflow_provider_vectorbackup.weaviate.calls import Call
from airflow_provider_vectorbackup.weaviate.endpoint import Retries

T = TypeVar("T")

PASSING_CODES = frozenset({429, 502, 503, 504})
"""What a proxy or an overloaded server answers; the request itself may be fine."""

_SUCCESS, _REDIRECT, _FAULT = 2, 3, 5
"""First digits of HTTP status codes."""

_BLOCKING = re.compile(r"(?:backup|restoration) ([a-z0-9_-]+) already in progress")
_LONGEST_MESSAGE = 1000
_NOT_WEAVIATE = "Something else than Weaviate's REST API answers there: look at host and port of the connection."


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer as it came."""

    status_code: int
    body: bytes


_BY_TEXT: tuple[tuple[str, type[WeaviateError], str], ...] = (
    (
        # The server's own request to its storage failed; below 1.37.10 it says 404 or 422 to that.
        r'\b(?:Get|Head|Put|Post|Delete) "https?://[^"]*": |dial tcp|connection reset by peer|connection refused',
        ServerFault,
        "The server can't reach its storage, or another node: look at its log and its network.",
    ),
    (
        r"already in progress|runtime-reindex in flight",
        OperationInProgress,
        "A server does one backup and one restore at a time; try again when it has ended.",
    ),
    (
        r'backup "[^"]*" already exists at|check if backup "[^"]*" exists at.*%!w|was cancelled\. please retry',
        AlreadyExists,
        "Choose another backup id: one that was used once, even by a failed backup, can't be used again.",
    ),
    (
        r"did you enable the right module|^backup: \S+ not found$",
        Rejected,
        "Enable the backend's module (ENABLE_MODULES, for instance backup-s3) on every node of the server.",
    ),
    (
        r"failed to access-check",
        Rejected,
        "The server can't write there: look at the bucket's name and at the server's own permission to put and delete.",
    ),
    (
        r"resolve base backup chain|base backup ",
        Rejected,
        "The base must be a finished backup in the same place, with the same family of compression (gzip, zstd, none).",
    ),
    (
        r"restorer cannot validate",
        Rejected,
        "A node that takes part has no part in the backup: look at the names in node_mapping.",
    ),
    (
        r"cannot resolve hostname for",
        Rejected,
        "A node that holds data, or that the backup names, is not in the cluster: start it, or give node_mapping.",
    ),
    (
        r"invalid backup in|corrupted backup file|wrong backup file",
        Rejected,
        "Only a finished, undamaged backup can be restored: look at its status and at its descriptors in storage.",
    ),
    (
        r"local filesystem backend is not viable",
        Rejected,
        "A cluster of several nodes needs s3, gcs or azure.",
    ),
)

_BY_CODE: dict[int, tuple[type[WeaviateError], str]] = {
    401: (Unauthenticated, "Look at the API key or token in the Airflow connection."),
    403: (Forbidden, "The user needs a role with the permission {permission} on these collections."),
    404: (NotFound, "Look at the id, and at the bucket and path if the backup was made with others than the default."),
    405: (Rejected, "This server is too old for that call."),
}


def read_answer(call: Call[T], answer: HttpAnswer) -> T:
    """Return the parsed answer.

    :raises WeaviateError: one of its subclasses, with the server's message and what to do next.
    """
    if answer.status_code // 100 != _SUCCESS:
        raise error_of(call, answer)
    return call.parse(_decoded(call, answer) if call.has_answer else None)


def error_of(call: Call[Any], answer: HttpAnswer) -> WeaviateError:
    """Return the error that an answer outside 2xx stands for."""
    code, text = answer.status_code, _message(answer.body)
    kind, hint = _classify(code, text, call.permission)
    if answer.body.lstrip().startswith(b"<") and not issubclass(kind, ServerFault):
        kind, hint = UnexpectedAnswer, _NOT_WEAVIATE
    error = kind(
        f"Weaviate answered {code} to {call.method} {call.path}: {text.rstrip('. ') or 'nothing else'}.",
        hint=hint,
        backup_id=call.backup_id,
        status_code=code,
        may_have_started=not call.is_repeatable and code // 100 == _FAULT,
    )
    if isinstance(error, OperationInProgress) and (found := _BLOCKING.search(text)):
        error.blocking_id = found[1]
    return error


def seconds_before_repeat(call: Call[Any], error: WeaviateError, attempt: int, retries: Retries) -> float | None:
    """Return how long to wait before sending ``call`` again after its ``attempt``-th failure, or None to give up.

    A POST is repeated only if the server can't have seen it.
    """
    passing = isinstance(error, Unreachable) or (error.status_code in PASSING_CODES)
    harmless = call.is_repeatable or (isinstance(error, Unreachable) and not error.may_have_started)
    if passing and harmless and attempt < retries.attempts:
        return retries.wait_before(attempt + 1)
    return None


def no_answer(call: Call[Any], base_url: str, reason: object, *, never_sent: bool) -> Unreachable:
    """Return the error for a request without an answer; ``never_sent`` if no connection was made."""
    return Unreachable(
        f"No answer from {base_url} to {call.method} {call.path}: {reason}.",
        hint="Look at host, port and scheme of the connection, and whether the server runs.",
        backup_id=call.backup_id,
        may_have_started=not call.is_repeatable and not never_sent,
    )


def no_tls(base_url: str, reason: object) -> TlsFailed:
    """Return the error for a failed TLS handshake: mostly a certificate that was not accepted."""
    if "WRONG_VERSION_NUMBER" in str(reason) or "record layer" in str(reason):
        return TlsFailed(
            f"{base_url} does not speak TLS.", hint="Switch off http_secure in the connection, or look at the port."
        )
    return TlsFailed(
        f"The certificate of {base_url} was not accepted: {reason}.",
        hint="Give the CA bundle in the connection (ca_file); switch verification off only for tests.",
    )


def bad_url(base_url: str) -> InvalidConnection:
    """Return the error for a connection whose host and port make no URL."""
    return InvalidConnection(f"{base_url!r} is not a URL.", hint="Look at host, port and scheme of the connection.")


def _classify(code: int, text: str, permission: str) -> tuple[type[WeaviateError], str]:
    if code // 100 == _REDIRECT:
        return (
            UnexpectedAnswer,
            "It is a redirect, which is not followed: put the final scheme and host into the connection.",
        )
    if code not in (401, 403):
        for pattern, kind, hint in _BY_TEXT:
            if re.search(pattern, text):
                return kind, hint
    if code // 100 == _FAULT or code in PASSING_CODES:
        return ServerFault, "Look at the server's log, and at its access to the backend's storage."
    kind, hint = _BY_CODE.get(code, (Rejected, ""))
    return kind, hint.format(permission=permission)


def _message(body: bytes) -> str:
    """Return the server's own words: its two error shapes, or the start of whatever else came."""
    try:
        data = json.loads(body)
    except ValueError:
        data = body.decode(errors="replace").strip()
    if isinstance(data, dict):
        errors = data.get("error")
        if isinstance(errors, list):
            data = "; ".join(str(item.get("message", item)) for item in errors if isinstance(item, dict))
        else:
            data = data.get("message") or data
    text = data if isinstance(data, str) else json.dumps(data)
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"


def _decoded(call: Call[Any], answer: HttpAnswer) -> Any:
    may_have_started = not call.is_repeatable
    if not answer.body.strip():
        raise UnexpectedAnswer(
            f"Weaviate answered {answer.status_code} with nothing to {call.method} {call.path}.",
            hint="Its handler broke off; look at the server's log.",
            backup_id=call.backup_id,
            status_code=answer.status_code,
            may_have_started=may_have_started,
        )
    try:
        return json.loads(answer.body)
    except ValueError as error:
        raise UnexpectedAnswer(
            f"The answer to {call.method} {call.path} is not JSON: {_message(answer.body)[:80]!r}.",
            hint=_NOT_WEAVIATE,
            backup_id=call.backup_id,
            status_code=answer.status_code,
            may_have_started=may_have_started,
        ) from error
