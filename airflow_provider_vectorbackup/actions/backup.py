"""Start a backup, or attach to the one that an earlier try of the same task run started."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from airflow_provider_vectorbackup.actions.backup_content import (
    Recording,
    record_after,
    record_before,
    require_place,
)
from airflow_provider_vectorbackup.actions.bases import BaseWish, as_made, find_base
from airflow_provider_vectorbackup.actions.evidence import OpenStore, explained
from airflow_provider_vectorbackup.actions.lost_answers import found_after_loss
from airflow_provider_vectorbackup.actions.memory import Memory, Remembered, Stage, recall
from airflow_provider_vectorbackup.actions.selection import require_same_collections
from airflow_provider_vectorbackup.actions.server import (
    Server,
    identify_server,
    listed_backup,
    operation_on,
    ready_server,
    require_same_operation,
    require_same_place,
    status_or_none,
    without_needless_overrides,
)
from airflow_provider_vectorbackup.actions.stored_facts import Place
from airflow_provider_vectorbackup.actions.tenants import (
    InactiveTenants,
    Tenants,
    prepare_tenants,
    put_back,
    tenants_left_out,
)
from airflow_provider_vectorbackup.backups.ids import attempt_id
from airflow_provider_vectorbackup.backups.operation import DAY_SECONDS, Operation, root_of
from airflow_provider_vectorbackup.backups.outcome import Outcome, conclude
from airflow_provider_vectorbackup.backups.selection import names_shown, select_collections, unmatched
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import (
    AlreadyExists,
    OperationInProgress,
    PreflightFailed,
    WeaviateError,
)
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.answers import Accepted
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

log = logging.getLogger(__name__)

_MOST_ATTEMPTS = 50
_SHOWN = 200
"""Of the server's reason, which may hold the whole request to its storage."""


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
    :param records_content: whether what the server holds is recorded, just before and just after.
    :param timeout_seconds: how long to wait for its end, from its start.
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
    records_content: bool = False
    timeout_seconds: float = DAY_SECONDS


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
    remembered: Remembered | None
    run_started_at: datetime | None

    def holds(self, address: BackupAddress) -> bool:
        """Whether this task run itself sent a request for that id, or was about to, and was not refused."""
        past = self.remembered
        return past is not None and past.may_run and past.operation.address.backup_id == address.backup_id


def begin_backup(
    client: WeaviateClient,
    order: BackupOrder,
    memory: Memory,
    run_started_at: datetime | None,
    open_store: OpenStore | None = None,
) -> Operation:
    """Return the running (or finished) backup of this task run; start it if there is none.

    :param run_started_at: when the Dag run began, UTC; what started under our id before that is not ours.
    :param open_store: opens the order's location, to look whether a backup can build on the base.
    :raises InvalidRequest, PreflightFailed: something is in the way; nothing was started.
    :raises AlreadyExists: the id belongs to another backup.
    :raises OperationInProgress: the server is busy with another one; nothing was started.
    :raises SelectionMismatch: the server took on other collections; the backup was canceled.
    """
    if order.records_content:
        require_place(root_of(order.location, order.address))
    server = identify_server(client, order.address.backend)
    require_same_place(server, order.address, order.location)
    root = root_of(order.location, order.address)
    address = without_needless_overrides(server, order.address)
    order = replace(order, address=address, location=str(root) if root else None)
    remembered = recall(memory, OperationKind.BACKUP)
    first = remembered.operation.attempts + (remembered.stage is Stage.SPENT) if remembered else 1
    for attempt in range(first, first + _MOST_ATTEMPTS):
        tried = replace(order, address=replace(order.address, backup_id=attempt_id(order.address.backup_id, attempt)))
        past = _Past(attempt, remembered, run_started_at)
        found = status_or_none(client, OperationKind.BACKUP, tried.address)
        if found is None:
            put_back(client, remembered.operation.reactivated if remembered else {})
            return _start(client, ready_server(client, server), tried, memory, past, open_store=open_store)
        require_same_operation(server, tried.address, found)
        if not found.status.is_spent:
            return _attach(client, server, tried, found, past)
        log.warning("Backup id %r is spent (%s %s).", tried.address.backup_id, found.status, found.error[:_SHOWN])
    raise PreflightFailed(f"{_MOST_ATTEMPTS} ids from {order.address.backup_id!r} on are spent by failed backups.")


def _start(
    client: WeaviateClient,
    server: Server,
    order: BackupOrder,
    memory: Memory,
    past: _Past,
    *,
    open_store: OpenStore | None,
) -> Operation:
    plan = _plan(client, server, order, open_store)
    call = calls.create_backup(plan.request, server.version)
    now = time.time()
    operation = operation_on(
        server,
        OperationKind.BACKUP,
        order.address,
        location=order.location,
        collections=plan.chosen,
        base_backup_id=plan.request.incremental_base_backup_id,
        attempts=past.attempt,
        since=now,
        deadline=now + order.timeout_seconds,
    )
    sent = Remembered(operation, Stage.SENT).keep(memory)

    def remember(reactivated: Tenants) -> None:
        sent.keep(memory, operation=replace(operation, reactivated=reactivated))

    reactivated = prepare_tenants(client, plan.left_out, order.inactive_tenants, remember)
    operation = replace(operation, reactivated=reactivated)
    try:
        if order.records_content and open_store:
            record_before(client, server, operation, Recording(order.inactive_tenants, memory, open_store))
        accepted = _post(client, call, order, past, sent)
        operation = replace(operation, server_path=accepted.server_path if accepted else "")
        taken = accepted.collections if accepted else _listed(client, server, operation)
        operation = _compared(client, server, order, operation, taken)
    except BaseException as error:
        put_back(client, reactivated)
        if isinstance(error, WeaviateError) and not error.may_have_started:
            # An earlier try's backup, for which the server says 404 just now, stays ours.
            kept = past.remembered if past.remembered and past.holds(order.address) else None
            (kept or replace(sent, stage=Stage.REFUSED)).keep(memory)
        raise
    sent.keep(memory, stage=Stage.ACCEPTED, operation=operation)
    log.info(
        "Backup %r of %d collection(s) (%s) started: %s",
        order.address.backup_id,
        len(operation.collections),
        names_shown(operation.collections),
        operation.uri or operation.server_path,
    )
    return operation


