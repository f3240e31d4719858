"""The newest backups of a location: which one there is, and whether a whole one is young enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import nlargest
from typing import Any

from airflow_provider_vectorbackup.actions.folders import list_folders
from airflow_provider_vectorbackup.actions.stored_descriptors import StoredDescriptors
from airflow_provider_vectorbackup.actions.verify import verify_backup
from airflow_provider_vectorbackup.backups.ids import is_legal_id
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.backups.verification import Level
from airflow_provider_vectorbackup.exceptions import PreflightFailed
from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.weaviate.descriptors import GlobalDescriptor

_MOST_READ = 100
"""Of failed backups in a row; older ones are not looked at."""

_CLOCK_SKEW = timedelta(minutes=10)
"""By which the server's clock may be ahead of the worker's."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which backups of a location count.

    :param id_prefix: what their ids begin with: several schedules may share a location.
    :param collections: what each must hold at least.
    """

    id_prefix: str = ""
    collections: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Freshness:
    """The newest whole backup.

    :param backup_id: None where there is none at all.
    :param started_at: since then its data is not up to date.
    :param last_error: why a newer one does not count, in words; empty where there is no newer one.
    """

    is_fresh: bool
    backup_id: str | None = None
    started_at: datetime | None = None
    age: timedelta | None = None
    last_error: str = ""

    def in_words(self, max_age: timedelta) -> str:
        """Return one or two sentences for a log or an error."""
        if self.backup_id is None:
            told = "There is no whole backup."
        else:
            told = f"The newest whole backup, {self.backup_id}, is {_rounded(self.age)} old; {max_age} is allowed."
        return f"{told} {self.last_error}".rstrip()

    def summary(self, location: Location) -> dict[str, Any]:
        """Return the task's result, where there is a backup."""
        if self.backup_id is None or self.started_at is None or self.age is None:
            raise AssertionError("there is no backup")
        return {
            "backup_id": self.backup_id,
            "uri": location.uri_of(self.backup_id),
            "started_at": self.started_at.isoformat(),
            "age_seconds": round(self.age.total_seconds()),
        }


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A backup with a descriptor; ``told`` is None where that can't be read, then ``problem`` says why."""

    backup_id: str
    told: GlobalDescriptor | None
    problem: str


def find_latest(store: Store, location: Location, wanted: Wanted | None = None) -> str:
    """Return the id of the newest backup that says SUCCESS.

    :raises PreflightFailed: there is none.
    """
    best_id, best_start = "", None
    for written_at, name in _newest(store, wanted or Wanted()):
        if best_start and written_at <= best_start:
            break  # as below
        told = StoredDescriptors(store).told(name)
        if told and told.status is Status.SUCCESS and told.started_at and _is_newer(told.started_at, best_start):
            best_id, best_start = name, told.started_at
    if best_id:
        return best_id
    raise PreflightFailed(
        f"There is no finished backup in {location}.", hint="Look at the bucket and the prefix in the location."
    )


def look_for_fresh(
    store: Store, location: Location, max_age: timedelta, now: datetime, wanted: Wanted | None = None
) -> Freshness:
    """Return the newest backup that is SUCCESS and whole by a quick verification, and whether it is young enough.

    One listing of the location; then descriptors are read from the newest on, until one counts.

    :param now: UTC.
    :raises StorageError: the location can't be listed.
    """
    wanted = wanted or Wanted()
    best, last_error = Freshness(is_fresh=False), ""
    for written_at, name in _newest(store, wanted):
        if best.started_at and written_at <= best.started_at:
            break  # no descriptor is older than its backup
        candidate = _read(store, name)
        if problem := _problem(store, location, candidate, wanted, now):
            last_error = last_error or f"{candidate.backup_id} does not count: {problem}."
        elif candidate.told and candidate.told.started_at and _is_newer(candidate.told.started_at, best.started_at):
            age = now - candidate.told.started_at
            best = Freshness(age <= max_age, candidate.backup_id, candidate.told.started_at, age)
            if best.is_fresh:
                break
    return replace(best, last_error=last_error)


def _newest(store: Store, wanted: Wanted) -> list[tuple[datetime, str]]:
    """Return when the descriptors of a location's backups were written, with their ids, the newest first."""
    folders, _ = list_folders(store)
    listed = [
        (folder.descriptor.modified_at, name)
        for name, folder in folders.items()
        if folder.descriptor and name.startswith(wanted.id_prefix) and is_legal_id(name)
    ]
    return nlargest(_MOST_READ, listed)


def _read(store: Store, backup_id: str) -> _Candidate:
    descriptors = StoredDescriptors(store)
    told = descriptors.told(backup_id)
    return _Candidate(backup_id, told, "; ".join(map(str, descriptors.findings)))


def _problem(store: Store, location: Location, candidate: _Candidate, wanted: Wanted, now: datetime) -> str:
    """Return why a backup does not count, in words; nothing if it does."""
    told = candidate.told
    if told is None or candidate.problem:
        return candidate.problem
    if lacking := sorted(set(wanted.collections).difference(told.collections)):
        return f"it lacks {', '.join(lacking)}"
    if told.started_at is None or told.started_at > now + _CLOCK_SKEW:
        return f"it began at {told.started_at}, by the server's clock, and here it is {now}"
    damage = verify_backup(store, location, candidate.backup_id, Level.QUICK).damage
    return f"{damage[0]}{f', and {len(damage) - 1} more' if damage[1:] else ''}" if damage else ""


def _is_newer(time: datetime, than: datetime | None) -> bool:
    return than is None or time > than


def _rounded(age: timedelta | None) -> timedelta | None:
    return age and timedelta(seconds=round(age.total_seconds()))
