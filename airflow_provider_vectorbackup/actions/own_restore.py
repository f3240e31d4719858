"""A restore that knows what it has brought: a later try restores the rest, and all of it can be taken back.

Collections that somebody else made are never counted, nor deleted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_vectorbackup.actions.arrivals import arrived_of
from airflow_provider_vectorbackup.actions.cancel import cancel
from airflow_provider_vectorbackup.actions.evidence import OpenStore, stored_restore_start
from airflow_provider_vectorbackup.actions.memory import Memory, Stage
from airflow_provider_vectorbackup.actions.obstacles import aliases_of
from airflow_provider_vectorbackup.actions.restore import RestoreOrder, begin_restore
from airflow_provider_vectorbackup.actions.restore_end import finish_restore
from airflow_provider_vectorbackup.actions.restore_ledger import Ledger, LedgerFile, LedgerMemory
from airflow_provider_vectorbackup.actions.server import Server, server_of, status_or_none, whole_server
from airflow_provider_vectorbackup.actions.waiting import wait
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.operation import Operation, root_of
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.polling import Watch
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind
from airflow_provider_vectorbackup.exceptions import (
    InvalidRequest,
    JobError,
    OperationLost,
    PreflightFailed,
    VectorBackupError,
)
from airflow_provider_vectorbackup.weaviate import calls, content_calls, features
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

log = logging.getLogger(__name__)

_END_SECONDS = 600.0
"""How long a restore that is to be taken back may take to end."""


@dataclass(frozen=True, slots=True)
class Own:
    """With what a restore is kept on record.

    :param owner: whose it is, in words: the Dag, the run and the task; the same for each try. Asked for at its start.
    """

    memory: Memory
    open_store: OpenStore
    owner: str = ""


def begin_own_restore(client: WeaviateClient, order: RestoreOrder, own: Own) -> Operation:
    """Return the running (or finished) restore of this owner; start it, for what is not there yet, if there is none.

    :raises NothingToRestore: all that was to be restored has arrived already.
    :raises PreflightFailed: another owner's restore of this backup into this cluster was not rolled back.
    :raises VectorBackupError: as ``begin_restore``.
    """
    with _kept(client, order.location, order.address, own) as memory:
        if memory.ledger.owner != own.owner:
            raise PreflightFailed(
                f"{order.address.backup_id!r} was restored into this cluster already, by {memory.ledger.owner}.",
                hint="Roll that back first.",
                backup_id=order.address.backup_id,
            )
        if memory.ledger.asked:
            seen = status_or_none(client, OperationKind.RESTORE, order.address)
            if seen is not None and seen.status.is_spent:
                root = root_of(order.location, order.address)
                memory.keep(
                    _after(client, memory.ledger, seen.error, _StoredStart(own.open_store, root, order.address))
                )
            there = set(whole_server(client).collection_names)
            order = replace(order, arrived=frozenset(there.intersection(memory.ledger.arrived)))
        return begin_restore(client, order, memory, own.open_store)


def finish_own_restore(client: WeaviateClient, outcome: Outcome, own: Own) -> dict[str, Any]:
    """Return the task's result, with its ``seconds``; keep what has arrived, also where the restore did not end well.

    :raises VectorBackupError: as ``finish_restore``.
    """
    operation, seen = outcome.operation, outcome.status
    with _kept(client, operation.location, operation.address, own) as memory:
        try:
            result = finish_restore(client, outcome, memory, own.open_store)
        except OperationLost:
            # What is there may be somebody else's.
            raise
        except JobError:
            if seen is not None and seen.is_final:
                _keep_arrived(client, memory, operation, seen.error)
            raise
        return result | {"seconds": round(time.time() - operation.since, 3)}


def _keep_arrived(client: WeaviateClient, memory: LedgerMemory, operation: Operation, error: str) -> None:
    """Keep what a restore that did not end well has brought; where that can't be seen, a later try looks again."""
    try:
        arrived = arrived_of(client, operation.collections, error)
    except VectorBackupError as trouble:
        log.warning("What has arrived can't be seen: %s", trouble.message)
    else:
        memory.keep(memory.ledger.with_arrived(arrived))


