"""The result of an operation that something else started."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow_provider_vectorbackup.actions.server import (
    listed_backup,
    operation_on,
    require_same_operation,
    server_of,
    without_needless_overrides,
)
from airflow_provider_vectorbackup.backups.outcome import Outcome, conclude
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient


def finish_observed(client: WeaviateClient, outcome: Outcome) -> dict[str, Any]:
    """Return the task's result, with what the server can still tell of the operation.

    :raises VectorBackupError: it did not end in success, or its end was not seen.
    """
    conclude(outcome)
    seen = outcome.operation
    server = server_of(client.send(calls.read_meta()), seen.address.backend)
    address = without_needless_overrides(server, seen.address)
    if outcome.status:
        require_same_operation(server, address, outcome.status)
    # Which collections a restore took on is told only in the answer to its POST.
    listed = listed_backup(client, server.version, address) if seen.kind is OperationKind.BACKUP else None
    operation = operation_on(
        server,
        seen.kind,
        address,
        location=seen.location,
        collections=listed.collections if listed else (),
        base_backup_id=listed.base_backup_id if listed else None,
    )
    return conclude(replace(outcome, operation=operation))
