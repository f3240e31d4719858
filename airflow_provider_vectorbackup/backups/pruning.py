"""What came of a prune, or, for a dry run, what would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from airflow_provider_vectorbackup.backups.catalogue import CatalogueEntry, Leftover, LeftoverKind
from airflow_provider_vectorbackup.backups.retention import Decision
from airflow_provider_vectorbackup.backups.retention_leftovers import LeftoverDecision
from airflow_provider_vectorbackup.backups.units import in_units
from airflow_provider_vectorbackup.exceptions import DeletionFailed

_FEW = 5

_MOST_ROWS = 1000
"""In a result: XCom and the approval's page are no place for more; the log has all."""


@dataclass(slots=True)
class Deleted:
    """What was deleted, or would be."""

    objects: int = 0
    size_bytes: int = 0
    uploads: int = 0

    def add(self, other: Deleted) -> None:
        """Count another's."""
        self.objects += other.objects
        self.size_bytes += other.size_bytes
        self.uploads += other.uploads


@dataclass(slots=True)
class PruneReport:
    """What becomes of all that lies in a location.

    :param decisions: what the rules say of each backup, the newest first; likewise ``leftovers``.
    :param entries: the backups, by id.
    :param resumed: ids whose deletion an earlier run had begun.
    :param spared: what the rules give up, and what stays all the same: id, or folder -> why, in words.
    :param locked: likewise, for those that the storage keeps.
    :param perhaps_locked: of what the rules give up, locks that may have ended: id -> which, in words.
    :param deleted: by id, or by key for a leftover, what was deleted, or would be.
    :param unfinished: ids that Weaviate does not see any more, and of which something is left.
    :param failed: what could not be deleted: key -> why, in words.
    :param foreign: keys that lie in folders of deleted backups, and are no part of them.
    :param keeps: in words what keeps the bytes of what is deleted; empty if nothing does, None if that can't be told.
    :param refused: of a dry run: why a real one would delete nothing, in words.
    """

    location: str
    dry_run: bool
    decisions: Sequence[Decision] = ()
    leftovers: Sequence[LeftoverDecision] = ()
    entries: Mapping[str, CatalogueEntry] = field(default_factory=dict)
    resumed: Sequence[str] = ()
    spared: dict[str, str] = field(default_factory=dict)
    locked: dict[str, str] = field(default_factory=dict)
    perhaps_locked: dict[str, str] = field(default_factory=dict)
    deleted: dict[str, Deleted] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    keeps: str | None = ""
    refused: str = ""
    seconds: float = 0.0

    @property
    def total(self) -> Deleted:
        """All that was deleted."""
        total = Deleted()
        for deleted in self.deleted.values():
            total.add(deleted)
        return total

    @property
    def freed_bytes(self) -> int | None:
        """What the storage has more room for now; None where that can't be told."""
        return None if self.keeps is None else 0 if self.keeps else self.total.size_bytes

    @property
    def foreign_leftovers(self) -> list[Leftover]:
        """What lies in the location and is not of Weaviate."""
        return [each.leftover for each in self.leftovers if each.leftover.kind is LeftoverKind.FOREIGN]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield what becomes of each thing, the thing, and why, in words."""
        for decision in self.decisions:
            name = decision.backup_id
            yield self._row(name, name, self._described(name), decision.in_words(), is_kept=decision.is_kept)
        for name in self.resumed:
            yield self._row(name, name, name, "its deletion had begun", is_kept=False)
        for each in self.leftovers:
            left = each.leftover
            what = f"{left.key} ({left.kind}, {in_units(left.size_bytes)})"
            yield self._row(left.key, each.folder, what, each.reason, is_kept=each.is_kept)

    def summary(self) -> dict[str, Any]:
        """Return the task's result.

        Keys: ``location dry_run deleted deleted_backups deleted_leftovers kept objects deleted_bytes freed_bytes
        storage_keeps reasons spared locked failed foreign refused seconds``. ``deleted`` are ids and keys, those of a
        dry run that would be; ``reasons`` tells of each why. Of more than 1,000, the first.
        """
        total, ids = self.total, [name for name in self.deleted if "/" not in name]
        because = {d.backup_id: d.in_words() for d in self.decisions}
        because |= {each.leftover.key: each.reason for each in self.leftovers}
        because |= dict.fromkeys(self.resumed, "its deletion had begun")
        foreign = [*self.foreign, *(left.key for left in self.foreign_leftovers)]
        return {
            "location": self.location,
            "dry_run": self.dry_run,
            "deleted": _few(list(self.deleted)),
            "deleted_backups": len(ids),
            "deleted_leftovers": len(self.deleted) - len(ids),
            "kept": sum(d.backup_id not in self.deleted and d.backup_id not in self.unfinished for d in self.decisions),
            "objects": total.objects,
            "deleted_bytes": total.size_bytes,
            "freed_bytes": self.freed_bytes,
            "storage_keeps": self.keeps,
            "reasons": {name: because.get(name, "") for name in _few(list(dict.fromkeys((*self.deleted, *because))))},
            "spared": dict(_few(list(self.spared.items()))),
            "locked": dict(_few(list(self.locked.items()))),
            "failed": dict(_few(list(self.failed.items()))),
            "foreign": _few(foreign),
            "refused": self.refused,
            "seconds": self.seconds,
        }

    def require_done(self, *, fail_on_locked: bool) -> None:
        """Raise if something that the rules give up could not be deleted.

        :param fail_on_locked: whether what the storage keeps counts, too.
        :raises DeletionFailed: so it is.
        """
        reasons = self.failed | (self.locked if fail_on_locked else {})
        if reasons:
            told = "; ".join(f"{name}: {why}" for name, why in islice(reasons.items(), _FEW))
            more = f"; and {len(reasons) - _FEW} more" if len(reasons) > _FEW else ""
            raise DeletionFailed(
                f"Not all in {self.location} could be deleted: {told}{more}.",
                hint="Run it again once the reason is gone: it goes on with what is left.",
                reasons=reasons,
            )

    def headline(self) -> str:
        """Return one line that says it all."""
        total, ids = self.total, [name for name in self.deleted if "/" not in name]
        would = "would be " if self.dry_run else ""
        freed = "" if self.freed_bytes == total.size_bytes else f"; {self._freed_in_words()}"
        named = {"locked": self.locked, "spared": self.spared, "not deletable": self.failed}
        deleted = f"{len(ids)} backups and {len(self.deleted) - len(ids)} leftovers {would}deleted"
        size = f"({total.objects} objects, {in_units(total.size_bytes)}{freed})"
        return ", ".join(
            [f"{self.location}: {deleted} {size}", *(f"{len(names)} {what}" for what, names in named.items() if names)]
        )

    def markdown(self) -> str:
        """Return the plan as a page for people who are to approve it."""
        lines = [_in_one_line(self.headline()), ""]
        if self.refused:
            lines += [f"**It would be refused:** {_in_one_line(self.refused)}", ""]
        lines += ["| | what | why |", "|---|---|---|"]
        rows = sorted(self.rows(), key=lambda row: row[0].startswith("keep"))
        lines += [f"| {' | '.join(map(_in_one_line, row))} |" for row in rows[:_MOST_ROWS]]
        if len(rows) > _MOST_ROWS:
            lines += ["", f"And {len(rows) - _MOST_ROWS} more: see the log."]
        return "\n".join(lines)

    def _row(self, key: str, backup_id: str, what: str, reason: str, *, is_kept: bool) -> tuple[str, str, str]:
        hindrance = self.locked.get(backup_id) or self.spared.get(backup_id) or ""
        if key in self.deleted:
            return "delete" if self.dry_run else "deleted", what, reason
        if is_kept or hindrance:
            return "keep", what, "; ".join(filter(None, (hindrance, reason)))
        failed = next((why for name, why in self.failed.items() if name.partition("/")[0] == backup_id), "")
        return "not deleted", what, "; ".join(filter(None, (reason, failed)))

    def _described(self, name: str) -> str:
        entry = self.entries[name]
        begun = f"{entry.started_at:%Y-%m-%d %H:%M} UTC, " if entry.started_at else ""
        return f"{name} ({begun}{in_units(entry.stored_bytes)})"

    def _freed_in_words(self) -> str:
        if self.keeps is None:
            return "whether the storage keeps the bytes can't be told"
        return f"nothing is freed yet: {self.keeps}"


def _in_one_line(text: str) -> str:
    """Return a text as a cell of a table takes it."""
    return " ".join(text.split()).replace("|", "\\|")


def _few(items: list[Any]) -> list[Any]:
    return items[:_MOST_ROWS]
