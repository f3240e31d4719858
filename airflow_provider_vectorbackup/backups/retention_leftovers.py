"""What becomes of what is part of no backup: kept for a time of its own, then deleted where Weaviate wrote it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_vectorbackup.backups.catalogue import Leftover, LeftoverKind
from airflow_provider_vectorbackup.backups.ids import is_legal_id
from airflow_provider_vectorbackup.backups.retention import Cause, Decision, Retention

_OURS = frozenset({LeftoverKind.NO_DESCRIPTOR, LeftoverKind.UNFINISHED_UPLOAD, LeftoverKind.ACCESS_CHECK})


@dataclass(frozen=True, slots=True)
class LeftoverDecision:
    """What becomes of a leftover, and why, in words."""

    leftover: Leftover
    is_kept: bool
    reason: str

    @property
    def folder(self) -> str:
        """The folder at the top of the location that it is, or lies in: a backup's id, if it is of one."""
        return self.leftover.key.partition("/")[0]


def plan_leftovers(
    leftovers: Iterable[Leftover],
    needed: Collection[str],
    backups: Mapping[str, Decision],
    retention: Retention,
    now: datetime,
) -> tuple[LeftoverDecision, ...]:
    """Decide on what is part of no backup.

    :param needed: ids that backups which are kept build on, or have files in.
    :param backups: by id, what becomes of the location's backups.
    """
    reasons = ((leftover, _why_kept(leftover, needed, backups, retention, now)) for leftover in leftovers)
    return tuple(
        LeftoverDecision(leftover, is_kept=bool(reason), reason=reason or leftover.kind.value)
        for leftover, reason in reasons
    )


def _why_kept(
    leftover: Leftover, needed: Collection[str], backups: Mapping[str, Decision], retention: Retention, now: datetime
) -> str:
    """Return why a leftover is kept, in words; empty where nothing speaks for it."""
    folder, at = leftover.key.partition("/")[0], leftover.modified_at
    backup = backups.get(folder)
    # Anybody may begin an upload; those in a backup's folder are the server's, or a copy's.
    is_others = leftover.kind is LeftoverKind.UNFINISHED_UPLOAD and backup is None
    reasons = {
        "of this package, and of no backup": leftover.kind is LeftoverKind.OWN_FILES,
        "not of Weaviate, as far as its name tells": leftover.kind not in _OURS or not is_legal_id(folder) or is_others,
        "pinned": folder in retention.pinned,
        "no rule is about it": retention.of(folder) is None,
        "a backup that is kept builds on it": leftover.kind is LeftoverKind.NO_DESCRIPTOR and folder in needed,
        "its backup is in progress": backup is not None and backup.cause is Cause.IN_PROGRESS,
        "the storage does not tell its age": at is None,
        "young": at is not None and now - at < retention.leftover_grace,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
