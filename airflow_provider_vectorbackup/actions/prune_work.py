"""How a prune deletes: hide, look whether anybody needs it after all, and only then delete the rest."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence

from airflow_provider_vectorbackup.actions.evidence import running_restore
from airflow_provider_vectorbackup.actions.folders import listed_in
from airflow_provider_vectorbackup.actions.leases import is_lease
from airflow_provider_vectorbackup.actions.prune_claims import Claims
from airflow_provider_vectorbackup.actions.prune_look import Looker, keep_bases
from airflow_provider_vectorbackup.actions.prune_mark import Mark
from airflow_provider_vectorbackup.actions.stored_descriptors import find_told, plain_files
from airflow_provider_vectorbackup.backups.catalogue import Catalogue, CatalogueEntry, LeftoverKind
from airflow_provider_vectorbackup.backups.pruning import Deleted, PruneReport
from airflow_provider_vectorbackup.backups.retention import children_first
from airflow_provider_vectorbackup.backups.retention_leftovers import LeftoverDecision
from airflow_provider_vectorbackup.backups.status import OperationKind, Status
from airflow_provider_vectorbackup.exceptions import (
    BrokenDescriptor,
    DeletionFailed,
    PruneRefused,
    StorageError,
    VectorBackupError,
)
from airflow_provider_vectorbackup.storage.store import Store, UnfinishedUpload
from airflow_provider_vectorbackup.weaviate.descriptors import global_key, node_key
from airflow_provider_vectorbackup.weaviate.layout import deletion_ranks

log = logging.getLogger(__name__)

BATCH = 100
"""Backups that are hidden, looked at, and deleted together; as many leases are held."""

SETTLE_SECONDS = 15.0
"""After this, a server that has just read a descriptor has written its own, which names it; in between, it waits up to
8 seconds for its slowest node."""


class Work:
    """Deletes, and tells a report what became of each.

    :param claims: made on whatever is deleted.
    """

    def __init__(self, store: Store, looker: Looker, claims: Claims, report: PruneReport) -> None:
        self._store = store
        self._looker = looker
        self._claims = claims
        self._report = report
        self._erasing = ""  # of which something may be gone

    def delete_backups(self, names: Sequence[str]) -> None:
        """Delete backups, what builds on others before these; those stay that are needed by now.

        :raises PruneRefused: nothing can be said any more. As after any error, what was hidden, and of which nothing
            else was to be deleted yet, is back, as far as the storage can be reached.
        """
        look = self._looker.look()
        kept = {**self._report.locked, **self._report.spared}
        kept |= {name: "the rules keep it by now" for name in names if name not in look.deletions and name not in kept}
        hidden: dict[str, Mark] = {}
        try:
            for name in names:
                look.spare(kept)
                entry = look.catalogue.get(name)
                if name not in kept and entry and (reason := self._hide(entry, hidden)):
                    kept[name] = reason
        except VectorBackupError:
            self._put_all_back(dict.fromkeys(hidden, "the prune has failed"), hidden)
            raise
        for name in names:
            if name in kept and look.catalogue.get(name) and name not in self._report.locked:
                self._report.spared[name] = kept[name]
        if any(self._is_success(look.catalogue, name) for name in hidden):
            time.sleep(SETTLE_SECONDS)
        self._erase_unneeded(hidden)

    def finish_begun(self, begun: Mapping[str, Mark]) -> None:
        """Finish what an earlier run has begun to delete, or undo it where somebody needs it after all."""
        of, only = self._looker.retention.of, self._looker.only
        held: dict[str, Mark] = {}
        for name in children_first({name: frozenset(mark.bases) for name, mark in begun.items()}):
            if only is not None and name not in only:
                self._report.spared[name] = "not among those approved"
            elif (of(name) or not begun[name].is_erasing) and self._is_taken(name):
                held[name] = begun[name]
        for name, mark in held.items():
            if mark.is_erasing:
                self._erase(name, mark)
        hidden = {name: mark for name, mark in held.items() if not mark.is_erasing}
        if hidden:
            time.sleep(SETTLE_SECONDS)
        self._erase_unneeded(hidden)

    def delete_leftovers(self, leftovers: Iterable[LeftoverDecision]) -> None:
        """Delete what is part of no backup, and what no backup builds on that stays.

        :raises PruneRefused: nothing can be said any more.
        """
        look = self._looker.look()
        kept = {**self._report.locked, **self._report.spared}
        look.spare(kept)
        now = {each.leftover.key for each in look.without(kept).leftovers_deleted}
        uploads: dict[str, list[str]] = {}
        for each in leftovers:
            left = each.leftover
            if left.key not in now:
                self._report.spared.setdefault(each.folder, kept.get(each.folder, "it changed just now"))
                continue
            if left.kind is LeftoverKind.UNFINISHED_UPLOAD:
                uploads.setdefault(each.folder, []).append(left.key)
            elif left.kind is LeftoverKind.ACCESS_CHECK:
                if not self._deleted_or_told([left.key]):
                    self._report.deleted[left.key] = Deleted(1, left.size_bytes)
            elif self._is_taken(each.folder):
                self._erase(each.folder, Mark(), as_key=left.key)
        for folder, keys in uploads.items():
            if self._is_taken(folder):
                self._abort_old(folder, keys)
                self._claims.give_back(folder)

    def _hide(self, entry: CatalogueEntry, hidden: dict[str, Mark]) -> str:
        """Take a backup's descriptor away; return in words why that is not done, empty if it is."""
        name = entry.backup_id
        if taken := self._claims.take(name):
            return taken
        key, content, parse = find_told(name, self._store.read)
        reason = running_restore(self._store, name)
        try:
            told = parse(key, content) if content is not None else None
            if told is None or (told.status, told.started_at) != (entry.status, entry.started_at):
                reason = "it changed just now"
        except BrokenDescriptor as error:
            reason = error.message
        if not reason and content is not None:
            mark = Mark(key, content, tuple(sorted(entry.bases)), is_erasing=False)
            self._claims.mark(name, mark)
            hidden[name] = mark  # before the answer, which may be lost
            if not (failed := self._not_deleted([key])):
                return ""
            del hidden[name]
            self._claims.unmark(name)
            reason = self._told_of_descriptor(name, failed)
        self._claims.give_back(name)
        return reason

    def _told_of_descriptor(self, name: str, failed: Mapping[str, str]) -> str:
        """Tell the report that a descriptor can't be deleted; return it in words."""
        if lock := self._report.perhaps_locked.get(name):
            self._report.locked[name] = lock
        else:
            self._report.failed |= failed
        return f"its descriptor can't be deleted: {'; '.join(failed.values())}"

    def _erase_unneeded(self, hidden: Mapping[str, Mark]) -> None:
        """Give back their descriptors to those that somebody needs after all, and delete the others.

        :raises PruneRefused: it can't be told who does; all have theirs back.
        """
        if not hidden:
            return
        try:
            catalogue = self._looker.catalogue()
            unread = [entry.backup_id for entry in catalogue.entries if entry.unreadable]
            if unread:
                raise PruneRefused(
                    f"What {', '.join(unread[:5])} builds on can't be read any more, so anything may be its base.",
                    hint="Look who writes there, and run it again.",
                )
            needed = self._needed(catalogue, hidden)
        except VectorBackupError:
            self._put_all_back(dict.fromkeys(hidden, "it can't be told who needs it"), hidden)
            raise
        self._put_all_back(needed, hidden)
        unneeded = {name: mark for name, mark in hidden.items() if name not in needed}
        try:
            for name in list(unneeded):
                self._erase(name, unneeded[name])
                del unneeded[name]
        except VectorBackupError:
            whole = [name for name in unneeded if name != self._erasing]
            self._put_all_back(dict.fromkeys(whole, "the prune has failed"), unneeded)
            raise

    @staticmethod
    def _is_success(catalogue: Catalogue, name: str) -> bool:
        entry = catalogue.get(name)
        return entry is not None and entry.status is Status.SUCCESS

    def _needed(self, catalogue: Catalogue, hidden: Mapping[str, Mark]) -> dict[str, str]:
        """Return which of the hidden backups somebody has begun to build on, or to restore, and what needs those.

        Also what those build on whose deletion has begun, and that are not ours to delete: they may come back.
        """
        begun = self._looker.begun(catalogue).items()
        users = [(entry.backup_id, entry.bases) for entry in catalogue.entries]
        users += [(name, frozenset(mark.bases)) for name, mark in begun if name not in hidden and not mark.is_erasing]
        needed = {base: f"{user} builds on it" for user, bases in users for base in bases & hidden.keys()}
        retention = self._looker.retention
        for name in hidden:
            if name in retention.pinned or not retention.of(name):
                needed[name] = "the rules do not give it up any more"
            if restore := running_restore(self._store, name):
                needed.setdefault(name, restore)
        keep_bases(needed, hidden, lambda name: hidden[name].bases)
        return needed

    def _put_all_back(self, needed: Mapping[str, str], hidden: Mapping[str, Mark]) -> None:
        """Make hidden backups what they were, all that can be, and what others build on before these.

        :param hidden: in the order in which they were hidden.
        :raises StorageError: the first that can't.
        """
        first: StorageError | None = None
        for name in [each for each in reversed(list(hidden)) if each in needed]:
            try:
                self._put_back(name, hidden[name], needed[name])
            except StorageError as error:
                log.warning("%s has no descriptor, and does not get it back now; the next run will see to it.", name)
                first = first or error
        if first:
            raise first

    def _put_back(self, name: str, mark: Mark, why: str) -> None:
        if self._store.create(mark.key, mark.descriptor):
            self._store.settle()
            log.warning("%s stays, and has its descriptor back: %s", name, why)
        else:
            log.warning("%s has another descriptor by now, and stays as it is.", name)
        self._report.spared[name] = why
        self._claims.unmark(name)
        self._claims.give_back(name)

    def _erase(self, name: str, mark: Mark, *, as_key: str = "") -> None:
        """Delete all that belongs to a hidden backup, and look whether it is gone.

        :param as_key: as what it is told in the report, if not by its id.
        """
        self._claims.require_held()
        listed = listed_in(self._store, name)
        if {global_key(OperationKind.BACKUP, name), node_key(name, "")} & listed.keys():
            self._report.spared[name] = "there is a new backup of this id"
            self._claims.unmark(name)
            self._claims.give_back(name)
            return
        files, ordered = self._ranks(name, mark, listed)
        self._erasing = name
        self._claims.mark(name, Mark(mark.key, mark.descriptor, mark.bases))
        own = self._claims.keys(name)
        ranks = [[key for key in rank if key not in own] for rank in ordered]
        # What is left, if something can't be deleted, must be known for what it is.
        is_gone = all(not self._deleted_or_told(rank) for rank in ranks)
        uploads = list(self._store.list_unfinished_uploads(f"{name}/"))
        for upload in uploads:
            self._store.abort(upload)
        self._claims.give_back(name)
        if is_gone:
            self._claims.unmark(name)
        ours = {key for rank in ranks for key in rank}
        self._report.foreign += [key for key in listed if key not in own | ours]
        if not is_gone:
            self._report.unfinished.append(name)
        elif self._is_gone(name, files):
            size = sum(listed[key].size_bytes for key in ours) + len(mark.descriptor)
            self._report.deleted[as_key or name] = Deleted(len(ours) + bool(mark.key), size, len(uploads))

    def _ranks(
        self, name: str, mark: Mark, listed: Collection[str]
    ) -> tuple[frozenset[str], tuple[list[str], list[str], list[str]]]:
        """Return what has no looks of its own and descriptors name, and all that is to be deleted, in its order.

        Descriptors are read only where there is something without looks.
        """
        data_first = not self._claims.leaves_marks
        ranks = deletion_ranks(listed, (), data_first=data_first)
        if sum(map(len, ranks)) == len(listed):
            return frozenset(), ranks
        keys = [*listed, *([mark.key] if mark.key else [])]
        files = plain_files(name, keys, lambda key: mark.descriptor if key == mark.key else self._store.read(key))
        return files, deletion_ranks(listed, files, data_first=data_first)

    def _is_gone(self, name: str, files: Collection[str]) -> bool:
        """Whether nothing of a deleted backup is there; else the report is told."""
        ranks = deletion_ranks(listed_in(self._store, name), files)
        left = [key for rank in ranks for key in rank if not is_lease(key)]
        self._report.failed |= dict.fromkeys(left, "it is there all the same")
        return not left

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
        reason = self._claims.take(name)
        if reason:
            self._report.spared[name] = reason
        return not reason

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
