"""Cancel a backup or a restore, and find out what became of it."""

from __future__ import annotations

import logging
import time
from typing import Any

from airflow_provider_vectorbackup.actions.server import operation_on, server_of
from airflow_provider_vectorbackup.actions.waiting import wait
from airflow_provider_vectorbackup.backups.operation import summary_of
from airflow_provider_vectorbackup.backups.polling import Watch
from airflow_provider_vectorbackup.backups.status import OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import Forbidden, Rejected, Unauthenticated
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.features import Version

log = logging.getLogger(__name__)

SETTLE_SECONDS = 12.0
"""A restore that is CANCELED can still turn into SUCCESS at the coordinator's next round, up to 10 s later."""


def cancel(client: WeaviateClient, watch: Watch, *, wait_for_end: bool) -> dict[str, Any]:
    """Ask for cancellation and return the task's result; its status says what really became of the operation.

    :raises NotFound: there is no such operation; the server itself answers 204 to that.
    :raises Forbidden: the user may not cancel it.
    :raises VectorBackupError: its end was not seen before the deadline.
    """
    server = server_of(client.send(calls.read_meta()), watch.address.backend)
    status = client.send(calls.status_of(watch.kind, watch.address))
    if status.is_final:
        log.info("%s has already ended: %s", watch.name, status.status.value)
    else:
        _ask(client, watch, server.version)
        status = _end_of(client, watch) if wait_for_end else status
    return summary_of(operation_on(server, watch.kind, watch.address, server_path=status.server_path), status)


def _ask(client: WeaviateClient, watch: Watch, version: Version) -> None:
    try:
        client.send(calls.cancel(watch.kind, watch.address, version))
    except (Unauthenticated, Forbidden):
        raise
    except Rejected as error:
        # It ended, or can no longer be stopped, between the two requests: the status tells which.
        log.warning("%s can't be canceled: %s", watch.name, error.message)


def _end_of(client: WeaviateClient, watch: Watch) -> OperationStatus:
    status = wait(client, watch, log.info)
    if watch.kind is OperationKind.RESTORE and status.status is Status.CANCELED:
        time.sleep(SETTLE_SECONDS)
        status = wait(client, watch, log.info)
    return status
