"""Start a backup, or attach to the one that an earlier try of the same task run started."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from airflow_provider_vectorbackup.actions.memory import Memory
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
from airflow_provider_vectorbackup.actions.tenants import (
    InactiveTenants,
    Tenants,
    prepare_tenants,
    put_back,
    tenants_left_out,
)
from airflow_provider_vectorbackup.backups.bases import LATEST, latest_base
from airflow_provider_vectorbackup.backups.ids import attempt_id
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.outcome import Outcome, conclude
from airflow_provider_vectorbackup.backups.selection import names_shown, select_collections, unmatched
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import (
    AlreadyExists,
    InvalidRequest,
    PreflightFailed,
    WeaviateError,
)
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.answers import Accepted
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

log = logging.getLogger(__name__)

MEMORY_KEY = "backup"
_MOST_ATTEMPTS = 50


class IfExists(StrEnum):
    """What to do when a finished backup lies under an id that the user chose."""

    FAIL = "fail"
    REUSE = "reuse"


@dataclass(frozen=True, slots=True)
class BackupOrder:
    """A backup as a user asks for it; ``include`` and ``exclude`` may hold wildcards.

    :param id_is_chosen: whether the user chose the id (else it is this task run's own).
    :param incremental_base: a backup id, ``latest``, or None for a full backup.
    :param location: where the backup will lie, as a worker reaches it.
    """

    address: BackupAddress
    id_is_chosen: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include_users: tuple[str, ...] = ()
    include_roles: tuple[str, ...] = ()
    incremental_base: str | None = None
    compression: str | None = None
    cpu_percentage: int | None = None
    location: str | None = None
    if_exists: IfExists = IfExists.FAIL
    inactive_tenants: InactiveTenants = InactiveTenants.WARN


@dataclass(frozen=True, slots=True)
class _Plan:
    """A checked order: what will be sent, what must come back."""

    request: calls.BackupRequest
    chosen: tuple[str, ...]
    left_out: Tenants


@dataclass(frozen=True, slots=True)
class _Past:
    """What is known of earlier tries of this task run."""

    attempt: int
    remembered: Mapping[str, Any]
    run_started_at: datetime | None

    def holds(self, address: BackupAddress) -> bool:
        """Whether this task run itself chose that id before it sent its request."""
        return bool(self.remembered) and self.remembered["address"]["backup_id"] == address.backup_id


def begin_backup(
    client: WeaviateClient, order: BackupOrder, memory: Memory, run_started_at: datetime | None
) -> Operation:
    """Return the running (or finished) backup of this task run; start it if there is none.

    :param run_started_at: when the Dag run began, UTC; what started under our id before that is not ours.
    :raises InvalidRequest, PreflightFailed: something is in the way; nothing was started.
    :raises AlreadyExists: the id belongs to another backup.
    :raises SelectionMismatch: the server took on other collections; the backup was canceled.
    """
    server = identify_server(client, order.address.backend)
    require_same_place(server, order.address, order.location)
    order = replace(order, address=without_needless_overrides(server, order.address))
    remembered = memory.get(MEMORY_KEY) or {}
    first = remembered.get("attempts", 1)
    for attempt in range(first, first + _MOST_ATTEMPTS):
        tried = replace(order, address=replace(order.address, backup_id=attempt_id(order.address.backup_id, attempt)))
        found = status_or_none(client, OperationKind.BACKUP, tried.address)
        if found is None:
            put_back(client, remembered.get("reactivated", {}))
            return _start(client, ready_server(client, server), tried, memory, attempt)
        if not found.status.is_spent:
            return _attach(client, server, tried, found, _Past(attempt, remembered, run_started_at))
        log.warning("Backup id %r is spent (%s %s).", tried.address.backup_id, found.status, found.error)
    raise PreflightFailed(f"{_MOST_ATTEMPTS} ids from {order.address.backup_id!r} on are spent by failed backups.")


def _start(client: WeaviateClient, server: Server, order: BackupOrder, memory: Memory, attempt: int) -> Operation:
    plan = _plan(client, server, order)
    call = calls.create_backup(plan.request, server.version)
    operation = operation_on(
        server,
        OperationKind.BACKUP,
        order.address,
        location=order.location,
        collections=plan.chosen,
        base_backup_id=plan.request.incremental_base_backup_id,
        attempts=attempt,
    )

    def remember(reactivated: Tenants) -> None:
        memory.set(MEMORY_KEY, replace(operation, reactivated=reactivated).to_json())

    remember({})
    reactivated = prepare_tenants(client, plan.left_out, order.inactive_tenants, remember)
    operation = replace(operation, reactivated=reactivated)
    try:
        accepted = _post(client, call, order)
        operation = replace(operation, server_path=accepted.server_path if accepted else "")
        taken = accepted.collections if accepted else _listed(client, server, operation)
        operation = _compared(client, server, order, operation, taken)
    except BaseException:
        put_back(client, reactivated)
        raise
    memory.set(MEMORY_KEY, operation.to_json())
    log.info(
        "Backup %r of %d collection(s) (%s) started: %s",
        order.address.backup_id,
        len(operation.collections),
        names_shown(operation.collections),
        operation.uri or operation.server_path,
    )
    return operation


def _post(client: WeaviateClient, call: calls.Call[Accepted], order: BackupOrder) -> Accepted | None:
    """Send the POST once; None if its answer was lost or came second, and the backup runs all the same."""
    try:
        return client.send(call)
    except WeaviateError as error:
        lost_answer = error.may_have_started or (isinstance(error, AlreadyExists) and not order.id_is_chosen)
        if not lost_answer:
            raise
        found = status_or_none(client, OperationKind.BACKUP, order.address)
        if found is None or found.status.is_spent:
            raise
        log.warning("The answer was lost (%s), but the backup is there: %s.", error.message, found.status.value)
        return None


def _plan(client: WeaviateClient, server: Server, order: BackupOrder) -> _Plan:
    names = server.collection_names
    chosen = select_collections(names, include=order.include, exclude=order.exclude, where="the server")
    if ignored := unmatched(order.exclude, names):
        log.warning("exclude names what is not there: %s", names_shown(ignored))
    request = calls.BackupRequest(
        order.address,
        # Without a list the server decides what "everything" is, new collections included; its answer is compared.
        include=chosen if order.include or order.exclude else (),
        include_users=order.include_users,
        include_roles=order.include_roles,
        incremental_base_backup_id=_base(client, order, chosen),
        compression=order.compression,
        cpu_percentage=order.cpu_percentage,
    )
    return _Plan(request, chosen, tenants_left_out(client, server, chosen))


def _base(client: WeaviateClient, order: BackupOrder, chosen: tuple[str, ...]) -> str | None:
    """Return the id of the finished backup to build on, None for a full backup."""
    if not order.incremental_base:
        return None
    if order.incremental_base == LATEST:
        if order.address.bucket or order.address.path:
            raise InvalidRequest(
                "incremental_base_backup_id 'latest' can't be found where bucket or path are given: the server's list "
                "shows only its default place.",
                hint="Name the base backup.",
            )
        base = latest_base(client.send(calls.list_backups(order.address.backend)), chosen)
        log.info("Incremental base: %s", base.backup_id if base else "none yet, so this is a full backup")
        return base.backup_id if base else None
    address = replace(order.address, backup_id=order.incremental_base)
    found = status_or_none(client, OperationKind.BACKUP, address)
    if found is None or found.status is not Status.SUCCESS or not found.is_final:
        raise PreflightFailed(
            f"The base {order.incremental_base!r} is {found.status.value if found else 'not there'}.",
            hint="An incremental backup needs a finished base in the same bucket and path.",
        )
    return order.incremental_base


def _attach(
    client: WeaviateClient, server: Server, order: BackupOrder, found: OperationStatus, past: _Past
) -> Operation:
    """Return the operation under this id, if it is this task run's."""
    address = order.address
    _require_ours(order, found, past)
    log.info("Backup %r is there already: %s. Following it, not starting another.", address.backup_id, found.status)
    if past.holds(address):
        return _resumed(client, server, order, found, past)
    listed = listed_backup(client, server.version, address)
    return operation_on(
        server,
        OperationKind.BACKUP,
        address,
        server_path=found.server_path,
        location=order.location,
        collections=listed.collections if listed else (),
        base_backup_id=found.base_backup_id,
        attempts=past.attempt,
    )


def _resumed(
    client: WeaviateClient, server: Server, order: BackupOrder, found: OperationStatus, past: _Past
) -> Operation:
    """Return the operation that an earlier try remembered; compare what that try could not."""
    operation = Operation.from_json(past.remembered)
    if not operation.server_path:
        try:
            operation = _compared(client, server, order, operation, _listed(client, server, operation))
        except BaseException:
            put_back(client, operation.reactivated)
            raise
    return replace(operation, server_path=found.server_path)


def _listed(client: WeaviateClient, server: Server, operation: Operation) -> tuple[str, ...]:
    """Return the collections of a backup whose POST had no answer that anybody saw."""
    listed = listed_backup(client, server.version, operation.address)
    if listed is None:
        log.warning(
            "Backup %r is not in the server's list: whether it holds all that was asked for can't be checked.",
            operation.address.backup_id,
        )
    return listed.collections if listed else operation.collections


def _compared(
    client: WeaviateClient, server: Server, order: BackupOrder, operation: Operation, taken: tuple[str, ...]
) -> Operation:
    """Return the operation with the collections that the server took on, if they are what was asked for."""
    exactly = bool(order.include or order.exclude)
    require_same_collections(client, server.version, operation, taken, exactly=exactly)
    return replace(operation, collections=taken)


def _require_ours(order: BackupOrder, found: OperationStatus, past: _Past) -> None:
    if past.holds(order.address):
        return
    if order.id_is_chosen and found.is_final and order.if_exists is IfExists.REUSE:
        return
    if past.run_started_at and found.started_at and found.started_at >= past.run_started_at:
        return
    raise AlreadyExists(
        f"Backup {order.address.backup_id!r} is there already ({found.status.value}, started {found.started_at}), and "
        f"this run, which began {past.run_started_at}, did not start it.",
        hint="Choose another backup_id"
        + (", or set if_exists to 'reuse' to take a finished one." if order.id_is_chosen else "."),
        backup_id=order.address.backup_id,
    )


def finish_backup(client: WeaviateClient, outcome: Outcome, memory: Memory) -> dict[str, Any]:
    """Put back tenants that were activated for a backup, and return the task's result.

    :raises VectorBackupError: the backup did not end in success, or its end was not seen.
    """
    if outcome.operation.reactivated:
        put_back(client, outcome.operation.reactivated)
        # A later try must not put back again what somebody may have changed since.
        memory.set(MEMORY_KEY, replace(outcome.operation, reactivated={}).to_json())
    return conclude(outcome)
