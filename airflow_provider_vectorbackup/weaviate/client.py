"""The synchronous client (requests), for tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import requests
import urllib3

from airflow_provider_vectorbackup.exceptions import WeaviateError
from airflow_provider_vectorbackup.weaviate.calls import Call
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint
from airflow_provider_vectorbackup.weaviate.errors import (
    HttpAnswer,
    bad_url,
    no_answer,
    no_tls,
    read_answer,
    seconds_before_repeat,
)
from airflow_provider_vectorbackup.weaviate.trust import ssl_context

T = TypeVar("T")

_PIECE_BYTES = 1 << 16


def _leave_as_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class WeaviateClient:
    """Sends calls to one server. A context manager; not for use by several threads at once.

    :param sleep: how to wait between repeats, in seconds.
    """

    def __init__(self, endpoint: Endpoint, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.endpoint = endpoint
        self._sleep = sleep
        self._session = requests.Session()
        self._session.headers.update(endpoint.headers)
        # Without an auth of its own, requests would replace our Authorization header by one from ~/.netrc.
        self._session.auth = _leave_as_is

    def __enter__(self) -> Self:
        # requests reads the bundle itself; what it says of a bad one names neither the bundle nor the connection.
        ssl_context(self.endpoint)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def send(self, call: Call[T]) -> T:
        """Send a call and return its parsed answer; repeat it a few times where that is safe.

        :raises WeaviateError: one of its subclasses.
        """
        deadline = time.monotonic() + self.endpoint.timeouts.total
        attempt = 0
        while True:
            attempt += 1
            try:
                return read_answer(call, self._exchange(call, deadline))
            except WeaviateError as error:
                wait = seconds_before_repeat(call, error, attempt, self.endpoint.retries)
                if wait is None or time.monotonic() + wait >= deadline:
                    raise
            self._sleep(wait)

    def _exchange(self, call: Call[Any], deadline: float) -> HttpAnswer:
        timeouts, left = self.endpoint.timeouts, max(deadline - time.monotonic(), 0.001)
        try:
            with self._session.request(
                call.method,
                self.endpoint.url(call.path),
                params=dict(call.params),
                json=call.body if call.body is not None or call.method != "POST" else {},
                timeout=(min(timeouts.connect, left), min(timeouts.read, left)),
                verify=self.endpoint.verify,
                allow_redirects=False,
                stream=True,
            ) as response:
                return HttpAnswer(response.status_code, self._read(response, deadline))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise self._translated(call, error) from error

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        """Read the body; a server that drips it is cut off at the total time-out, which requests does not know."""
        pieces = []
        # Not iter_content: it waits until a piece is full.
        while piece := response.raw.read1(_PIECE_BYTES, decode_content=True):
            pieces.append(piece)
            if time.monotonic() > deadline:
                raise requests.ReadTimeout(f"no whole answer in {self.endpoint.timeouts.total:g} s")
        return b"".join(pieces)

    def _translated(self, call: Call[Any], error: Exception) -> Exception:
        """Return our error for one of this library's: the only map there is."""
        where, inner = self.endpoint.base_url, _innermost(error)
        if isinstance(error, requests.exceptions.SSLError):
            return no_tls(where, inner)
        if isinstance(error, ValueError):
            return bad_url(where)
        # requests tells a refused connection from one cut later only by the error inside.
        never_sent = isinstance(inner, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
        return no_answer(call, where, _reason(inner), never_sent=never_sent)


def _innermost(error: BaseException) -> BaseException:
    """Return the error inside; the outer ones only repeat what it says."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        arguments = [a for a in (*error.args, getattr(error, "reason", None)) if isinstance(a, BaseException)]
        inner = arguments[-1] if arguments else None
    return error


def _reason(error: BaseException) -> str:
    """Return what an error says, without the address of a Python object before it."""
    return str(error).split(">: ")[-1] or type(error).__name__
