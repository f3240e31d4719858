"""What the waits on one event loop share: one HTTP session for each server, one request for each operation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus
from airflow_provider_vectorbackup.exceptions import WeaviateError
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.async_client import AsyncWeaviateClient
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint

T = TypeVar("T")

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, SharedClient]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_client(endpoint: Endpoint) -> AsyncIterator[SharedClient]:
    """Yield this event loop's client of a server; the last to leave closes it.

    :raises VectorBackupError: the endpoint can't be used.
    """
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    client = clients.get(endpoint.identity)
    if client is None:
        client = clients[endpoint.identity] = SharedClient(endpoint)
    client.users += 1
    try:
        await client.opened()
        yield client
    finally:
        client.users -= 1
        if not client.users:
            del clients[endpoint.identity]
            await client.close()


class _Asked:
    """A request for a status. Times are of the monotonic clock, and infinite for what has not happened yet."""

    __slots__ = ("answer", "answered_at", "sent_at")

    def __init__(self, client: AsyncWeaviateClient, kind: OperationKind, address: BackupAddress) -> None:
        self.sent_at = self.answered_at = float("inf")
        # A task of its own: whoever asked first may be canceled while others wait for the answer.
        self.answer = asyncio.create_task(self._ask(client, calls.status_of(kind, address)))

    async def _ask(
        self, client: AsyncWeaviateClient, call: calls.Call[OperationStatus]
    ) -> OperationStatus | WeaviateError:
        self.sent_at = time.monotonic()
        try:
            return await client.send(call)
        except WeaviateError as error:
            return error
        finally:
            self.answered_at = time.monotonic()


class SharedClient:
    """A client that many waits use at once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.users = 0
        self._client = AsyncWeaviateClient(endpoint)
        self._opening: asyncio.Task[AsyncWeaviateClient] | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._asked: dict[tuple[OperationKind, BackupAddress], _Asked] = {}

    async def opened(self) -> None:
        """Open the session, or wait until whoever came first has."""
        if self._opening is None:
            self._opening = self._kept(asyncio.create_task(self._client.__aenter__()))
        await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Close the session and drop what is still asked."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._client.__aexit__(None, None, None)

    def _kept(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        """Keep a task until it has ended."""
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def send(self, call: calls.Call[T]) -> T:
        """Send a call, as :meth:`AsyncWeaviateClient.send` does."""
        return await self._client.send(call)

    async def status(
        self, kind: OperationKind, address: BackupAddress, not_before: float, max_age: float
    ) -> OperationStatus | WeaviateError:
        """Return an operation's status, or the error in its place.

        An answer to somebody else's question will do if that was sent after ``not_before`` (monotonic clock, seconds;
        when the asker's own operation was surely begun) and came at most ``max_age`` seconds ago.
        """
        key = (kind, address)
        asked = self._asked.get(key)
        if asked is None or asked.sent_at < not_before or time.monotonic() - asked.answered_at > max_age:
            asked = self._asked[key] = _Asked(self._client, kind, address)
            self._kept(asked.answer)
        return await asyncio.shield(asked.answer)

    def forget(self, kind: OperationKind, address: BackupAddress) -> None:
        """Drop the last answer on an operation that one wait has done with; others ask again."""
        asked = self._asked.get((kind, address))
        if asked and asked.answer.done():
            del self._asked[kind, address]
