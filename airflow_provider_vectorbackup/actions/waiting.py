"""Waiting for an operation: two loops, one for tasks and one for triggers, over one decision (``backups.polling``)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from airflow_provider_vectorbackup.backups.polling import Again, Ended, Verdict, Watch, judge
from airflow_provider_vectorbackup.backups.status import OperationStatus
from airflow_provider_vectorbackup.exceptions import WeaviateError
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.async_client import AsyncWeaviateClient
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

Say = Callable[[str], None]

REASON_SECONDS = 2.0
"""A server may say FAILED or CANCELED a moment before it says why."""


def look(client: WeaviateClient, watch: Watch) -> Verdict:
    """Ask for the status once and decide what follows."""
    try:
        seen: OperationStatus | WeaviateError = client.send(calls.status_of(watch.kind, watch.address))
    except WeaviateError as error:
        seen = error
    return judge(watch, seen, time.time())


def wait(client: WeaviateClient, watch: Watch, say: Say) -> OperationStatus:
    """Return the final status of an operation.

    :param say: is given one line at each change of status.
    :raises VectorBackupError: the deadline passed, or the status can't be read any more.
    """
    while True:
        verdict = look(client, watch)
        pause = _next_pause(verdict, say)
        if isinstance(pause, OperationStatus):
            if not _lacks_reason(pause):
                return pause
            time.sleep(REASON_SECONDS)
            return _with_reason(pause, look(client, watch))
        time.sleep(pause)
        watch = verdict.watch


async def wait_async(client: AsyncWeaviateClient, watch: Watch, say: Say) -> OperationStatus:
    """Do what :func:`wait` does, on an event loop."""
    while True:
        verdict = await _look_async(client, watch)
        pause = _next_pause(verdict, say)
        if isinstance(pause, OperationStatus):
            if not _lacks_reason(pause):
                return pause
            await asyncio.sleep(REASON_SECONDS)
            return _with_reason(pause, await _look_async(client, watch))
        await asyncio.sleep(pause)
        watch = verdict.watch


async def _look_async(client: AsyncWeaviateClient, watch: Watch) -> Verdict:
    try:
        seen: OperationStatus | WeaviateError = await client.send(calls.status_of(watch.kind, watch.address))
    except WeaviateError as error:
        seen = error
    return judge(watch, seen, time.time())


def _lacks_reason(end: OperationStatus) -> bool:
    return end.status.is_spent and not end.error


def _with_reason(end: OperationStatus, later: Verdict) -> OperationStatus:
    """Return the end with the reason that a second look brought, if it did; what ended stays ended."""
    seen = later.decision.status if isinstance(later.decision, Ended) else end
    return seen if seen.status is end.status else end


def _next_pause(verdict: Verdict, say: Say) -> float | OperationStatus:
    """Return the seconds to wait, or the end."""
    if verdict.news:
        say(verdict.news)
    decision = verdict.decision
    if isinstance(decision, Again):
        return decision.seconds
    if isinstance(decision, Ended):
        return decision.status
    raise decision.error
