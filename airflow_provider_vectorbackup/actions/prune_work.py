"""How a prune deletes: hide, look whether anybody needs it after all, and only then delete the rest."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from airflow_provider_vectorbackup.actions.evidence import running_restore
from airflow_provider_vectorbackup.actions.folders import listed_in
from airflow_provider_vectorbackup.actions.leases import Hold, Leases
from airflow_provider_vectorbackup.actions.prune_look import Look, Looker
from airflow_provider_vectorbackup.actions.prune_mark import Mark, mark_key, write_mark
from airflow_provider_vectorbackup.actions.stored_descriptors import find_told, plain_files
from airflow_provider_vectorbackup.backups.catalogue import Catalogue, CatalogueEntry, LeftoverKind
from airflow_provider_vectorbackup.backups.pruning import Deleted, PruneReport
from airflow_provider_vectorbackup.backups.retention_guards import require_same_clock
from airflow_provider_vectorbackup.backups.retention_leftovers import LeftoverDecision
from airflow_provider_vectorbackup.backups.status import OperationKind, Status
from airflow_provider_vectorbackup.exceptions import BackupInUse, BrokenDescriptor, DeletionFailed, PruneRefused
from airflow_provider_vectorbackup.storage.store import Store, UnfinishedUpload
from airflow_provider_vectorbackup.weaviate.descriptors import global_key, node_key
from airflow_provider_vectorbackup.weaviate.layout import deletion_order

log = logging.getLogger(__name__)

BATCH = 100
"""Backups that are hidden, looked at, and deleted together; as many leases are held."""

SETTLE_SECONDS = 5.0
"""After this, a server that has just read a descriptor has written its own, which names it."""


class Work:
    """Deletes, and tells a report what became of each.

    :param leases: taken on whatever is deleted.
    """

    def __init__(self, store: Store, looker: Looker, leases: Leases, report: PruneReport) -> None:
        self._store = store
        self._looker = looker
        self._leases = leases
        self._report = report

    def delete_backups(self, names: Sequence[str]) -> None:
        """Delete backups, what builds on others before these; those stay that are needed by now.

        :raises PruneRefused: nothing can be said any more; what was hidden is back.
        """
        look = self._looker.look()
        kept = {**self._report.locked, **self._report.spared}
        kept |= {name: "the rules keep it by now" for name in names if name not in look.deletions and name not in kept}
        hidden: dict[str, Mark] = {}
        for name in names:
            look.spare(kept)
            entry = look.catalogue.get(name)
            if name not in kept and entry and (reason := self._hide(entry, hidden)):
                kept[name] = reason
        for name in names:
            if name in kept and look.catalogue.get(name) and name not in self._report.locked:
                self._report.spared[name] = kept[name]
        self._erase_unneeded(hidden, look)

    def finish_begun(self, begun: Mapping[str, Mark]) -> None:
        """Finish what an earlier run has begun to delete, or undo it where somebody needs it after all."""
        of = self._looker.retention.of
        held = {n: mark for n, mark in begun.items() if (of(n) or not mark.is_erasing) and self._is_taken(n)}
        for name, mark in held.items():
            if mark.is_erasing:
                self._erase(name, mark)
        self._erase_unneeded({name: mark for name, mark in held.items() if not mark.is_erasing}, None)

    def delete_leftovers(self, leftovers: Iterable[LeftoverDecision]) -> None:
        """Delete what is part of no backup."""
        uploads: dict[str, list[str]] = {}
        checks = []
        for each in leftovers:
            if each.leftover.kind is LeftoverKind.NO_DESCRIPTOR:
                if self._is_taken(each.folder):
                    self._erase(each.folder, Mark(), as_key=each.leftover.key)
            elif each.leftover.kind is LeftoverKind.UNFINISHED_UPLOAD:
                uploads.setdefault(each.folder, []).append(each.leftover.key)
            else:
                checks.append(each.leftover)
        for left in checks:
            if not self._deleted_or_told([left.key]):
                self._report.deleted[left.key] = Deleted(1, left.size_bytes)
        for folder, keys in uploads.items():
            if self._is_taken(folder):
                self._abort_old(folder, keys)
                self._leases.give_back([folder])

    def _hide(self, entry: CatalogueEntry, hidden: dict[str, Mark]) -> str:
        """Take a backup's descriptor away; return in words why that is not done, empty if it is."""
        name = entry.backup_id
        try:
            self._leases.take([name], Hold.CHANGE)
        except BackupInUse as error:
            return error.message
        reason = self._hindrance(entry)
        if not reason:
            key, content, _ = find_told(name, self._store.read)
            mark = Mark(key, content or b"", tuple(sorted(entry.bases)), is_erasing=False)
            write_mark(self._store, name, mark)
            if not (failed := self._not_deleted([key])):
                hidden[name] = mark
                return ""
            self._store.delete([mark_key(name)])
            if lock := self._report.perhaps_locked.get(name):
                self._report.locked[name] = lock
            else:
                self._report.failed |= failed
            reason = f"its descriptor can't be deleted: {failed[key]}"
        self._leases.give_back([name])
        return reason

    def _hindrance(self, entry: CatalogueEntry) -> str:
        """Return why a backup on which a lease was just taken must stay."""
        name = entry.backup_id
        listed = listed_in(self._store, name)
        if lease := listed.get(self._leases.key(name)):
            require_same_clock(datetime.now(UTC), lease.modified_at)
        key, content, parse = find_told(name, self._store.read)
        try:
            told = parse(key, content) if content is not None else None
        except BrokenDescriptor as error:
            return error.message
        if told is None or (told.status, told.started_at) != (entry.status, entry.started_at):
            return "it changed just now"
        return running_restore(self._store, name)

    def _erase_unneeded(self, hidden: Mapping[str, Mark], look: Look | None) -> None:
        """Give back their descriptors to those that somebody needs after all, and delete the others.

        :raises PruneRefused: it can't be told who does; all have theirs back.
        """
        if not hidden:
            return
        if look is None or any(self._is_success(look.catalogue, name) for name in hidden):
            time.sleep(SETTLE_SECONDS)
        catalogue = self._looker.catalogue()
        unread = [entry.backup_id for entry in catalogue.entries if entry.unreadable]
        needed = dict.fromkeys(hidden, "it can't be told who needs it") if unread else self._needed(catalogue, hidden)
        for name, why in needed.items():
            self._put_back(name, hidden[name], why)
        if unread:
            raise PruneRefused(
                f"What {', '.join(unread[:5])} builds on can't be read any more, so anything may be its base.",
                hint="Nothing was deleted since. Look who writes there, and run it again.",
            )
        for name, mark in hidden.items():
            if name not in needed:
                self._erase(name, mark)

    @staticmethod
    def _is_success(catalogue: Catalogue, name: str) -> bool:
        entry = catalogue.get(name)
        return entry is None or entry.status is Status.SUCCESS

    def _needed(self, catalogue: Catalogue, hidden: Mapping[str, Mark]) -> dict[str, str]:
        """Return which of the hidden backups somebody has begun to build on, or to restore, and what needs those."""
        needed = {
            base: f"{entry.backup_id} builds on it"
            for entry in catalogue.entries
            for base in entry.bases & hidden.keys()
        }
        retention = self._looker.retention
        for name in hidden:
            if name in retention.pinned or not retention.of(name):
                needed[name] = "the rules do not give it up any more"
            if restore := running_restore(self._store, name):
                needed.setdefault(name, restore)
        left = list(needed)
        while left:
            name = left.pop()
            for base in hidden[name].bases:
                if base in hidden and base not in needed:
                    needed[base] = f"{name} builds on it, and stays"
                    left.append(base)
        return needed

    def _put_back(self, name: str, mark: Mark, why: str) -> None:
        """Make a hidden backup what it was."""
        if self._store.create(mark.key, mark.descriptor):
            self._store.settle()
            log.warning("%s stays, and has its descriptor back: %s", name, why)
        else:
            log.warning("%s has another descriptor by now, and stays as it is.", name)
        self._store.delete([mark_key(name)])
        self._leases.give_back([name])
        self._report.spared[name] = why

    def _erase(self, name: str, mark: Mark, *, as_key: str = "") -> None:
        """Delete all that belongs to a hidden backup, and look whether it is gone.

        :param as_key: as what it is told in the report, if not by its id.
        """
        self._leases.require_held()
        listed = listed_in(self._store, name)
        if {global_key(OperationKind.BACKUP, name), node_key(name, "")} & listed.keys():
            self._leases.give_back([name])
            self._report.spared[name] = "there is a new backup of this id"
            return
        files = plain_files(self._store, name, mark.key, mark.descriptor)
        own = {mark_key(name), self._leases.key(name)}
        write_mark(self._store, name, Mark(mark.key, mark.descriptor, mark.bases))
        ours = [key for key in deletion_order(listed, files) if key not in own]
        failed = self._deleted_or_told(ours)
        uploads = list(self._store.list_unfinished_uploads(f"{name}/"))
        for upload in uploads:
            self._store.abort(upload)
        self._leases.give_back([name])
        if not failed:
            self._store.delete([mark_key(name)])
            failed = self._require_gone(name, files)
        gone = [listed[key] for key in ours if key not in failed]
        self._report.foreign += [key for key in listed if key not in own and key not in ours]
        if not failed:
            size = sum(stored.size_bytes for stored in gone) + len(mark.descriptor)
            self._report.deleted[as_key or name] = Deleted(len(gone) + bool(mark.key), size, len(uploads))

    def _require_gone(self, name: str, files: Collection[str]) -> dict[str, str]:
        """Return what of a deleted backup is there all the same, and tell the report."""
        left = dict.fromkeys(deletion_order(listed_in(self._store, name), files), "it is there all the same")
        self._report.failed |= left
        return left

    def _abort_old(self, folder: str, keys: Collection[str]) -> None:
        for upload in list(self._store.list_unfinished_uploads(f"{folder}/")):
            if upload.key in keys and self._is_old(upload):
                self._store.abort(upload)
                self._report.deleted.setdefault(upload.key, Deleted()).add(Deleted(uploads=1))

    def _is_old(self, upload: UnfinishedUpload) -> bool:
        begun = upload.started_at
        return begun is not None and self._looker.now - begun >= self._looker.retention.leftover_grace

    def _is_taken(self, name: str) -> bool:
        """Take a lease, or tell the report who has one."""
        try:
            self._leases.take([name], Hold.CHANGE)
        except BackupInUse as error:
            self._report.spared[name] = error.message
            return False
        return True

    def _deleted_or_told(self, keys: Sequence[str]) -> dict[str, str]:
        """Delete objects; return, and tell the report, those that can't be: key -> why."""
        failed = self._not_deleted(keys)
        self._report.failed |= failed
        return failed

    def _not_deleted(self, keys: Sequence[str]) -> dict[str, str]:
        """Delete objects, and return those that can't be: key -> why."""
        try:
            self._store.delete(keys)
        except DeletionFailed as error:
            return error.reasons
        return {}
