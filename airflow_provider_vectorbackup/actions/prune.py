"""Delete by rule what a location holds too much of: old backups, and what is part of no backup.

What is to go is hidden first: its descriptor is deleted, and from then on Weaviate does not see it, and nothing new can
build on it. Then it is looked whether something had begun to build on it, or to restore it, just before; then it gets
its descriptor back. Only then is the rest deleted. A run that is killed leaves beside each what the next one needs to
finish, or to undo, what was begun.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from airflow_provider_vectorbackup.actions.evidence import OpenStore
from airflow_provider_vectorbackup.actions.leases import Holder, can_be_ended
from airflow_provider_vectorbackup.actions.prune_claims import claiming
from airflow_provider_vectorbackup.actions.prune_look import Look, Looker
from airflow_provider_vectorbackup.actions.prune_work import BATCH, Work
from airflow_provider_vectorbackup.backups.catalogue import LeftoverKind
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.pruning import Deleted, PruneReport
from airflow_provider_vectorbackup.backups.retention import Retention
from airflow_provider_vectorbackup.backups.retention_guards import require_fraction
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.exceptions import PruneRefused
from airflow_provider_vectorbackup.storage.store import Store

log = logging.getLogger(__name__)

_PURPOSE = "prune"


@dataclass(frozen=True, slots=True)
class PruneOrder:
    """What is to be pruned, and how.

    :param max_delete_fraction: the most that may go of the backups that say SUCCESS, from 0 to 1.
    :param only: ids, and keys of leftovers, that may be deleted, if the rules still say so; None for all.
    :param owner: whose prune it is: a retry of the same one goes on at once, where others wait for its leases to end;
        empty for nobody's.
    """

    location: Location
    retention: Retention
    max_delete_fraction: float = 0.5
    only: frozenset[str] | None = None
    owner: str = ""

    @property
    def holder(self) -> Holder:
        """Who holds the leases: another each time where there is no owner."""
        return Holder.of(self.owner, _PURPOSE)


def plan_prune(order: PruneOrder, open_store: OpenStore) -> PruneReport:
    """Find out what :func:`prune` would do, and write nothing.

    :raises PruneRefused: nothing can be said: the location holds no backups, one can't be read, the clock is wrong.
    :raises StorageError: the location can't be read.
    """
    with _reported(order, open_store, dry_run=True) as (_, looker, report):
        look = _begin(order, looker, report)
        try:
            _require_fraction(order, look)
        except PruneRefused as error:
            report.refused = str(error)
        entries = report.entries
        for name in look.deletions:
            report.deleted[name] = Deleted(entries[name].objects, entries[name].stored_bytes)
        folders = {left.key: left for left in look.catalogue.leftovers}
        finished = looker.to_finish(look)
        report.spared |= dict.fromkeys(look.begun.keys() - set(finished), "not for this run to finish")
        gone = [(name, folders[f"{name}/"]) for name in finished]
        gone += [(each.leftover.key, each.leftover) for each in look.leftovers_deleted]
        for name, left in gone:
            uploads = int(left.kind is LeftoverKind.UNFINISHED_UPLOAD)
            report.deleted[name] = Deleted(left.objects, left.size_bytes, uploads)
    return report


def prune(order: PruneOrder, open_store: OpenStore) -> PruneReport:
    """Delete what the rules give up, if nobody uses it; the report says what became of each backup.

    What can't be deleted is in the report, not raised.

    :raises PruneRefused: as :func:`plan_prune`, or the rules would delete more than ``max_delete_fraction``. Nothing
        was deleted; or, where it shows later that nothing can be said any more, nothing since then.
    :raises StorageError: the storage fails for too long, or refuses everything. Run again, it goes on.
    """
    with _reported(order, open_store, dry_run=False) as (store, looker, report):
        look = _begin(order, looker, report)
        _require_fraction(order, look)
        with claiming(store, looker.holder, is_bound=not can_be_ended(store, order.location)) as claims:
            work = Work(store, looker, claims, report)
            work.finish_begun(look.begun)
            left = list(look.deletions)
            while left:
                batch, left = left[:BATCH], left[BATCH:]
                work.delete_backups(batch)
            if look.leftovers_deleted:
                work.delete_leftovers(look.leftovers_deleted)
    return report


@contextmanager
def _reported(
    order: PruneOrder, open_store: OpenStore, *, dry_run: bool
) -> Iterator[tuple[Store, Looker, PruneReport]]:
    """Yield the location's store, what looks at it, and the report, which is told in the end, also after an error."""
    began = time.monotonic()
    report = PruneReport(str(order.location), dry_run)
    with closing(open_store(order.location)) as store:
        try:
            yield store, Looker(store, order.retention, datetime.now(UTC), order.holder, order.only), report
        finally:
            report.seconds = round(time.monotonic() - began, 3)
            for row in report.rows() if report.entries else ():
                log.info("%s: %s: %s", *row)
            for key, reason in report.failed.items():
                log.error("%s can't be deleted: %s", key, reason)
            for key in report.foreign:
                log.warning("Left alone, as it is no part of a backup: %s", key)
            log.info("%s", report.headline())


def _begin(order: PruneOrder, looker: Looker, report: PruneReport) -> Look:
    """Look at the location, and put into the report what is found."""
    look = looker.look()
    report.entries = {entry.backup_id: entry for entry in look.catalogue.entries}
    report.decisions, report.leftovers, report.resumed = look.plan.decisions, look.leftovers, tuple(look.begun)
    report.keeps = looker.store.deletion_policy()
    for prefix in order.retention.prefixes_without(report.entries):
        log.warning("No backup's id begins with %r: is it the right id_prefix?", prefix)
    if absent := order.retention.pinned - report.entries.keys():
        log.warning("Pinned, and not there: %s", names_shown(absent))
    return looker.without_hindrance(look, report)


def _require_fraction(order: PruneOrder, look: Look) -> None:
    require_fraction(look.plan.fraction, look.plan.finished_deleted, order.max_delete_fraction)
