"""What a prune finds in a location: what the rules say of it, and what speaks against deleting it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from airflow_provider_vectorbackup.actions.catalogue import DescriptorCache, read_catalogue
from airflow_provider_vectorbackup.actions.evidence import running_restore
from airflow_provider_vectorbackup.actions.folders import listed_in
from airflow_provider_vectorbackup.actions.leases import Holder, holder_of
from airflow_provider_vectorbackup.actions.prune_mark import Mark, read_mark
from airflow_provider_vectorbackup.actions.stored_descriptors import nodes_descriptors
from airflow_provider_vectorbackup.backups.catalogue import Catalogue, LeftoverKind
from airflow_provider_vectorbackup.backups.pruning import PruneReport
from airflow_provider_vectorbackup.backups.retention import Retention, RetentionPlan, plan_retention
from airflow_provider_vectorbackup.backups.retention_leftovers import LeftoverDecision, plan_leftovers
from airflow_provider_vectorbackup.exceptions import StorageError
from airflow_provider_vectorbackup.storage.store import CONNECTIONS, Lock, Store
from airflow_provider_vectorbackup.transfer.journal import plan_key
from airflow_provider_vectorbackup.transfer.threads import in_threads
from airflow_provider_vectorbackup.weaviate.layout import is_part_of_backup

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What a location holds at one moment, and what the rules say of it.

    :param deletions: ids of backups to be deleted, what builds on others before these.
    :param leftovers: without those whose deletion has begun.
    :param begun: by id, backups whose deletion an earlier run has begun.
    :param left_alone: backups that the rules give up, and that are not to be deleted now: id -> why, in words.
    """

    catalogue: Catalogue
    plan: RetentionPlan
    deletions: tuple[str, ...]
    leftovers: tuple[LeftoverDecision, ...]
    begun: Mapping[str, Mark]
    left_alone: Mapping[str, str] = field(default_factory=dict)

    def without(self, kept: Collection[str]) -> Look:
        """Return the same, but that some ids, and folders of leftovers, are not to be deleted."""
        return replace(
            self,
            deletions=tuple(name for name in self.deletions if name not in kept),
            leftovers=tuple(replace(e, is_kept=e.is_kept or e.folder in kept) for e in self.leftovers),
        )

    def bases_of(self, backup_id: str) -> frozenset[str]:
        """Return what a backup builds on, also one whose deletion has begun."""
        entry, mark = self.catalogue.get(backup_id), self.begun.get(backup_id)
        return entry.bases if entry else frozenset(mark.bases if mark else ())

    def spare(self, kept: dict[str, str]) -> None:
        """Keep the bases of what is kept, too.

        :param kept: ids that stay -> why, in words; gets those of their bases that were to be deleted, with or without
            a descriptor.
        """
        given_up = {*self.plan.deletions, *(each.folder for each in self.leftovers_deleted)}
        keep_bases(kept, given_up, self.bases_of)

    @property
    def leftovers_deleted(self) -> list[LeftoverDecision]:
        """The leftovers to be deleted."""
        return [each for each in self.leftovers if not each.is_kept]


