"""Waiting for an operation: two loops, one for tasks and one for triggers, over one decision (``backups.polling``)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from airflow_provider_vectorbackup.actions.sharing import SharedClient
from airflow_provider_vectorbackup.backups.outcome import is_damage
from airflow_provider_vectorbackup.backups.polling import Again, Ended, Verdict, Watch, judge
from airflow_provider_vectorbackup.backups.status import OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import WeaviateError
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

Say = Callable[[str], None]

REASON_SECONDS = 2.0
"""A server may say FAILED or CANCELED a moment before it says why."""

SETTLE_SECONDS = 12.0
"""A restore that is CANCELED can still turn into SUCCESS at the coordinator's next round, up to 10 s later."""

SHARED_SECONDS = 1.0
"""How old an answer may be that waits on one operation share: so much later a wait may learn of the end."""

RESTARTED_SECONDS = 30.0
"""The age of an operation from which on its first look can wait: after a restart, all waits begin at once."""

_SHORTEST_SHARE = 0.75


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
            if not (doubt := seconds_of_doubt(pause)):
                return pause
            time.sleep(doubt)
            return _second_word(pause, look(client, verdict.watch), say)
        time.sleep(pause)
        watch = verdict.watch


async def wait_async(client: SharedClient, watch: Watch, say: Say) -> OperationStatus:
    """Do what :func:`wait` does, on an event loop."""
    try:
        return await _wait_async(client, watch, say)
    finally:
        client.forget(watch.kind, watch.address)


async def _wait_async(client: SharedClient, watch: Watch, say: Say) -> OperationStatus:
    now = time.time()
    if now - watch.since > RESTARTED_SECONDS and now < watch.deadline:
        longest = min(watch.poll_interval, watch.deadline - now)
        await asyncio.sleep(random.uniform(0.0, longest))  # noqa: S311  # it hides nothing
    began, pause = time.monotonic(), 0.0
    while True:
        # An answer that another wait on the same operation has just got serves us too.
        max_age = min(pause / 2, SHARED_SECONDS)
        verdict = judge(watch, await client.status(watch.kind, watch.address, began, max_age), time.time())
        next_pause = _next_pause(verdict, say)
        if isinstance(next_pause, OperationStatus):
            if not (doubt := seconds_of_doubt(next_pause)):
                return next_pause
            await asyncio.sleep(doubt)
            later = await client.status(watch.kind, watch.address, time.monotonic(), 0.0)
            return _second_word(next_pause, judge(verdict.watch, later, time.time()), say)
        await asyncio.sleep(next_pause)
        watch, pause = verdict.watch, next_pause


def jittered(seconds: float) -> float:
    """Return somewhat less: waits that began together must not ask together for ever."""
    return seconds * random.uniform(_SHORTEST_SHARE, 1.0)  # noqa: S311  # it hides nothing


def seconds_of_doubt(end: OperationStatus) -> float:
    """Return after how many seconds an end must be looked at once more; 0 for one that stands."""
    if end.kind is OperationKind.RESTORE and end.status is Status.CANCELED and not is_damage(end):
        return SETTLE_SECONDS
    return REASON_SECONDS if end.status.is_spent and not end.error else 0.0


def _second_word(end: OperationStatus, later: Verdict, say: Say) -> OperationStatus:
    """Return the end as the second look shows it: with a reason, or a canceled restore that succeeded after all.

    A FAILED stays one, whatever the server says later.
    """
    seen = later.decision.status if isinstance(later.decision, Ended) else end
    if later.news:
        say(later.news)
    if seen.status is end.status or (end.kind is OperationKind.RESTORE and end.status is Status.CANCELED):
        return seen
    return end


def _next_pause(verdict: Verdict, say: Say) -> float | OperationStatus:
    """Return the seconds to wait, or the end."""
    if verdict.news:
        say(verdict.news)
    decision = verdict.decision
    if isinstance(decision, Again):
        return jittered(decision.seconds)
    if isinstance(decision, Ended):
        return decision.status
    raise decision.error
