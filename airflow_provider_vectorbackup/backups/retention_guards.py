"""When nothing may be deleted, whatever the rules say: what was read of a location can't be believed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from airflow_provider_vectorbackup.backups.catalogue import CatalogueEntry
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.exceptions import PruneRefused

CLOCKS_DIFFER = timedelta(minutes=5)
"""By so much clocks may differ."""


def require_sane(entries: Sequence[CatalogueEntry], now: datetime) -> None:
    """Raise if what was read of a location can't be what it holds.

    :raises PruneRefused: it has no backups, a descriptor can't be read, or something was written in the future.
    """
    if not entries:
        raise PruneRefused(
            "The location holds no backups.",
            hint="Is it the right one: bucket, prefix, mount? Where there is nothing, there is nothing to prune.",
        )
    unread = {entry.backup_id: reason for entry in entries for reason in entry.unreadable}
    if unread:
        first = min(unread)
        raise PruneRefused(
            f"What these backups build on can't be read, so anything may be their base: {names_shown(unread)}. "
            f"{unread[first]}",
            hint="Mend or delete them, or update this package if they are of a newer server.",
            backup_id=first,
        )
    newest = max(entries, key=lambda entry: max(entry.started_at or entry.modified_at, entry.modified_at))
    require_clock(now, max(newest.started_at or newest.modified_at, newest.modified_at), newest.backup_id)


def require_clock(now: datetime, there: datetime, what: str) -> None:
    """Raise if the worker's clock is behind what lies in the storage.

    :param there: when something was written, by the storage's clock.
    :param what: what was.
    :raises PruneRefused: it is.
    """
    if there - now > CLOCKS_DIFFER:
        raise _wrong_clock(now, there, what)


def require_same_clock(now: datetime, there: datetime) -> None:
    """Raise if the worker's clock is not the storage's.

    :param there: when something was written just now, by the storage's clock.
    :raises PruneRefused: it is not.
    """
    if abs(there - now) > CLOCKS_DIFFER:
        raise _wrong_clock(now, there, "what was just written")


def _wrong_clock(now: datetime, there: datetime, what: str) -> PruneRefused:
    return PruneRefused(
        f"By the worker's clock it is {now:%Y-%m-%d %H:%M:%S} UTC, and {what} is of {there:%Y-%m-%d %H:%M:%S}.",
        hint="Ages can't be told: set the clock that is wrong, or find out who wrote that.",
    )


def require_fraction(fraction: float, deleted: int, most: float) -> None:
    """Raise if more of the good backups would be deleted than is allowed.

    :raises PruneRefused: so it is.
    """
    if fraction > most:
        raise PruneRefused(
            f"The rules would delete {deleted} good backups, {fraction:.0%} of those that they are about.",
            hint=f"If that is meant, raise max_delete_fraction (now {most:g}) for this run.",
        )
