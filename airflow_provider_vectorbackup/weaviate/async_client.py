"""The asynchronous client (aiohttp), for triggers: a poll costs a quarter of the CPU that it costs in requests."""

from __future__ import annotations

import asyncio
import json
import time
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

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


class AsyncWeaviateClient:
    """Sends calls to one server. An asynchronous context manager, bound to the running event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._session: aiohttp.ClientSession | None = None
        self._proxy: str | None = None

    async def __aenter__(self) -> Self:
        timeouts = self.endpoint.timeouts
        self._proxy = _proxy_to(self.endpoint.base_url)
        self._session = aiohttp.ClientSession(
            headers=self.endpoint.headers,
            connector=aiohttp.TCPConnector(ssl=await asyncio.to_thread(ssl_context, self.endpoint)),
            # The total is bounded for all repeats together, below. Not "connect": that would count the wait for one
            # of the session's connections, which many waits share.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect, sock_read=timeouts.read),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, call: Call[T]) -> T:
        """Send a call and return its parsed answer; repeat it a few times where that is safe.

        :raises WeaviateError: one of its subclasses.
        """
        deadline = time.monotonic() + self.endpoint.timeouts.total
        attempt = 0
        while True:
            attempt += 1
            try:
                return read_answer(call, await self._exchange(call, deadline))
            except WeaviateError as error:
                wait = seconds_before_repeat(call, error, attempt, self.endpoint.retries)
                if wait is None or time.monotonic() + wait >= deadline:
                    raise
            await asyncio.sleep(wait)

    async def _exchange(self, call: Call[Any], deadline: float) -> HttpAnswer:
        if self._session is None:
            raise RuntimeError("AsyncWeaviateClient is used outside of its 'async with'.")
        body = call.body if call.body is not None or call.method != "POST" else {}
        try:
            async with (
                asyncio.timeout(max(deadline - time.monotonic(), 0.001)),
                self._session.request(
                    call.method,
                    self.endpoint.url(call.path),
                    params=dict(call.params),
                    data=None if body is None else json.dumps(body),
                    headers={"Content-Type": "application/json"},
                    allow_redirects=False,
                    proxy=self._proxy,
                ) as response,
            ):
                return HttpAnswer(response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._translated(call, error) from error

    def _translated(self, call: Call[Any], error: Exception) -> Exception:
        """Return our error for one of this library's: the only map there is."""
        where = self.endpoint.base_url
        if isinstance(error, aiohttp.ClientSSLError):
            return no_tls(where, error)
        if isinstance(error, ValueError):
            return bad_url(where)
        never_sent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        return no_answer(call, where, str(error) or type(error).__name__, never_sent=never_sent)


def _proxy_to(url: str) -> str | None:
    """Return the proxy that the environment names; aiohttp's own look at it takes credentials from ~/.netrc too."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise bad_url(url) from error
    proxies = getproxies()
    return None if proxy_bypass(parts.netloc) else proxies.get(parts.scheme) or proxies.get("all")
