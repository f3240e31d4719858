"""The end of a restore: whether it is our own, what it has brought, and the task's result."""

from __future__ import annotations

from typing import Any

from airflow_provider_vectorbackup.actions.arrivals import with_arrivals
from airflow_provider_vectorbackup.actions.evidence import OpenStore, explained, stored_restore_start
from airflow_provider_vectorbackup.actions.memory import Memory, forget, recall
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.outcome import Outcome, conclude
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.exceptions import JobError, OperationLost
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient


def finish_restore(
    client: WeaviateClient, outcome: Outcome, memory: Memory, open_store: OpenStore | None = None
) -> dict[str, Any]:
    """Return the task's result.

    :raises VectorBackupError: the restore did not end in success, or its end was not seen, or the success is another
        restore's.
    """
    if remembered := recall(memory, OperationKind.RESTORE):
        remembered.as_ended(outcome).keep(memory)
    _require_own(outcome.operation, open_store)
    try:
        result = conclude(explained(client, open_store, outcome))
    except JobError as error:
        raise with_arrivals(client, outcome.operation, error) from error
    # Whoever clears the task afterwards wants another restore, not this one's result.
    forget(memory, OperationKind.RESTORE)
    return result


def _require_own(operation: Operation, open_store: OpenStore | None) -> None:
    """Raise if the state that was waited for is no longer this restore's.

    :raises OperationLost: storage shows a restore that began at another time.
    """
    backup_id, ours = operation.address.backup_id, operation.restore_started_at
    if ours is None:
        return
    now = stored_restore_start(open_store, operation.root, backup_id)
    if now is not None and now != ours:
        raise OperationLost(
            f"{operation.name} can't be told from another one: ours began at {ours}, the last one in storage at "
            f"{now or 'no time at all'}.",
            hint="Somebody else restored the same backup meanwhile, or the state was deleted: compare the collections.",
            backup_id=backup_id,
        )
