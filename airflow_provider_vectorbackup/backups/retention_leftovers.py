"""What becomes of what is part of no backup: kept for a time of its own, then deleted where Weaviate wrote it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_vectorbackup.backups.catalogue import Leftover, LeftoverKind
from airflow_provider_vectorbackup.backups.ids import is_legal_id
from airflow_provider_vectorbackup.backups.retention import Retention

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
    leftovers: Iterable[Leftover], needed: Collection[str], retention: Retention, now: datetime
) -> tuple[LeftoverDecision, ...]:
    """Decide on what is part of no backup.

    :param needed: ids that backups which are kept build on, or have files in.
    """
    return tuple(_decided(leftover, needed, retention, now) for leftover in leftovers)


def _decided(leftover: Leftover, needed: Collection[str], retention: Retention, now: datetime) -> LeftoverDecision:
    folder, at = leftover.key.partition("/")[0], leftover.modified_at
    if leftover.kind not in _OURS or not is_legal_id(folder):
        return LeftoverDecision(leftover, True, "not of Weaviate, as far as its name tells")
    if folder in retention.pinned:
        return LeftoverDecision(leftover, True, "pinned")
    if retention.of(folder) is None:
        return LeftoverDecision(leftover, True, "no rule is about it")
    if leftover.kind is LeftoverKind.NO_DESCRIPTOR and folder in needed:
        return LeftoverDecision(leftover, True, "a backup that is kept builds on it")
    if at is None:
        return LeftoverDecision(leftover, True, "the storage does not tell its age")
    if now - at < retention.leftover_grace:
        return LeftoverDecision(leftover, True, "young")
    return LeftoverDecision(leftover, False, leftover.kind.value)