def _post(
    client: WeaviateClient, call: calls.Call[Accepted], order: BackupOrder, past: _Past, sent: Remembered
) -> Accepted | None:
    """Send the POST once; None if its answer was lost or came second, and our backup runs all the same."""
    try:
        return client.send(call)
    except WeaviateError as error:
        # A proxy in between may have sent it twice: then the second answer says that the id, our own, is taken.
        taken = isinstance(error, AlreadyExists)
        blocked = isinstance(error, OperationInProgress) and error.blocking_id == order.address.backup_id
        if not (error.may_have_started or taken or blocked):
            raise
        found = found_after_loss(
            error, lambda: status_or_none(client, OperationKind.BACKUP, order.address), lambda seen: seen is not None
        )
        if found is None or found.status.is_spent:
            raise
        if taken:
            # Under an id of the user's choice, it may as well be somebody else's who was faster.
            _require_ours(order, found, past if order.id_is_chosen else replace(past, remembered=sent))
        log.warning("The answer was lost (%s), but the backup is there: %s.", error.message, found.status.value)
        return None


def _plan(client: WeaviateClient, server: Server, order: BackupOrder, open_store: OpenStore | None) -> _Plan:
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
        incremental_base_backup_id=_base(client, server, order, chosen, open_store),
        compression=order.compression,
        cpu_percentage=order.cpu_percentage,
    )
    return _Plan(request, chosen, tenants_left_out(client, server, chosen))


def _base(
    client: WeaviateClient,
    server: Server,
    order: BackupOrder,
    chosen: tuple[str, ...],
    open_store: OpenStore | None,
) -> str | None:
    """Return the id of the finished backup to build on, None for a full backup."""
    if not order.incremental_base:
        return None
    place, codec = Place.of(open_store, root_of(order.location, order.address)), calls.codec_of_level(order.compression)
    return find_base(client, BaseWish(order.address, order.incremental_base, chosen, codec, server.nodes, place))


def _attach(
    client: WeaviateClient, server: Server, order: BackupOrder, found: OperationStatus, past: _Past
) -> Operation:
    """Return the operation under this id, if it is this task run's."""
    address, now = order.address, time.time()
    _require_ours(order, found, past)
    log.info("Backup %r is there already: %s. Following it, not starting another.", address.backup_id, found.status)
    attached_at = None if found.is_final else now
    if past.remembered and past.holds(address):
        operation = _resumed(client, server, order, past.remembered.operation)
        return replace(
            operation,
            server_path=found.server_path,
            attached_at=attached_at,
            deadline=operation.deadline or now + order.timeout_seconds,
        )
    listed = listed_backup(client, server.version, address)
    since = found.started_at.timestamp() if found.started_at else now
    return operation_on(
        server,
        OperationKind.BACKUP,
        address,
        server_path=found.server_path,
        location=order.location,
        collections=listed.collections if listed else (),
        base_backup_id=found.base_backup_id,
        attempts=past.attempt,
        since=since,
        deadline=since + order.timeout_seconds,
        attached_at=attached_at,
    )


def _resumed(client: WeaviateClient, server: Server, order: BackupOrder, operation: Operation) -> Operation:
    """Return the operation that an earlier try remembered; compare what that try could not."""
    if operation.server_path:
        return operation
    try:
        return _compared(client, server, order, operation, _listed(client, server, operation))
    except BaseException:
        put_back(client, operation.reactivated)
        raise


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


def finish_backup(
    client: WeaviateClient,
    outcome: Outcome,
    memory: Memory,
    open_store: OpenStore | None = None,
    *,
    content_of: InactiveTenants | None = None,
) -> dict[str, Any]:
    """Put back tenants that were activated for a backup, and return the task's result.

    :param open_store: opens the operation's location, to see what an incremental backup really builds on.
    :param content_of: if what the server holds is recorded after a backup that ended well: the backup's policy about
        tenants that are not active.
    :raises VectorBackupError: the backup did not end in success, or its end was not seen.
    """
    operation, remembered = outcome.operation, recall(memory, OperationKind.BACKUP)
    is_made = outcome.status is not None and outcome.status.status is Status.SUCCESS
    recorded = {}
    try:
        if content_of and is_made and open_store:
            recorded = {"content": record_after(client, operation, Recording(content_of, memory, open_store))}
    finally:
        if operation.reactivated:
            put_back(client, operation.reactivated)
            # A later try must not put back again what somebody may have changed since.
            remembered = replace(remembered, operation=replace(operation, reactivated={})) if remembered else None
        if remembered:
            remembered.as_ended(outcome).keep(memory)
    if is_made:
        outcome = replace(outcome, operation=as_made(operation, Place.of(open_store, operation.root)))
    return conclude(explained(client, open_store, outcome)) | recorded
