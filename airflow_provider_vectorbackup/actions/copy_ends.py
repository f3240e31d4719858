"""Both ends of a copy: their stores, and the leases that are held on them while it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

from airflow_provider_vectorbackup.actions.evidence import OpenStore
from airflow_provider_vectorbackup.actions.leases import LEASE_SECONDS, Hold, Holder, Leases, Release, holding
from airflow_provider_vectorbackup.actions.verify import require_threads
from airflow_provider_vectorbackup.backups.copies import Method, OnConflict, choose_method, require_apart
from airflow_provider_vectorbackup.backups.ids import require_legal_id
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import InvalidRequest, StorageError
from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.transfer.moving import Settings
from airflow_provider_vectorbackup.transfer.threads import in_threads

log = logging.getLogger(__name__)

_PURPOSE = "copy"


@dataclass(frozen=True, slots=True)
class CopyOrder:
    """What is to be copied, and how.

    :param owner: whose copy it is: a retry of the same one goes on at once, where others wait for its leases to end;
        empty for nobody's.
    :param threads: objects, or parts of them, on their way at a time.
    :param buffer_bytes: memory for what is on its way.
    :param bytes_per_second: a bound, None for none.
    """

    backup_id: str
    source: Location
    target: Location
    method: Method = Method.AUTO
    on_conflict: OnConflict = OnConflict.FAIL
    threads: int = 8
    buffer_bytes: int = 128 * 2**20
    bytes_per_second: float | None = None
    owner: str = ""

    def chosen_method(self) -> Method:
        """Return how it is copied: streamed or server-side.

        :raises InvalidRequest: the order can't be carried out as it is.
        """
        require_legal_id(self.backup_id)
        require_threads(self.threads)
        if self.bytes_per_second is not None and self.bytes_per_second <= 0:
            raise InvalidRequest(f"The rate is bound to {self.bytes_per_second} bytes a second.", hint="Give more.")
        require_apart(self.backup_id, self.source, self.target)
        return choose_method(self.method, self.source, self.target)

    @property
    def settings(self) -> Settings:
        """How bytes are moved."""
        return Settings(self.threads, self.buffer_bytes, self.bytes_per_second)


@dataclass(frozen=True, slots=True)
class Ends:
    """An order with both of its stores open.

    :param leases: on the target, None for a dry run; likewise ``source_leases``.
    """

    order: CopyOrder
    method: Method
    source: Store
    target: Store
    source_leases: Leases | None = None
    leases: Leases | None = None

    def hold_chain(self, chain: Sequence[str], changed: Collection[str]) -> None:
        """Hold a chain at both ends: in the target for changes what is ``changed``, all else for reading.

        :raises BackupInUse: somebody else stands in the way.
        """
        read = [name for name in chain if name not in changed]
        holds: list[Callable[[], None]] = [
            partial(self._protect, chain),
            partial(self.hold, changed, Hold.CHANGE),
            partial(self.hold, read, Hold.READ),
        ]
        for _ in in_threads(lambda hold: hold(), holds, len(holds)):
            pass

    def _protect(self, backup_ids: Iterable[str]) -> None:
        """Hold backups of the source, so that nobody deletes them meanwhile; where nothing may be written, say so."""
        if self.source_leases is None:
            return
        try:
            self.source_leases.take(backup_ids, Hold.READ)
        except StorageError as error:
            if error.retryable:
                raise
            log.warning(
                "No lease can be left in the source, so nothing keeps others from pruning it: %s", error.message
            )

    def hold(self, backup_ids: Iterable[str], hold: Hold) -> None:
        """Hold backups of the target.

        :raises BackupInUse: somebody else does.
        """
        if self.leases:
            self.leases.take(backup_ids, hold)

    def watch(self) -> None:
        """Raise if others may not respect the leases any more."""
        for leases in (self.source_leases, self.leases):
            if leases:
                leases.require_held()


@contextmanager
def opened(
    order: CopyOrder,
    open_store: OpenStore,
    *,
    is_dry: bool = False,
    keep_seconds: float = LEASE_SECONDS,
    release: Release = Release.ALWAYS,
) -> Iterator[Ends]:
    """Yield both ends of a copy.

    :param is_dry: without leases: nothing is written.
    :param keep_seconds: how long leases hold on after this process, if it is killed, or they are not released.
    :raises InvalidRequest: the order can't be carried out as it is.
    """
    method = order.chosen_method()
    with closing(open_store(order.source)) as source, closing(open_store(order.target)) as target:
        if is_dry:
            yield Ends(order, method, source, target)
            return
        holder = Holder.of(order.owner, _PURPOSE)
        with (
            holding(source, holder, keep_seconds=keep_seconds, release=release) as source_leases,
            holding(target, holder, keep_seconds=keep_seconds, release=release) as leases,
        ):
            yield Ends(order, method, source, target, source_leases, leases)
