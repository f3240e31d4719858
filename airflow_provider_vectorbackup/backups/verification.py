"""What a verification found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_vectorbackup.exceptions import BackupDamaged

_SHOWN = 20
"""Findings in an error and in the log; the report has all."""


class Level(StrEnum):
    """How closely a backup is looked at."""

    QUICK = "quick"
    """One listing against the descriptors."""

    DEEP = "deep"
    """And every byte that a restore would read."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about an object that is not as it should be.

    :param key: of the object in its location.
    :param problem: in words, to be read after the key.
    """

    key: str
    problem: str

    def __str__(self) -> str:
        return f"{self.key} {self.problem}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found.

    :param uri: of the backup.
    :param damage: what keeps it, or a backup that it builds on, from being restored whole; empty where all is well.
    :param warnings: what is odd and no harm.
    :param chain: the backup after all of its bases.
    :param objects: that it needs, its chain's included.
    :param stored_bytes: of these objects.
    :param read_bytes: of chunks that were read to their end, as stored; 0 for ``quick``.
    :param unchecked: why contents could not be compared with anything, in words; empty where they were, or for
        ``quick``.
    :param unpacked_bytes: of the files in those of its own chunks.
    """

    uri: str
    backup_id: str
    level: Level
    damage: tuple[Finding, ...]
    warnings: tuple[Finding, ...] = ()
    chain: tuple[str, ...] = ()
    objects: int = 0
    stored_bytes: int = 0
    read_bytes: int = 0
    unpacked_bytes: int = 0
    seconds: float = 0.0
    unchecked: str = ""
    collections: tuple[str, ...] = field(default=())

    def in_words(self) -> str:
        """Return one or two sentences for a log."""
        state = f"{len(self.damage)} found wrong" if self.damage else "whole"
        read = f", {self.read_bytes} of them read" if self.level is Level.DEEP else ""
        told = f"{self.uri}: {state}, by a {self.level} look at {self.objects} objects, {self.stored_bytes} bytes{read}"
        return f"{told}; {len(self.warnings)} warnings; {self.seconds:g} s. {self.unchecked}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """Return the whole report."""
        return asdict(self) | {"is_whole": not self.damage}

    def summary(self) -> dict[str, Any]:
        """Return the task's result: as the whole report, with the first findings only, and counts of all.

        Keys: ``uri backup_id level is_whole chain collections objects stored_bytes read_bytes unpacked_bytes seconds
        unchecked damage warnings damage_count warning_count``.
        """
        shown = {
            "damage": [str(finding) for finding in self.damage[:_SHOWN]],
            "warnings": [str(finding) for finding in self.warnings[:_SHOWN]],
            "damage_count": len(self.damage),
            "warning_count": len(self.warnings),
        }
        lists = {"chain": list(self.chain), "collections": list(self.collections), "level": self.level.value}
        return self.to_json() | lists | shown

    def require_whole(self) -> None:
        """Raise unless all is well.

        :raises BackupDamaged: it names the objects that are not.
        """
        if not self.damage:
            return
        advice = (
            "Do not rely on it, nor on what builds on it: make a full backup, and look who writes to the storage."
            if self.objects
            else "There is no such backup: look at the id, and at the bucket and the prefix in the location."
        )
        named = "".join(f"\n- {finding}" for finding in self.damage[:_SHOWN])
        more = f"\n- and {len(self.damage) - _SHOWN} more" if len(self.damage) > _SHOWN else ""
        raise BackupDamaged(
            f"{self.uri} can't be restored whole; {len(self.damage)} found wrong. {advice}{named}{more}",
            backup_id=self.backup_id,
        )
