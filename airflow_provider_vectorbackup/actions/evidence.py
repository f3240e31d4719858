"""What can be found out beside the server's own status: the health of its nodes, and what lies in storage."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.status import OperationKind, Status
from airflow_provider_vectorbackup.exceptions import (
    BrokenDescriptor,
    OperationLost,
    OperationTimedOut,
    VectorBackupError,
)
from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.descriptors import StoredState, global_key, node_key, parse_state

log = logging.getLogger(__name__)

OpenStore = Callable[[Location], Store]
NO_RESTORE = ""
"""What :func:`stored_restore_start` returns where no restore was ever begun."""


def stored_restore_start(open_store: OpenStore | None, root: Location | None, backup_id: str) -> str | None:
    """Return when the last restore of a backup began, as storage has it; None where that can't be read."""
    if open_store is None or root is None:
        return None
    try:
        with closing(open_store(root)) as store:
            state = _read(store, global_key(OperationKind.RESTORE, backup_id))
    except VectorBackupError as error:
        log.warning("The state of restores in %s can't be read; the server's word must do. %s", root, error)
        return None
    return state.started_at if state else NO_RESTORE


def running_restore(store: Store, backup_id: str) -> str:
    """Return in words what says that a backup is being restored just now; empty where nothing does.

    :raises StorageError: that can't be read.
    """
    key = global_key(OperationKind.RESTORE, backup_id)
    try:
        state = _read(store, key)
    except BrokenDescriptor as error:
        return f"may be being restored just now: {error.message}"
    if state is None or state.status is Status.SUCCESS or state.status.is_spent:
        return ""
    return f"may be being restored just now: {key} says {state.status}"


def explained(client: WeaviateClient, open_store: OpenStore | None, outcome: Outcome) -> Outcome:
    """Return the outcome, its error extended by what is known where the end of an operation was not seen."""
    error, operation = outcome.error, outcome.operation
    if not isinstance(error, OperationTimedOut | OperationLost):
        return outcome
    known = [_nodes(client), *_stored(open_store, operation)]
    told = type(error)(f"{error.message} {' '.join(known)}", hint=error.hint, backup_id=error.backup_id)
    return Outcome(operation, error=told)


def _nodes(client: WeaviateClient) -> str:
    try:
        nodes = client.send(calls.read_nodes())
    except VectorBackupError as error:
        return f"The server's nodes can't be asked: {error.message}"
    return f"Nodes: {', '.join(f'{node.name} {node.status}' for node in nodes)}."


def _stored(open_store: OpenStore | None, operation: Operation) -> list[str]:
    """Return sentences on what storage shows; none where no location is known."""
    if open_store is None or operation.root is None:
        return []
    try:
        with closing(open_store(operation.root)) as store:
            return _read_all(store, operation)
    except VectorBackupError as error:
        return [f"Storage can't be read: {error.message}"]


def _read_all(store: Store, operation: Operation) -> list[str]:
    backup_id, kind = operation.address.backup_id, operation.kind
    key = global_key(kind, backup_id)
    state = _read(store, key)
    if state is None:
        return [f"Storage has no {key}."]
    told = [f"In storage, {key} says {_in_words(state)}."]
    if kind is OperationKind.RESTORE:
        return told
    nodes = {node: _read(store, node_key(backup_id, node)) for node in state.nodes}
    written = [f"{node} {_in_words(state) if state else 'nothing'}" for node, state in nodes.items()]
    told.append(f"Written by nodes: {', '.join(written)}.")
    if nodes and all(s and s.status is Status.SUCCESS for s in nodes.values()) and state.status is not Status.SUCCESS:
        told.append("So all data is there, but the server's last word on it could not be written.")
    elif not any(nodes.values()) and state.status is Status.STARTED:
        told.append("So no node has finished; if the server was restarted since, nobody works on it any more.")
    return told


def _read(store: Store, key: str) -> StoredState | None:
    content = store.read(key)
    return None if content is None else parse_state(key, content)


def _in_words(state: StoredState) -> str:
    status = state.status.value if state.status is not Status.UNKNOWN else "nothing known"
    return f"{status} ({state.error})" if state.error else status
