"""Which backups of a location are kept, which are deleted, and why: rules as data, and time passed in.

The rules mean what restic and borg mean by them. ``keep_daily=7``: of the last seven days that have a good backup, the
newest of each. Rules are independent: what one of them keeps is kept. As long as there are fewer periods than a rule
asks for, the oldest good backup is kept, too, so that a yearly rule has something to keep in its first year.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum

from airflow_provider_vectorbackup.backups.catalogue import CatalogueEntry, newest_first
from airflow_provider_vectorbackup.backups.periods import PERIODS, Span
from airflow_provider_vectorbackup.backups.retention_guards import require_sane
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.exceptions import InvalidRequest

ALL = -1
"""As the number of periods of a rule: all that there are."""

DAY = timedelta(days=1)

LEAST_SILENCE = DAY
"""So long nothing must have been written of a backup in progress before it counts as abandoned, whatever the grace."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is kept of the backups whose ids begin with ``id_prefix``, and with no longer prefix of other rules.

    :param id_prefix: empty for all.
    :param keep_last: the newest so many good ones.
    :param keep_within: all good ones that are not older than the newest good one by more than this.
    :param keep_hourly: of the last so many hours that have good ones, the newest each; -1 for all. Likewise the others.
    :param min_count: so many of the newest good ones are kept, whatever ``max_total_bytes`` says.
    :param max_total_bytes: of what is kept, with the bases that it needs, in storage: the oldest beyond it are deleted.
    :param zone: whose hours, days, weeks, months and years are meant.
    :raises InvalidRequest: they keep nothing, or a number can't be what it is.
    """

    id_prefix: str = ""
    keep_last: int = 0
    keep_within: Span | None = None
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    min_count: int = 1
    max_total_bytes: int | None = None
    zone: tzinfo = UTC

    def __post_init__(self) -> None:
        numbers = {"keep_last": self.keep_last} | {f"keep_{name}": count for name, count in self.periods.items()}
        if wrong := [f"{name} is {count}" for name, count in numbers.items() if count < ALL]:
            raise InvalidRequest(f"{', '.join(wrong)}.", hint="Give a number from 0 on, or -1 for all.")
        if self.min_count < 1:
            raise InvalidRequest(f"min_count is {self.min_count}.", hint="Give 1 or more: the newest is always kept.")
        if self.max_total_bytes is not None and self.max_total_bytes < 1:
            raise InvalidRequest(f"max_total_bytes is {self.max_total_bytes}.", hint="Give more, or none for no bound.")
        if not (any(numbers.values()) or self.keep_within or self.max_total_bytes):
            of = f" of the backups {self.id_prefix}*" if self.id_prefix else ""
            raise InvalidRequest(
                f"No rule says what is to be kept{of}.",
                hint="Give keep_last, keep_within, keep_daily or another, or the most that all may take.",
            )

    @property
    def periods(self) -> dict[str, int]:
        """How many periods of each kind are kept, by the name of the rule."""
        counts = (self.keep_hourly, self.keep_daily, self.keep_weekly, self.keep_monthly, self.keep_yearly)
        return dict(zip(PERIODS, counts, strict=True))

    @property
    def has_keep_rule(self) -> bool:
        """Whether anything but the size decides what is kept."""
        return bool(self.keep_last or self.keep_within or any(self.periods.values()))


@dataclass(frozen=True, slots=True)
class Retention:
    """All rules of a location.

    :param rules: each for a prefix of its own; what none is about is kept.
    :param pinned: ids that are kept, whatever they are.
    :param grace: younger backups are not touched.
    :param leftover_grace: likewise, for what failed, was canceled, hangs (a day at least), or is part of no backup.
    :param delete_damaged: whether what says SUCCESS and can't be restored is deleted like what failed.
    :raises InvalidRequest: there are no rules, or two for one prefix, or a grace period is below 0.
    """

    rules: tuple[Rules, ...]
    pinned: frozenset[str] = frozenset()
    grace: timedelta = DAY
    leftover_grace: timedelta = 7 * DAY
    delete_damaged: bool = False

    def __post_init__(self) -> None:
        prefixes = [rules.id_prefix for rules in self.rules]
        if min(self.grace, self.leftover_grace) < timedelta(0):
            raise InvalidRequest("A grace period is below 0.", hint="Give 0 or more.")
        if not prefixes or len(set(prefixes)) < len(prefixes):
            raise InvalidRequest(
                f"There are {len(prefixes)} rules, for the prefixes {sorted(prefixes)}.",
                hint="Give one or more, each for a prefix of its own.",
            )

    def prefixes_without(self, backup_ids: Collection[str]) -> list[str]:
        """Return the prefixes whose rules are about none of these ids."""
        used = {rules.id_prefix for name in backup_ids if (rules := self.of(name))}
        return [rules.id_prefix for rules in self.rules if rules.id_prefix not in used]

    def of(self, backup_id: str) -> Rules | None:
        """Return the rules for an id: those of the longest prefix; None where there are none."""
        fitting = [rules for rules in self.rules if backup_id.startswith(rules.id_prefix)]
        return max(fitting, key=lambda rules: len(rules.id_prefix), default=None)


class Cause(StrEnum):
    """Why a backup is kept or deleted."""

    PINNED = "pinned"
    OTHER = "no rule is about it"
    IN_PROGRESS = "in progress"
    YOUNG = "young"
    NEWEST = "newest good one"
    RULE = "rule"
    BASE = "base"
    DAMAGED = "damaged"
    EXPIRED = "no rule keeps it"
    SIZE = "beyond the size"
    FAILED = "failed"
    CANCELED = "canceled"
    ABANDONED = "abandoned"
    USELESS = "can't be restored"


_DELETED = frozenset({Cause.EXPIRED, Cause.SIZE, Cause.FAILED, Cause.CANCELED, Cause.ABANDONED, Cause.USELESS})


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a backup.

    :param reasons: what else there is to say: the rules that keep it, with their periods; what is damaged.
    :param needed_by: kept backups that build on it, or have files in it.
    """

    backup_id: str
    cause: Cause
    reasons: tuple[str, ...] = ()
    needed_by: tuple[str, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Whether it is kept."""
        return self.cause not in _DELETED

    def in_words(self) -> str:
        """Return why."""
        said = self.cause.value if self.cause is not Cause.RULE else ""
        needed = f"needed by {names_shown(self.needed_by)}" if self.needed_by else ""
        return "; ".join(filter(None, (said, ", ".join(self.reasons), needed)))


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What becomes of each backup of a location.

    :param decisions: the newest backup first.
    :param deletions: ids to be deleted, in this order: what builds on others before these.
    :param finished: how many backups that say SUCCESS the rules are about; ``finished_deleted``: how many go of these.
    """

    decisions: tuple[Decision, ...]
    deletions: tuple[str, ...]
    finished: int
    finished_deleted: int

    @property
    def fraction(self) -> float:
        """How much is deleted of the backups that say SUCCESS and that rules are about, from 0 to 1."""
        return self.finished_deleted / self.finished if self.finished else 0.0


def plan_retention(backups: Iterable[CatalogueEntry], retention: Retention, now: datetime) -> RetentionPlan:
    """Decide on every backup of a location.

    Good is a backup that can be restored, as far as the catalogue tells; only those count for rules. The newest good
    one of each prefix is never deleted, nor is what is pinned, young, in progress, or needed by what is kept.

    :param backups: all of the location, also those that no rule is about: they may need others.
    :raises PruneRefused: there are none, one can't be read, or the clock is wrong: nothing can be said.
    """
    entries = newest_first(backups)
    require_sane(entries, now)
    by_id = {entry.backup_id: entry for entry in entries}
    decided = {name: _outside_rules(entry, retention, now) for name, entry in by_id.items()}
    groups: dict[str, list[CatalogueEntry]] = {rules.id_prefix: [] for rules in retention.rules}
    for entry in entries:
        if rules_of_it := retention.of(entry.backup_id):
            groups[rules_of_it.id_prefix].append(entry)
    for rules in retention.rules:
        _apply_rules(rules, groups[rules.id_prefix], decided, by_id)
    decisions = _with_bases(by_id, {name: decision for name, decision in decided.items() if decision})
    finished = [e.backup_id for group in groups.values() for e in group if e.status is Status.SUCCESS]
    deleted = {name for name, decision in decisions.items() if not decision.is_kept}
    return RetentionPlan(
        tuple(decisions.values()),
        children_first({name: entry.bases for name, entry in by_id.items() if name in deleted}),
        len(finished),
        len(deleted.intersection(finished)),
    )


def _outside_rules(entry: CatalogueEntry, retention: Retention, now: datetime) -> Decision | None:
    """Decide on what is not for the rules to decide on; None for good backups, which are."""
    name, problems = entry.backup_id, (*entry.problems, *entry.chain_problems)
    touched = max(filter(None, (entry.started_at, entry.completed_at, entry.modified_at)))
    is_left = now - touched >= retention.leftover_grace
    if name in retention.pinned:
        return Decision(name, Cause.PINNED)
    if retention.of(name) is None:
        return Decision(name, Cause.OTHER)
    if entry.status in (Status.FAILED, Status.CANCELED):
        ended = Cause.FAILED if entry.status is Status.FAILED else Cause.CANCELED
        return Decision(name, ended) if is_left else Decision(name, Cause.YOUNG, (ended.value,))
    if entry.status is not Status.SUCCESS:
        # What this version has no word for may be an end.
        is_dead = is_left and now - touched >= LEAST_SILENCE and entry.status is not Status.UNKNOWN
        return Decision(name, Cause.ABANDONED if is_dead else Cause.IN_PROGRESS, (str(entry.status),))
    if not entry.is_usable:
        return Decision(name, Cause.USELESS if retention.delete_damaged and is_left else Cause.DAMAGED, problems)
    ended_at = entry.completed_at or entry.started_at or entry.modified_at
    return Decision(name, Cause.YOUNG) if now - ended_at < retention.grace else None


def _apply_rules(
    rules: Rules,
    group: list[CatalogueEntry],
    decided: dict[str, Decision | None],
    by_id: Mapping[str, CatalogueEntry],
) -> None:
    """Decide on the good backups of a prefix, the newest first."""
    good = [entry.backup_id for entry in group if entry.is_usable]
    for name, reasons in zip(good, _reasons(rules, [by_id[name] for name in good]), strict=True):
        standing = decided[name]
        cause = standing.cause if standing else Cause.RULE if reasons else Cause.EXPIRED
        decided[name] = Decision(name, cause, tuple(reasons))
    bound = frozenset(good[: rules.min_count])
    for name in bound:
        told = decided[name]
        if told and told.cause is Cause.EXPIRED:
            decided[name] = Decision(name, Cause.RULE, (f"one of the newest {rules.min_count}",))
    if good and (newest := decided[good[0]]) and newest.cause is Cause.RULE:
        decided[good[0]] = replace(newest, cause=Cause.NEWEST)
    if rules.max_total_bytes is not None:
        _bound_size(rules.max_total_bytes, group, bound, decided, by_id)


def _reasons(rules: Rules, good: list[CatalogueEntry]) -> list[list[str]]:
    """Return for each good backup, the newest first, what of the rules keeps it."""
    reasons: list[list[str]] = [[] for _ in good]
    if not rules.has_keep_rule:
        return [["the size allows it"] for _ in good]
    starts = [entry.started_at or entry.modified_at for entry in good]
    last = len(good) if rules.keep_last == ALL else rules.keep_last
    for kept in reasons[:last]:
        kept.append(f"last {last}")
    if rules.keep_within and starts:
        since = rules.keep_within.before(starts[0], rules.zone)
        for start, kept in zip(starts, reasons, strict=True):
            if start >= since:
                kept.append(f"within {rules.keep_within}")
    local = [start.astimezone(rules.zone) for start in starts]
    for name, count in rules.periods.items():
        if count and local:
            _keep_periods(name, count, local, reasons)
    return reasons


def _keep_periods(name: str, count: int, local: list[datetime], reasons: list[list[str]]) -> None:
    """Add the reasons of one rule: the newest of each period is kept, until there are ``count``; then, no more."""
    before, left = "", count
    for moment, kept in zip(local, reasons, strict=True):
        if left == 0:
            return
        period = PERIODS[name](moment)
        if period != before:
            before, left = period, left - 1
            kept.append(f"{name} {period}")
    if not any(reason.startswith(name) for reason in reasons[-1]):
        reasons[-1].append(f"{name}, as the oldest")


def _bound_size(
    most_bytes: int,
    group: list[CatalogueEntry],
    bound: frozenset[str],
    decided: dict[str, Decision | None],
    by_id: Mapping[str, CatalogueEntry],
) -> None:
    """Delete of what the rules keep the oldest, until the rest with its bases has no more bytes than that."""
    counted: set[str] = set()
    total = 0
    free = []
    for entry in group:
        told = decided[entry.backup_id]
        if told and told.is_kept and told.cause is Cause.RULE and entry.backup_id not in bound:
            free.append(entry.backup_id)
        elif told and told.is_kept:
            total += _add_chain(entry.backup_id, by_id, counted)
    for place, name in enumerate(free):
        total += _add_chain(name, by_id, counted)
        if total > most_bytes:
            for beyond in free[place:]:
                decided[beyond] = Decision(beyond, Cause.SIZE, (f"of {most_bytes} bytes",))
            return


def _add_chain(name: str, by_id: Mapping[str, CatalogueEntry], counted: set[str]) -> int:
    """Count a backup and what it needs, as far as they are not counted yet; return their bytes."""
    added, left = 0, [name]
    while left:
        entry = by_id.get(left.pop())
        if entry and entry.backup_id not in counted:
            counted.add(entry.backup_id)
            added += entry.stored_bytes
            left.extend(entry.bases)
    return added


def _with_bases(by_id: Mapping[str, CatalogueEntry], decided: Mapping[str, Decision]) -> dict[str, Decision]:
    """Keep whatever a kept backup needs, however far down its chain."""
    needed_by: dict[str, list[str]] = {}
    left = [name for name, decision in decided.items() if decision.is_kept]
    reached = set(left)
    while left:
        name = left.pop()
        for base in sorted(by_id[name].bases & by_id.keys()):
            needed_by.setdefault(base, []).append(name)
            if base not in reached:
                reached.add(base)
                left.append(base)
    found = {
        name: Decision(name, Cause.BASE) if name in reached and not decision.is_kept else decision
        for name, decision in decided.items()
    }
    for base, users in needed_by.items():
        found[base] = replace(found[base], needed_by=tuple(sorted(users)))
    return found


def children_first(bases: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """Sort backups so that each comes before those that it builds on; circles, and what these build on, come last.

    :param bases: of each, in the order that it is to have as far as it may.
    """
    waiting = dict.fromkeys(bases, 0)
    for needed in bases.values():
        for base in needed & bases.keys():
            waiting[base] += 1
    done = [name for name, count in waiting.items() if count == 0]
    for name in done:
        for base in sorted(bases[name] & bases.keys()):
            waiting[base] -= 1
            if waiting[base] == 0:
                done.append(base)
    return (*done, *(name for name, count in waiting.items() if count > 0))
