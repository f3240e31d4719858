"""Start a restore, or attach to the one that an earlier try of the same task run started."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from airflow_provider_vectorbackup.actions.evidence import NO_RESTORE, OpenStore, stored_restore_start
from airflow_provider_vectorbackup.actions.lost_answers import found_after_loss
from airflow_provider_vectorbackup.actions.memory import Memory, Remembered, Stage, recall
from airflow_provider_vectorbackup.actions.obstacles import (
    IfCollectionExists,
    aliases_of,
    clear_way,
    find_obstacles,
)
from airflow_provider_vectorbackup.actions.restore_checks import RestoreWish, require_restorable
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
from airflow_provider_vectorbackup.actions.stored_facts import Place
from airflow_provider_vectorbackup.actions.waiting import seconds_of_doubt
from airflow_provider_vectorbackup.backups.operation import DAY_SECONDS, Operation, root_of
from airflow_provider_vectorbackup.backups.selection import is_pattern, names_shown, select_collections
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import (
    InvalidRequest,
    NothingToRestore,
    OperationLost,
    PreflightFailed,
    WeaviateError,
)
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.answers import Accepted
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.descriptors import GlobalDescriptor

log = logging.getLogger(__name__)

StoredStart = Callable[[], str | None]
"""Tells when the last restore of the backup began, as storage has it now; see ``evidence.stored_restore_start``."""


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """A restore as a user asks for it; ``include`` and ``exclude`` may hold wildcards.

    :param allow_replace: must be set as well for ``if_collection_exists='replace'``, which deletes collections.
    :param ignore_mismatch: whether modules that the target lacks and can restore without, and replication factors
        above its number of nodes, are no obstacle.
    :param location: where the backup lies, as a worker reaches it.
    :param maps_nodes: whether nodes that the target lacks, and ``node_mapping`` does not name, go to others of it.
    :param arrived: collections that an earlier restore has brought: they are left out.
    :param timeout_seconds: how long to wait for its end, from its start.
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
    ignore_mismatch: bool = False
    maps_nodes: bool = False
    arrived: frozenset[str] = frozenset()
    timeout_seconds: float = DAY_SECONDS


@dataclass(frozen=True, slots=True)
class _Before:
    """The last restore of the backup before this one, and what earlier tries of this task run left.

    :param started_at: its start as storage has it (``NO_RESTORE`` if there was none), None where that is not known.
    """

    status: OperationStatus | None
    started_at: str | None
    remembered: Remembered | None

    @property
    def starts(self) -> int:
        """How many restores this task run has started so far."""
        past = self.remembered
        return past.operation.attempts - (past.stage is Stage.REFUSED) if past else 0

    def may_have_left(self, seen: OperationStatus, started_at: str | None) -> bool:
        """Whether a state seen later may still be the one from before."""
        if started_at is not None and self.started_at is not None:
            return started_at == self.started_at
        return self.status is not None and seen.status is self.status.status

    def is_ours(self) -> bool:
        """Whether the state that stands is that of a restore which an earlier try of this task run started."""
        past, now = self.remembered, self.status
        if past is None or not past.may_run or now is None or now.status is Status.CANCELLING or now.status.is_spent:
            return False
        if self.started_at is not None and past.operation.restore_started_at is not None:
            return self.started_at == past.operation.restore_started_at
        if past.stage is Stage.ACCEPTED:
            return True
        before = past.before or {}
        if self.started_at is not None and before.get("started_at") is not None:
            return self.started_at != before["started_at"]
        return now.status.value != before.get("status")


@dataclass(frozen=True, slots=True)
class _Plan:
    """A checked order: what will be sent and deleted, what stood there before, and how to look at storage again."""

    chosen: tuple[str, ...]
    node_mapping: Mapping[str, str]
    to_delete: tuple[str, ...]
    before: _Before
    stored_start: StoredStart


