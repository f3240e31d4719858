"""Cancel a backup or a restore, and find out what became of it."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import Any

from airflow_provider_vectorbackup.actions.memory import Remembered, Stage
from airflow_provider_vectorbackup.actions.server import (
    operation_on,
    require_same_operation,
    server_of,
    status_or_none,
)
from airflow_provider_vectorbackup.actions.sharing import SharedClient
from airflow_provider_vectorbackup.actions.tenants import put_back
from airflow_provider_vectorbackup.actions.waiting import Say, wait, wait_async
from airflow_provider_vectorbackup.backups.operation import Operation, summary_of
from airflow_provider_vectorbackup.backups.polling import Watch
from airflow_provider_vectorbackup.backups.status import OperationKind, OperationStatus
from airflow_provider_vectorbackup.exceptions import Forbidden, Rejected, Unauthenticated, VectorBackupError
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.features import Version, parse_version

log = logging.getLogger(__name__)

KILL_SECONDS = 25.0
"""How long a killed task looks for the end of its operation: Airflow gives a trigger 30 s, and a worker often less."""

TENANTS_SECONDS = 2.5
"""How long tenants that were activated for it stay so: a worker has 5 s between SIGTERM and SIGKILL."""

APPEARANCE_SECONDS = 20.0
"""How long a request whose answer nobody saw may take to become a running operation."""

_POLL_SECONDS = 0.5


def cancel(client: WeaviateClient, watch: Watch, *, wait_for_end: bool) -> dict[str, Any]:
    """Ask for cancellation and return the task's result; its status says what really became of the operation.

    :raises NotFound: there is no such operation; the server itself answers 204 to that.
    :raises OperationInProgress: one of the same id is running in another place; it is left alone.
    :raises Forbidden: the user may not cancel it.
    :raises VectorBackupError: its end was not seen before the deadline.
    """
    server = server_of(client.send(calls.read_meta()), watch.address.backend)
    status = client.send(calls.status_of(watch.kind, watch.address))
    # A cancellation, too, is by id only: it would hit the one that is running elsewhere.
    require_same_operation(server, watch.address, status)
    if status.is_final:
        log.info("%s has already ended: %s", watch.name, status.status.value)
    else:
        _ask(client, watch, server.version)
        status = wait(client, watch, log.info) if wait_for_end else status
    return summary_of(operation_on(server, watch.kind, watch.address, server_path=status.server_path), status)


def _ask(client: WeaviateClient, watch: Watch, version: Version) -> None:
    try:
        client.send(calls.cancel(watch.kind, watch.address, version))
    except (Unauthenticated, Forbidden):
        raise
    except Rejected as error:
        # It ended, or can no longer be stopped, between the two requests: the status tells which.
        log.warning("%s can't be canceled: %s", watch.name, error.message)


def cancel_killed(client: WeaviateClient, started: Remembered, say: Say) -> None:
    """Cancel what a killed task started, and say what became of it.

    Raises nothing that is ours, since the task is at its end already.
    """
    operation = started.operation
    watch = _last_watch(operation, KILL_SECONDS)
    try:
        if started.stage is Stage.SENT and not _appears(client, operation):
            say(f"{operation.name} was not begun; there is nothing to cancel.")
            return
        say(f"The task was killed: telling the server to cancel {operation.name}.")
        _ask(client, watch, parse_version(operation.server_version))
        if operation.reactivated:
            _put_back_in_time(client, operation)
        say(_known(operation, wait(client, watch, say)))
    except VectorBackupError as error:
        say(_unknown(operation, error))


async def cancel_killed_async(client: SharedClient, operation: Operation, say: Say) -> None:
    """Do what :func:`cancel_killed` does, on an event loop, for an operation that was accepted."""
    watch = _last_watch(operation, KILL_SECONDS)
    say(f"The task was killed: telling the server to cancel {operation.name}.")
    try:
        try:
            await client.send(calls.cancel(watch.kind, watch.address, parse_version(operation.server_version)))
        except Rejected as error:
            say(f"{operation.name} can't be canceled: {error.message}")
        say(_known(operation, await wait_async(client, watch, say)))
    except VectorBackupError as error:
        say(_unknown(operation, error))


def _last_watch(operation: Operation, seconds: float) -> Watch:
    now = time.time()
    return Watch(operation.kind, operation.address, since=now, deadline=now + seconds, poll_interval=2.0)


def _put_back_in_time(client: WeaviateClient, operation: Operation) -> None:
    """Put tenants back once the backup has ended, but before Airflow ends a worker's process."""
    with suppress(VectorBackupError):
        wait(client, _last_watch(operation, TENANTS_SECONDS), log.info)
    put_back(client, operation.reactivated)


def _appears(client: WeaviateClient, operation: Operation) -> bool:
    """Wait for the operation of a request whose answer nobody saw: the server may be at its start still."""
    deadline = time.monotonic() + APPEARANCE_SECONDS
    while time.monotonic() < deadline:
        seen = status_or_none(client, operation.kind, operation.address)
        # The end of an older restore stands until a new one begins.
        is_old = seen is not None and operation.kind is OperationKind.RESTORE and seen.is_final
        if seen and not is_old and not operation.is_told_elsewhere(seen.server_path):
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _known(operation: Operation, end: OperationStatus) -> str:
    return f"{operation.name} ended as {end.status.value}."


def _unknown(operation: Operation, error: VectorBackupError) -> str:
    return f"What became of {operation.name} was not seen: {error.message} It may still be running."