@dataclass(slots=True)
class Looker:
    """Looks at a location, again and again; what has not changed is read once.

    :param holder: whose leases are not in the way.
    :param only: ids, and keys of leftovers, that may be deleted; None for all.
    """

    store: Store
    retention: Retention
    now: datetime
    holder: Holder
    only: frozenset[str] | None = None
    _cache: DescriptorCache = field(default_factory=dict)
    _has_complained: bool = False

    def catalogue(self) -> Catalogue:
        """Read what is there; once more where a descriptor can't be read: somebody may just be deleting it."""
        catalogue = read_catalogue(self.store, self._cache)
        if any(entry.unreadable for entry in catalogue.entries):
            catalogue = read_catalogue(self.store, self._cache)
        return catalogue

    def look(self) -> Look:
        """Read what is there, and plan.

        :raises PruneRefused: nothing can be said.
        """
        catalogue = self.catalogue()
        begun = self.begun(catalogue)
        plan = RetentionPlan((), (), 0, 0)
        if catalogue.entries or not begun:  # of failed backups alone, all may be hidden
            plan = plan_retention(catalogue.entries, self.retention, self.now)
        decisions = {each.backup_id: each for each in plan.decisions}
        kept = {name for name, decision in decisions.items() if decision.is_kept}
        needed = {base for entry in catalogue.entries if entry.backup_id in kept for base in entry.bases}
        others = [left for left in catalogue.leftovers if left.key.partition("/")[0] not in begun]
        leftovers = self._proven(plan_leftovers(others, needed, decisions, self.retention, self.now))
        not_chosen = self._not_chosen(each.leftover.key for each in leftovers)
        leftovers = tuple(replace(e, is_kept=e.is_kept or e.leftover.key in not_chosen) for e in leftovers)
        look = Look(catalogue, plan, plan.deletions, leftovers, begun)
        left_alone = dict.fromkeys(self._not_chosen(plan.deletions), "not among those approved")
        look.spare(left_alone)
        chosen = replace(look, left_alone=left_alone).without(left_alone)
        # What a failed backup has left in its own folder goes with it.
        return replace(chosen, leftovers=tuple(e for e in chosen.leftovers if e.folder not in chosen.deletions))

    def without_hindrance(self, look: Look, report: PruneReport) -> Look:
        """Return the look without what somebody uses, or the storage keeps; the report is told why."""
        folders = [e.folder for e in look.leftovers_deleted if e.leftover.kind is LeftoverKind.NO_DESCRIPTOR]
        names = [*look.deletions, *folders]
        locks = {name: self._locks(name) for name in names}
        found = zip(names, in_threads(self._in_use, names, CONNECTIONS), strict=True)
        locked = {
            name: _in_words(held) for name, held in locks.items() if any(not each.may_have_ended for each in held)
        }
        kept = locked | {name: reason for name, reason in found if reason and name not in locked}
        look.spare(kept)
        report.locked |= locked
        report.perhaps_locked |= {name: _in_words(held) for name, held in locks.items() if held and name not in locked}
        report.spared |= {**look.left_alone, **{name: why for name, why in kept.items() if name not in locked}}
        return look.without(kept)

    def to_finish(self, look: Look) -> list[str]:
        """Return the begun deletions that a run would finish, as far as can be told before it."""
        stay = [name for name, mark in look.begun.items() if not self._is_given_up(name, mark)]
        for name in stay:
            if not look.begun[name].is_erasing:
                stay += [base for base in look.begun[name].bases if base in look.begun and base not in stay]
        return [name for name in look.begun if name not in stay]

    def _is_given_up(self, name: str, mark: Mark) -> bool:
        is_ours = self.retention.of(name) and (mark.is_erasing or name not in self.retention.pinned)
        return bool(is_ours and not self._not_chosen([name]) and not self._in_use(name))

    def _not_chosen(self, names: Iterable[str]) -> list[str]:
        return [] if self.only is None else [name for name in names if name not in self.only]

    def _in_use(self, name: str) -> str:
        """Return in words who uses a backup; empty where nobody does."""
        holder = holder_of(self.store, name, self.now, self.holder)
        return f"in use: {holder}" if holder else running_restore(self.store, name)

    def _locks(self, name: str) -> list[Lock]:
        """Return the locks on a backup; none where the identity may not look: deleting will show."""
        try:
            found = list(self.store.list_locks(f"{name}/"))
            return [lock for lock in found if is_part_of_backup(lock.key.partition("/")[2])]
        except StorageError as error:
            if error.retryable:
                raise
            self._complain(error)
            return []

    def _complain(self, error: StorageError) -> None:
        if not self._has_complained:
            log.warning("Whether the storage locks anything can't be told; a deletion will show. %s", error)
        self._has_complained = True

    def begun(self, catalogue: Catalogue) -> dict[str, Mark]:
        """Return the backups without descriptor beside which a prune has left its mark."""
        names = [left.key.rstrip("/") for left in catalogue.leftovers if left.has_own_files]
        marks = zip(names, in_threads(lambda name: read_mark(self.store, name), names, CONNECTIONS), strict=True)
        return {name: mark for name, mark in marks if mark}

    def _proven(self, leftovers: Iterable[LeftoverDecision]) -> tuple[LeftoverDecision, ...]:
        """Keep folders of which nothing proves that they are what is left of a backup: names can be anybody's."""
        found = list(leftovers)
        folders = [e for e in found if not e.is_kept and e.leftover.kind is LeftoverKind.NO_DESCRIPTOR]
        proofs = in_threads(lambda each: self._is_proven(each.folder), folders, CONNECTIONS)
        unproven = {each.folder for each, is_proven in zip(folders, proofs, strict=True) if not is_proven}
        reason = "nothing in it proves that it is of Weaviate"
        return tuple(replace(e, is_kept=True, reason=reason) if e.folder in unproven else e for e in found)

    def _is_proven(self, name: str) -> bool:
        """Whether a copy has begun there, or a descriptor of a node of that very backup is there."""
        keys = list(listed_in(self.store, name))
        return plan_key(name) in keys or any(nodes_descriptors(name, keys, self.store.read))


def keep_bases(kept: dict[str, str], given_up: Collection[str], bases_of: Callable[[str], Collection[str]]) -> None:
    """Add to what is kept, id -> why, all that it builds on and that is given up."""
    left = list(kept)
    while left:
        name = left.pop()
        for base in sorted(bases_of(name)):
            if base in given_up and base not in kept:
                kept[base] = f"{name} builds on it, and stays"
                left.append(base)


def _in_words(locks: Sequence[Lock]) -> str:
    reasons = ", ".join(dict.fromkeys(lock.reason for lock in locks))
    ends = [lock.until for lock in locks if lock.until]
    if len(ends) < len(locks):
        return f"locked until somebody lifts it: {reasons}"
    return f"locked until {max(ends):%Y-%m-%d %H:%M} UTC: {reasons}"