def roll_back(
    client: WeaviateClient, location: Location, address: BackupAddress, open_store: OpenStore
) -> dict[str, Any]:
    """Delete from a cluster what restores of a backup have brought, and nothing else; return what was deleted.

    A restore that still runs is canceled first. Users and roles that were replaced stay as they are.

    Returns ``backup_id``, ``collections`` and ``aliases`` (deleted), and ``kept``: collections that a restore was to
    bring, and that somebody else has made.

    :raises JobError: a restore that runs can't be canceled.
    """
    with closing(open_store(location)) as store:
        file = LedgerFile(store, address.backup_id, client.endpoint.base_url)
        if (found := file.read()) is None:
            log.info("No restore of %r into this cluster is on record: nothing is deleted.", address.backup_id)
            return {"backup_id": address.backup_id, "collections": [], "aliases": [], "kept": []}
        ledger = _settled(client, found, _StoredStart(open_store, location, address))
        server = whole_server(client)
        arrived = [name for name in ledger.arrived if name in server.collection_names]
        kept = [name for name in ledger.asked if name in server.collection_names and name not in arrived]
        aliases = _delete_aliases(client, server, ledger, arrived)
        for name in arrived:
            log.warning("Deleting collection %s, which the restore of %r has brought.", name, address.backup_id)
            client.send(calls.delete_collection(name))
        if kept:
            log.warning("Left alone, as somebody else has made them: %s", names_shown(kept))
        file.delete()
        return {"backup_id": address.backup_id, "collections": arrived, "aliases": aliases, "kept": kept}


@dataclass(frozen=True, slots=True)
class _StoredStart:
    """Where the state of a backup's last restore lies."""

    open_store: OpenStore
    root: Location | None
    address: BackupAddress

    def is_of(self, told: Mapping[str, Any]) -> bool:
        """Whether the last restore is the one that is remembered, as far as storage tells."""
        now = stored_restore_start(self.open_store, self.root, self.address.backup_id)
        ours, before = told["operation"].get("restore_started_at"), (told.get("before") or {}).get("started_at")
        if now is None:
            return True
        if ours is not None:
            return bool(now == ours)
        return not (told["stage"] == Stage.SENT and before is not None and now == before)


def _settled(client: WeaviateClient, ledger: Ledger, start: _StoredStart) -> Ledger:
    """Return the ledger with all that has arrived, once no restore of it runs any more."""
    if ledger.remembered is None:
        return ledger
    seen = status_or_none(client, OperationKind.RESTORE, start.address)
    if seen is not None and not seen.is_final and start.is_of(ledger.remembered):
        _end(client, start.address)
        seen = status_or_none(client, OperationKind.RESTORE, start.address)
    return _after(client, ledger, seen.error if seen else "", start)


def _end(client: WeaviateClient, address: BackupAddress) -> None:
    """Cancel a restore that runs; on a server that can't, wait for its end."""
    now = time.time()
    watch = Watch(OperationKind.RESTORE, address, since=now, deadline=now + _END_SECONDS, poll_interval=2.0)
    server = server_of(client.send(calls.read_meta()), address.backend)
    if features.CANCEL_RESTORE.is_in(server.version):
        cancel(client, watch, wait_for_end=True)
    else:
        log.warning("Weaviate %s can't cancel a restore; waiting for its end.", server.version)
        wait(client, watch, log.info)


def _after(client: WeaviateClient, ledger: Ledger, error: str, start: _StoredStart) -> Ledger:
    """Return the ledger after the end of a restore: with what that has brought, unless it never began."""
    told = ledger.remembered
    if told is None:
        return ledger
    if not start.is_of(told):
        return ledger.with_arrived(())
    return ledger.with_arrived(arrived_of(client, ledger.asked, error))


def _delete_aliases(client: WeaviateClient, server: Server, ledger: Ledger, arrived: list[str]) -> list[str]:
    """Delete the aliases that came with collections; the server leaves them behind when it deletes these."""
    if not features.ALIASES.is_in(server.version):
        return []
    known = {alias.casefold() for alias in ledger.aliases_before}
    told = client.send(content_calls.read_alias_targets())
    came = sorted(alias for alias, name in told.items() if name in arrived and alias.casefold() not in known)
    for alias in came:
        client.send(content_calls.delete_alias(alias))
    return came


@contextmanager
def _kept(client: WeaviateClient, location: str | None, address: BackupAddress, own: Own) -> Iterator[LedgerMemory]:
    """Yield the task's memory, which keeps on record what is restored."""
    root = root_of(location, address)
    if root is None:
        raise InvalidRequest(
            "Where the backup lies is not known, so what is restored can't be kept on record.",
            hint="Give location, or a location for the backend in the connection.",
        )
    with closing(own.open_store(root)) as store:
        file = LedgerFile(store, address.backup_id, client.endpoint.base_url)
        ledger = file.read() or Ledger(own.owner, file.cluster)
        yield LedgerMemory(own.memory, file, ledger, lambda: aliases_of(client, whole_server(client)))
