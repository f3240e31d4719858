"""Start a restore, or attach to the one that an earlier try of the same task run started."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_vectorbackup.actions.memory import Memory
from airflow_provider_vectorbackup.actions.obstacles import IfCollectionExists, clear_way, find_obstacles
from airflow_provider_vectorbackup.actions.selection import require_same_collections
from airflow_provider_vectorbackup.actions.server import (
    Server,
    identify_server,
    listed_backup,
    operation_on,
    ready_server,
    require_same_place,
    status_or_none,
    without_needless_overrides,
)
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.outcome import Outcome, conclude
from airflow_provider_vectorbackup.backups.selection import is_pattern, names_shown, select_collections
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import InvalidRequest, PreflightFailed, WeaviateError
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.answers import Accepted
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

log = logging.getLogger(__name__)

MEMORY_KEY = "restore"


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """A restore as a user asks for it; ``include`` and ``exclude`` may hold wildcards.

    :param allow_replace: must be set as well for ``if_collection_exists='replace'``, which deletes collections.
    :param location: where the backup lies, as a worker reaches it.
    """

    address: BackupAddress
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    node_mapping: Mapping[str, str] = field(default_factory=dict)
    cpu_percentage: int | None = None
    overwrite_alias: bool = False
    roles_options: str | None = None
    users_options: str | None = None
    location: str | None = None
    if_collection_exists: IfCollectionExists = IfCollectionExists.FAIL
    allow_replace: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """A checked order: what will be sent and deleted, and what stood there before."""

    chosen: tuple[str, ...]
    to_delete: tuple[str, ...]
    before: OperationStatus | None
    attempt: int


def begin_restore(client: WeaviateClient, order: RestoreOrder, memory: Memory) -> Operation:
    """Return the running (or finished) restore of this task run; start it if there is none.

    :raises InvalidRequest, PreflightFailed: something is in the way; nothing was started.
    :raises NothingToRestore: all collections are there already and are to be skipped.
    :raises SelectionMismatch: the server took on other collections; the restore was canceled.
    """
    _require_replace_allowed(order)
    server = identify_server(client, order.address.backend)
    require_same_place(server, order.address, order.location)
    order = replace(order, address=without_needless_overrides(server, order.address))
    before = status_or_none(client, OperationKind.RESTORE, order.address)
    remembered = memory.get(MEMORY_KEY) or {}
    if before and _is_ours(before, remembered):
        log.info("Restore of %r is there already: %s. Following it.", order.address.backup_id, before.status)
        return replace(Operation.from_json(remembered["operation"]), server_path=before.server_path)
    _require_startable(client, order, before)
    server = ready_server(client, server)
    chosen = _choose(client, server, order)
    obstacles = find_obstacles(client, server, chosen)
    chosen = clear_way(chosen, obstacles, order.if_collection_exists, order.address.backup_id)
    to_delete = tuple(obstacles) if order.if_collection_exists is IfCollectionExists.REPLACE else ()
    return _start(client, server, order, _Plan(chosen, to_delete, before, remembered.get("attempts", 0) + 1), memory)


def _start(client: WeaviateClient, server: Server, order: RestoreOrder, plan: _Plan, memory: Memory) -> Operation:
    call = calls.restore_backup(_request(order, plan.chosen), server.version)
    operation = operation_on(
        server,
        OperationKind.RESTORE,
        order.address,
        location=order.location,
        collections=plan.chosen,
        attempts=plan.attempt,
    )
    before = plan.before.status.value if plan.before else None
    intent = {"attempts": plan.attempt, "before": before, "operation": operation.to_json()}
    memory.set(MEMORY_KEY, intent | {"accepted": False})
    for name in plan.to_delete:
        log.warning("Deleting collection %s, to be replaced by the backup's.", name)
        client.send(calls.delete_collection(name))
    accepted = _post(client, call, order, plan.before)
    if accepted is not None:
        operation = replace(operation, server_path=accepted.server_path)
        require_same_collections(client, server.version, operation, accepted.collections, exactly=bool(plan.chosen))
        operation = replace(operation, collections=accepted.collections)
    memory.set(MEMORY_KEY, intent | {"accepted": True, "operation": operation.to_json()})
    log.info(
        "Restore of %r started, %d collection(s): %s",
        order.address.backup_id,
        len(operation.collections),
        names_shown(operation.collections),
    )
    return operation


def _post(
    client: WeaviateClient, call: calls.Call[Accepted], order: RestoreOrder, before: OperationStatus | None
) -> Accepted | None:
    """Send the POST once; None if its answer was lost and the restore runs all the same."""
    try:
        return client.send(call)
    except WeaviateError as error:
        found = status_or_none(client, OperationKind.RESTORE, order.address) if error.may_have_started else None
        # Only a state that was not there before can be this request's; an old SUCCESS stands through failed ones.
        if found is None or found.status.is_spent or (before and found.status is before.status):
            raise
        log.warning("The answer was lost (%s), but the restore is there: %s.", error.message, found.status.value)
        return None


def _is_ours(before: OperationStatus, remembered: Mapping[str, Any]) -> bool:
    """Whether the state that the server shows is that of a restore which an earlier try of this task run started."""
    if not remembered or before.status.is_spent or before.status is Status.CANCELLING:
        return False
    return bool(remembered["accepted"]) or before.status.value != remembered["before"]


def _require_startable(client: WeaviateClient, order: RestoreOrder, before: OperationStatus | None) -> None:
    """Raise if the server would take the request and do nothing, or if the backup is not whole."""
    backup_id = order.address.backup_id
    if before and before.status is Status.CANCELLING:
        raise PreflightFailed(
            f"A canceled restore of {backup_id!r} left the state CANCELLING behind; the server would accept a new "
            "one and do nothing.",
            hint=f"Delete the object {backup_id}/restore_config.json in the backup's storage and try again.",
            backup_id=backup_id,
        )
    backup = status_or_none(client, OperationKind.BACKUP, order.address)
    if backup is None or backup.status is not Status.SUCCESS:
        raise PreflightFailed(
            f"Backup {backup_id!r} on {order.address.backend} is {backup.status.value if backup else 'not there'}.",
            hint="Only a SUCCESS one can be restored. Look at the id, and at bucket and path if it was made with them.",
            backup_id=backup_id,
        )


def _choose(client: WeaviateClient, server: Server, order: RestoreOrder) -> tuple[str, ...]:
    """Return the collections to restore; empty for "all of a backup whose list is not known"."""
    listed = listed_backup(client, server.version, order.address)
    if listed:
        where = f"backup {order.address.backup_id}"
        return select_collections(listed.collections, include=order.include, exclude=order.exclude, where=where)
    if order.exclude or any(is_pattern(name) for name in order.include):
        raise InvalidRequest(
            f"Backup {order.address.backup_id!r} is not in the server's list, so patterns can't be checked.",
            hint="Name the collections in include.",
        )
    if not order.include and server.collections:
        raise InvalidRequest(
            f"Backup {order.address.backup_id!r} is not in the server's list, and the server has collections: whether "
            "they are in the way can't be checked.",
            hint="Name the collections in include.",
        )
    return tuple(sorted(set(order.include)))


def _require_replace_allowed(order: RestoreOrder) -> None:
    if order.if_collection_exists is IfCollectionExists.REPLACE and not order.allow_replace:
        raise InvalidRequest(
            "if_collection_exists='replace' deletes the collections in the way before it restores.",
            hint="Set allow_replace=True as well if that is meant.",
        )


def _request(order: RestoreOrder, chosen: tuple[str, ...]) -> calls.RestoreRequest:
    return calls.RestoreRequest(
        order.address,
        include=chosen,
        node_mapping=order.node_mapping,
        cpu_percentage=order.cpu_percentage,
        overwrite_alias=order.overwrite_alias,
        roles_options=order.roles_options,
        users_options=order.users_options,
    )


def finish_restore(outcome: Outcome, memory: Memory) -> dict[str, Any]:
    """Return the task's result.

    :raises VectorBackupError: the restore did not end in success, or its end was not seen.
    """
    result = conclude(outcome)
    # Whoever clears the task afterwards wants another restore, not this one's result.
    memory.delete(MEMORY_KEY)
    return result