def begin_restore(
    client: WeaviateClient, order: RestoreOrder, memory: Memory, open_store: OpenStore | None = None
) -> Operation:
    """Return the running (or finished) restore of this task run; start it if there is none.

    :param open_store: opens the order's location, to see whether backup and server fit, and to tell one restore's state
        from another's by its start.
    :raises InvalidRequest, PreflightFailed: something is in the way; nothing was started.
    :raises NothingToRestore: all collections are there already and are to be skipped.
    :raises OperationInProgress: the server is busy with another restore.
    :raises SelectionMismatch: the server took on other collections; the restore was canceled.
    :raises OperationLost: the server accepted the restore and did not begin it.
    """
    _require_replace_allowed(order)
    server = identify_server(client, order.address.backend)
    require_same_place(server, order.address, order.location)
    given = root_of(order.location, order.address)
    address = without_needless_overrides(server, order.address)
    order = replace(order, address=address, location=str(given) if given else None)
    root = root_of(order.location, order.address)
    stored_start = partial(stored_restore_start, open_store, root, order.address.backup_id)
    before = _look_before(client, order, memory, stored_start)
    if before.is_ours():
        return _attach(order, before)
    _require_startable(client, order, before.status)
    server = ready_server(client, server)
    plan = _plan(client, server, order, before, place=Place.of(open_store, root), stored_start=stored_start)
    return _start(client, server, order, plan, memory)


def _plan(
    client: WeaviateClient,
    server: Server,
    order: RestoreOrder,
    before: _Before,
    *,
    place: Place | None,
    stored_start: StoredStart,
) -> _Plan:
    told = place.told(order.address.backup_id) if place else None
    chosen, aliases = _without_arrived(_choose(client, server, order, told), order), aliases_of(client, server)
    obstacles = find_obstacles(server, aliases, chosen)
    chosen = clear_way(chosen, obstacles, order.if_collection_exists, order.address.backup_id)
    mapping = order.node_mapping
    if place and told:
        wish = RestoreWish(
            order.address.backup_id,
            chosen,
            mapping,
            order.overwrite_alias,
            ignore_mismatch=order.ignore_mismatch,
            maps_nodes=order.maps_nodes,
        )
        mapping = require_restorable(server, aliases, wish, place, told)
    to_delete = tuple(obstacles) if order.if_collection_exists is IfCollectionExists.REPLACE else ()
    return _Plan(chosen, mapping, to_delete, before, stored_start)


def _look_before(client: WeaviateClient, order: RestoreOrder, memory: Memory, stored_start: StoredStart) -> _Before:
    status = status_or_none(client, OperationKind.RESTORE, order.address)
    remembered = recall(memory, OperationKind.RESTORE)
    if status and remembered and remembered.may_run and (doubt := seconds_of_doubt(status)):
        log.info("The restore that an earlier try started is %s; looking again in %g s.", status.status.value, doubt)
        time.sleep(doubt)
        status = status_or_none(client, OperationKind.RESTORE, order.address)
    return _Before(status, stored_start(), remembered)


def _attach(order: RestoreOrder, before: _Before) -> Operation:
    """Return the restore that an earlier try of this task run started."""
    if before.status is None or before.remembered is None:
        raise AssertionError("there is nothing to attach to")
    log.info("Restore of %r is there already: %s. Following it.", order.address.backup_id, before.status.status)
    operation, now = before.remembered.operation, time.time()
    return replace(
        operation,
        server_path=before.status.server_path,
        restore_started_at=before.started_at if operation.restore_started_at is None else operation.restore_started_at,
        deadline=operation.deadline or now + order.timeout_seconds,
        attached_at=None if before.status.is_final else now,
    )


def _start(client: WeaviateClient, server: Server, order: RestoreOrder, plan: _Plan, memory: Memory) -> Operation:
    call = calls.restore_backup(_request(order, plan), server.version)
    sent = _intent(server, order, plan).keep(memory)
    for name in plan.to_delete:
        log.warning("Deleting collection %s, to be replaced by the backup's.", name)
        client.send(calls.delete_collection(name))
    try:
        accepted = _post(client, call, order, plan)
    except WeaviateError as error:
        if not error.may_have_started:
            sent.keep(memory, stage=Stage.REFUSED)
        raise
    operation = replace(sent.operation, restore_started_at=_fresh_start(order, plan))
    if accepted is not None:
        operation = replace(operation, server_path=accepted.server_path)
        require_same_collections(client, server.version, operation, accepted.collections, exactly=bool(plan.chosen))
        operation = replace(operation, collections=accepted.collections)
    sent.keep(memory, stage=Stage.ACCEPTED, operation=operation)
    log.info(
        "Restore of %r started, %d collection(s): %s",
        order.address.backup_id,
        len(operation.collections),
        names_shown(operation.collections),
    )
    return operation


