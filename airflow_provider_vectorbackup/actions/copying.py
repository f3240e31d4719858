"""Copy a backup with its chain from one location to another, so that a server can restore it from there.

In three steps, which one process takes one after the other, or several share: what is to be moved is found out and
written down (:func:`begin`), chunks are moved (:func:`move`), and descriptors follow (:func:`finish`), bases first, and
last of each backup the one by which Weaviate sees it. Each step can be taken again, and does only what is left.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

from airflow_provider_vectorbackup.actions.copy_commit import commit, tidy_up
from airflow_provider_vectorbackup.actions.copy_ends import CopyOrder, Ends, opened
from airflow_provider_vectorbackup.actions.copy_plan import StoredPlan, write_plan
from airflow_provider_vectorbackup.actions.copy_source import SourceBackup, read_source
from airflow_provider_vectorbackup.actions.copy_target import (
    Held,
    Standing,
    TargetLook,
    clear,
    remaining,
    require_replaceable,
)
from airflow_provider_vectorbackup.actions.evidence import OpenStore
from airflow_provider_vectorbackup.actions.folders import listed_in
from airflow_provider_vectorbackup.actions.freshness import find_latest
from airflow_provider_vectorbackup.actions.leases import Hold
from airflow_provider_vectorbackup.actions.memory import Memory
from airflow_provider_vectorbackup.actions.probing import probe
from airflow_provider_vectorbackup.backups.bases import LATEST
from airflow_provider_vectorbackup.backups.copies import CopyResult, Method, OnConflict, balanced_shares
from airflow_provider_vectorbackup.backups.units import in_units
from airflow_provider_vectorbackup.exceptions import TargetOccupied
from airflow_provider_vectorbackup.storage.store import StoredObject
from airflow_provider_vectorbackup.transfer.journal import Journal, copy_folder
from airflow_provider_vectorbackup.transfer.moving import Moved, Mover

log = logging.getLogger(__name__)

__all__ = ["CopyOrder", "begin", "copy_backup", "ended", "finish", "move", "named", "plan_copy"]

_LATEST_WAS = "latest_was"
"""Where it is remembered."""


def copy_backup(order: CopyOrder, open_store: OpenStore) -> CopyResult:
    """Copy a backup and those of its bases that the target lacks; what is there and proven equal is left alone.

    :raises InvalidRequest: the order can't be carried out as it is.
    :raises BackupDamaged: the source can't be restored whole.
    :raises TargetOccupied: the target holds something else under one of the ids.
    :raises BackupInUse: somebody else changes the source, or uses the target.
    :raises PreflightFailed: a location lacks a permission.
    :raises StorageError: a storage refuses something, or fails for too long. Nothing that Weaviate could see is left
        half; run again, it goes on.
    """
    began = time.monotonic()
    with opened(order, open_store) as ends:
        plans, result = begin(ends)
        moved, journals = move(ends, plans)
        manifests = finish(ends, plans, journals)
    return ended(result, plans, moved, manifests, time.monotonic() - began)


def plan_copy(order: CopyOrder, open_store: OpenStore) -> CopyResult:
    """Find out what :func:`copy_backup` would do, tell it in the log, and write nothing.

    :raises InvalidRequest, BackupDamaged, TargetOccupied, StorageError: as there.
    """
    began = time.monotonic()
    with opened(order, open_store, is_dry=True) as ends:
        plans, result = begin(ends)
    planned = sum(stored.size_bytes for plan in plans for stored in plan.objects)
    objects = sum(len(plan.objects) for plan in plans)
    return replace(
        result, objects=objects, bytes_moved=planned, dry_run=True, seconds=round(time.monotonic() - began, 3)
    )


@contextmanager
def named(order: CopyOrder, open_store: OpenStore, memory: Memory) -> Iterator[CopyOrder]:
    """Yield the order with the backup's own id in place of ``latest``: the same in each try, until one ends well.

    :raises PreflightFailed: there is no backup that says SUCCESS.
    """
    if order.backup_id != LATEST:
        yield order
        return
    if not (backup_id := memory.get(_LATEST_WAS)):
        with closing(open_store(order.source)) as store:
            backup_id = find_latest(store, order.source)
        memory.set(_LATEST_WAS, backup_id)
    yield replace(order, backup_id=backup_id)
    memory.delete(_LATEST_WAS)


def begin(ends: Ends) -> tuple[list[StoredPlan], CopyResult]:
    """Find out what is to be moved, see to it that it can be, and write it down beside each backup-to-be.

    Returns the plans, bases first, and the result so far.
    """
    order = ends.order
    backups = read_source(ends.source, order.source, order.backup_id)
    _tell_source(ends, backups)
    chain = [backup.backup_id for backup in backups]
    ends.hold_chain(chain, changed=chain)
    look = TargetLook(ends.source, ends.target, may_write=ends.leases is not None)
    held = {backup.backup_id: look.at(backup) for backup in backups}
    if ends.leases and any(each.standing is not Standing.WHOLE for each in held.values()):
        probe(ends.target, order.target, order.backup_id)
    _settle_conflicts(ends, backups, held)
    plans = [_planned(ends, backup, held[backup.backup_id]) for backup in backups]
    to_move = [plan for plan in plans if plan]
    copied = tuple(plan.backup_id for plan in to_move)
    skipped = sum(backup.size_bytes for backup in backups if backup.backup_id not in copied)
    ends.hold((backup.backup_id for backup in backups if backup.backup_id not in copied), Hold.READ)
    _tell_plan(ends, backups, to_move)
    return to_move, CopyResult(
        order.backup_id,
        order.source.uri_of(order.backup_id),
        order.target.uri_of(order.backup_id),
        str(order.target),
        ends.method,
        tuple(backup.backup_id for backup in backups),
        copied=copied,
        bytes_skipped=skipped,
    )


def move(ends: Ends, plans: Sequence[StoredPlan], share: int = 0, shares: int = 1) -> tuple[Moved, dict[str, Journal]]:
    """Move the chunks of a share of the plans: those that are not in the target yet.

    Returns what was moved, and by backup id the journals: of this share, and of what others wrote down before it began.
    """
    journals, left, skipped = dict[str, Journal](), list[StoredObject](), 0
    mine = _share_of(plans, share, shares)
    for plan in plans:
        listed = listed_in(ends.target, plan.backup_id)
        journals[plan.backup_id] = journal = _journal(ends, plan.backup_id, listed)
        own = [stored for stored in plan.chunks if stored.key in mine]
        needed = list(remaining(own, journal.objects, listed))
        left += needed
        skipped += sum(stored.size_bytes for stored in own) - sum(stored.size_bytes for stored in needed)
    mover = Mover(
        ends.source,
        ends.target,
        ends.order.settings,
        journals,
        scratch_of=lambda key: f"{copy_folder(key.partition('/')[0])}parts-",
        origin=ends.order.source if ends.method is Method.SERVER_SIDE else None,
        watch=ends.watch,
    )
    moved = mover.move(left)
    return replace(moved, bytes_skipped=moved.bytes_skipped + skipped), journals


def finish(ends: Ends, plans: Sequence[StoredPlan], journals: Mapping[str, Journal]) -> list[str]:
    """Make each copy a backup, bases first, and return the keys of their manifests.

    :param journals: by backup id, where one process has moved it all; the others are read.
    """
    manifests = []
    for plan in plans:
        ends.watch()
        listed = listed_in(ends.target, plan.backup_id)
        journal = journals.get(plan.backup_id) or _journal(ends, plan.backup_id, listed)
        manifests.append(commit(ends.source, ends.target, plan, listed, journal))
        tidy_up(ends.target, plan.backup_id, journal)
        log.info("%s is copied: %s", plan.backup_id, ends.order.target.uri_of(plan.backup_id))
    return manifests


def _journal(ends: Ends, backup_id: str, listed: Iterable[str]) -> Journal:
    journal = Journal(ends.target, backup_id)
    journal.load(listed)
    return journal


def _share_of(plans: Sequence[StoredPlan], share: int, shares: int) -> set[str]:
    """Return the keys of a share of the chunks of all plans: the same for everybody who asks."""
    chunks = sorted((stored for plan in plans for stored in plan.chunks), key=lambda stored: stored.key)
    given = balanced_shares([stored.size_bytes for stored in chunks], shares)
    return {chunks[index].key for index in given[share]}


def _settle_conflicts(ends: Ends, backups: Sequence[SourceBackup], held: dict[str, Held]) -> None:
    """Have nothing in the target that stands in the way.

    What builds on what is replaced is replaced, too, and goes first.

    :raises TargetOccupied: something does, and is not to be replaced, or must not be.
    """
    occupied = [backup for backup in backups if held[backup.backup_id].standing is Standing.OTHER]
    if not occupied:
        return
    if ends.order.on_conflict is not OnConflict.REPLACE:
        first = occupied[0]
        raise TargetOccupied(
            f"{ends.order.target.uri_of(first.backup_id)} {held[first.backup_id].reason}.",
            hint="Copy to another prefix, or set on_conflict to 'replace', which deletes what is there.",
            backup_id=first.backup_id,
        )
    present = [b for b in backups[backups.index(occupied[0]) :] if held[b.backup_id].standing is not Standing.ABSENT]
    require_replaceable(ends.target, [backup.backup_id for backup in present])
    for backup in reversed(present):
        log.warning("%s is replaced: %s", backup.backup_id, held[backup.backup_id].reason or "what it builds on is")
        if ends.leases:
            clear(ends.target, backup, held[backup.backup_id].listed)
        held[backup.backup_id] = Held(Standing.ABSENT, {})


def _planned(ends: Ends, backup: SourceBackup, held: Held) -> StoredPlan | None:
    """Write the plan for a backup; None for one that is there."""
    if held.standing is Standing.WHOLE:
        if ends.leases and not held.is_tidy:
            tidy_up(ends.target, backup.backup_id, _journal(ends, backup.backup_id, held.listed))
        return None
    plan = StoredPlan.of(backup, ends.order.source.uri_of(backup.backup_id), ends.method)
    if ends.leases:
        write_plan(ends.target, plan, backup.content)
    return plan


def _tell_source(ends: Ends, backups: Sequence[SourceBackup]) -> None:
    size, objects = sum(backup.size_bytes for backup in backups), sum(len(backup.objects) for backup in backups)
    chain = f", with {len(backups) - 1} bases" if len(backups) > 1 else ""
    log.info(
        "%s is whole: %d objects, %s%s.", ends.order.source.uri_of(ends.order.backup_id), objects, in_units(size), chain
    )


def _tell_plan(ends: Ends, backups: Sequence[SourceBackup], plans: Sequence[StoredPlan]) -> None:
    how = "inside the storage" if ends.method is Method.SERVER_SIDE else "through this process"
    moving = {plan.backup_id for plan in plans}
    for backup in backups:
        what = f"copied {how}" if backup.backup_id in moving else "there already, proven equal"
        log.info("%s: %d objects, %s: %s", backup.backup_id, len(backup.objects), in_units(backup.size_bytes), what)


def ended(
    result: CopyResult, plans: Sequence[StoredPlan], moved: Moved, manifests: Sequence[str], seconds: float
) -> CopyResult:
    """Return the result of a copy that has ended, and tell it in the log."""
    whole = replace(
        result,
        objects=moved.objects + sum(len(plan.descriptors) for plan in plans),
        bytes_moved=moved.bytes_moved + sum(stored.size_bytes for plan in plans for stored in plan.descriptors),
        bytes_skipped=result.bytes_skipped + moved.bytes_skipped,
        seconds=round(seconds, 3),
        manifests=tuple(manifests),
    )
    log.info(
        "%s: %d objects and %s moved, %s there before; %.1f s, %s/s",
        whole.target,
        whole.objects,
        in_units(whole.bytes_moved),
        in_units(whole.bytes_skipped),
        whole.seconds,
        in_units(whole.rate_bytes_per_second),
    )
    return whole
