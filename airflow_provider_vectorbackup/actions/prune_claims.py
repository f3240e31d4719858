"""What a prune leaves beside what it deletes: a lease, so that others keep off, and a mark, with which others go on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from airflow_provider_vectorbackup.actions.leases import Hold, Holder, Leases, holder_of, holding
from airflow_provider_vectorbackup.actions.prune_mark import Mark, mark_key, write_mark
from airflow_provider_vectorbackup.backups.retention_guards import require_same_clock
from airflow_provider_vectorbackup.exceptions import BackupInUse, DeletionFailed
from airflow_provider_vectorbackup.storage.store import Store

log = logging.getLogger(__name__)


class Claims:
    """Takes leases and leaves marks.

    :param leases: None where the storage lets nothing new be replaced or deleted for a time: then, leases of others are
        respected, and none is taken; and what a killed run has hidden is found by its looks, like other leftovers.
    """

    def __init__(self, store: Store, holder: Holder, leases: Leases | None) -> None:
        self._store = store
        self._holder = holder
        self._leases = leases
        self._has_clock = False

    def take(self, backup_id: str) -> str:
        """Take a lease to delete a backup; return in words who is in the way, empty where nobody is.

        :raises PruneRefused: the worker's clock is not the storage's: told before the first deletion.
        """
        if self._leases is None:
            return holder_of(self._store, backup_id, datetime.now(UTC))
        try:
            self._leases.take([backup_id], Hold.CHANGE)
        except BackupInUse as error:
            return error.message
        self._require_clock(backup_id)
        return ""

    def give_back(self, backup_id: str) -> None:
        """Give up the lease; one that can't be deleted ends by itself."""
        if self._leases:
            with _told():
                self._leases.give_back([backup_id])

    def require_held(self) -> None:
        """Raise if others may not respect the leases any more.

        :raises StorageUnreachable: so it is.
        """
        if self._leases:
            self._leases.require_held()

    @property
    def leaves_marks(self) -> bool:
        """Whether a later run will know what was begun."""
        return self._leases is not None

    def mark(self, backup_id: str, mark: Mark) -> None:
        """Leave a mark beside a backup, in place of an earlier one."""
        if self._leases:
            write_mark(self._store, backup_id, mark)

    def unmark(self, backup_id: str) -> None:
        """Take the mark away, if that can be done."""
        with _told():
            self._store.delete([mark_key(backup_id)])

    def keys(self, backup_id: str) -> frozenset[str]:
        """Return where lease and mark lie, which go last."""
        return frozenset({self._holder.key(backup_id), mark_key(backup_id)})

    def _require_clock(self, backup_id: str) -> None:
        if self._has_clock:
            return
        for lease in self._store.list_objects(self._holder.key(backup_id)):
            require_same_clock(datetime.now(UTC), lease.modified_at)
            self._has_clock = True


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except DeletionFailed as error:
        log.warning("%s", error.message)


@contextmanager
def claiming(store: Store, holder: Holder, *, is_bound: bool) -> Iterator[Claims]:
    """Yield what takes leases and leaves marks; leases end with the context.

    :param is_bound: whether the storage lets nothing new be replaced or deleted for a time.
    """
    if is_bound:
        yield Claims(store, holder, None)
        return
    with holding(store, holder) as leases:
        yield Claims(store, holder, leases)