def _fresh_start(order: RestoreOrder, plan: _Plan) -> str | None:
    """Return the start of the restore that the server has just accepted, None where it can't be known.

    :raises OperationLost: the state in storage is still that of an earlier restore.
    """
    started_at = plan.stored_start()
    if started_at == NO_RESTORE:
        log.warning("The server began a restore, but %s shows none: is it where the server writes?", order.location)
        return None
    if started_at is not None and started_at == plan.before.started_at:
        raise OperationLost(
            f"The server accepted the restore of {order.address.backup_id!r}, but its state in storage is still that "
            f"of an earlier one, from {started_at}: it did not begin.",
            hint="Look at the server's log.",
            backup_id=order.address.backup_id,
        )
    return started_at


def _intent(server: Server, order: RestoreOrder, plan: _Plan) -> Remembered:
    """Return what is remembered before anything is done."""
    now, before = time.time(), plan.before
    operation = operation_on(
        server,
        OperationKind.RESTORE,
        order.address,
        location=order.location,
        collections=plan.chosen,
        attempts=before.starts + 1,
        since=now,
        deadline=now + order.timeout_seconds,
    )
    seen = {"status": before.status.status.value if before.status else None, "started_at": before.started_at}
    return Remembered(operation, Stage.SENT, seen)


def _post(client: WeaviateClient, call: calls.Call[Accepted], order: RestoreOrder, plan: _Plan) -> Accepted | None:
    """Send the POST once; None if its answer was lost and the restore runs all the same."""

    def is_ours(seen: OperationStatus | None) -> bool:
        # Only a state that was not there before can be this request's; an old SUCCESS stands through failed ones.
        return seen is not None and not plan.before.may_have_left(seen, plan.stored_start())

    try:
        return client.send(call)
    except WeaviateError as error:
        if not error.may_have_started:
            raise
        found = found_after_loss(error, lambda: status_or_none(client, OperationKind.RESTORE, order.address), is_ours)
        if found is None or found.status.is_spent:
            raise
        log.warning("The answer was lost (%s), but the restore is there: %s.", error.message, found.status.value)
        return None


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


def _choose(
    client: WeaviateClient, server: Server, order: RestoreOrder, told: GlobalDescriptor | None
) -> tuple[str, ...]:
    """Return the collections to restore; empty for "all of a backup whose list is not known".

    :param told: the backup's descriptor, where it can be read: the server's list shows neither backups in other places,
        nor those that the caller may not see.
    """
    known = listed_backup(client, server.version, order.address) or told
    if known:
        where = f"backup {order.address.backup_id}"
        return select_collections(known.collections, include=order.include, exclude=order.exclude, where=where)
    if order.exclude or any(is_pattern(name) for name in order.include):
        raise InvalidRequest(
            f"Backup {order.address.backup_id!r} is not in the server's list, so patterns can't be checked.",
            hint="Name the collections in include, or give the backup's location.",
        )
    if not order.include and server.collections:
        raise InvalidRequest(
            f"Backup {order.address.backup_id!r} is not in the server's list, and the server has collections: whether "
            "they are in the way can't be checked.",
            hint="Name the collections in include, or give the backup's location.",
        )
    return tuple(sorted(set(order.include)))


def _without_arrived(chosen: tuple[str, ...], order: RestoreOrder) -> tuple[str, ...]:
    left = tuple(name for name in chosen if name not in order.arrived)
    if order.arrived and not left:
        raise NothingToRestore(f"All collections of {order.address.backup_id!r} have arrived already.")
    return left


def _require_replace_allowed(order: RestoreOrder) -> None:
    if order.if_collection_exists is IfCollectionExists.REPLACE and not order.allow_replace:
        raise InvalidRequest(
            "if_collection_exists='replace' deletes the collections in the way before it restores.",
            hint="Set allow_replace=True as well if that is meant.",
        )


def _request(order: RestoreOrder, plan: _Plan) -> calls.RestoreRequest:
    return calls.RestoreRequest(
        order.address,
        include=plan.chosen,
        node_mapping=plan.node_mapping,
        cpu_percentage=order.cpu_percentage,
        overwrite_alias=order.overwrite_alias,
        roles_options=order.roles_options,
        users_options=order.users_options,
    )
