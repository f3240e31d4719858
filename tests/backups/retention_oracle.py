"""What retention keeps, told once more from what its rules mean: by sets, slowly, with nothing of the package's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo

from airflow_provider_vectorbackup.backups.catalogue import CatalogueEntry
from airflow_provider_vectorbackup.backups.periods import Span
from airflow_provider_vectorbackup.backups.retention import Retention, Rules
from airflow_provider_vectorbackup.backups.status import Status

Entries = Sequence[CatalogueEntry]


def is_refused(entries: Entries, now: datetime) -> bool:
    """Whether nothing may be decided: nothing is there, something can't be read, or is of the future."""
    times = [when for one in entries for when in (one.started_at, one.modified_at) if when]
    return not entries or any(one.unreadable for one in entries) or max(times) > now + timedelta(minutes=5)


def kept_ids(entries: Entries, retention: Retention, now: datetime) -> set[str]:
    """Return what is kept."""
    found = {one.backup_id for one in entries if rules_of(one, retention) is None}
    for rules in retention.rules:
        found |= _kept_of(rules, group_of(rules, entries, retention), entries, retention, now)
    return found | needed_ids(entries, found)


def rules_of(entry: CatalogueEntry, retention: Retention) -> Rules | None:
    """Return the rules with the longest prefix that an id has."""
    for length in range(len(entry.backup_id), -1, -1):
        for rules in retention.rules:
            if rules.id_prefix == entry.backup_id[:length]:
                return rules
    return None


def group_of(rules: Rules, entries: Entries, retention: Retention) -> list[CatalogueEntry]:
    """Return what certain rules are about, the newest first."""
    return ordered(one for one in entries if rules_of(one, retention) is rules)


def ordered(entries: Iterable[CatalogueEntry]) -> list[CatalogueEntry]:
    """Return the newest first."""
    return sorted(sorted(entries, key=lambda one: one.backup_id, reverse=True), key=_start, reverse=True)


def needed_ids(entries: Entries, ids: Iterable[str]) -> set[str]:
    """Return what these backups need that is there, however far down."""
    known = {one.backup_id: one for one in entries}
    found: set[str] = set()
    looked_at = set(ids)
    while looked_at:
        looked_at = {base for name in looked_at for base in known[name].bases if base in known} - found
        found |= looked_at
    return found


def kept_by_rule(rules: Rules, group: Entries) -> dict[str, set[str]]:
    """Return which of the good backups each rule keeps by itself, by the rule's name."""
    good = [one for one in group if one.is_usable]
    count = len(good) if rules.keep_last == -1 else rules.keep_last
    found = {"last": {one.backup_id for place, one in enumerate(good) if place < count}, "within": set[str]()}
    if rules.keep_within and good:
        since = span_before(rules.keep_within, _start(good[0]), rules.zone)
        found["within"] = {one.backup_id for one in good if _start(one) >= since}
    counts = [rules.keep_hourly, rules.keep_daily, rules.keep_weekly, rules.keep_monthly, rules.keep_yearly]
    for (name, period_of), most in zip(_PERIODS.items(), counts, strict=True):
        found[name] = _newest_of_periods(good, most, [period_of(_start(one).astimezone(rules.zone)) for one in good])
    return found


def span_before(span: Span, moment: datetime, zone: tzinfo) -> datetime:
    """Return the time that is so long ago by the calendar of a zone."""
    there = moment
    if span.years or span.months or span.days:
        local = moment.astimezone(zone)
        year, month = local.year - span.years, local.month
        for _ in range(span.months):
            year, month = (year, month - 1) if month > 1 else (year - 1, 12)
        if year < 1 or _last_valid(year, month, local.day).toordinal() <= span.days:
            return datetime.min.replace(tzinfo=UTC)
        day = date.fromordinal(_last_valid(year, month, local.day).toordinal() - span.days)
        there = datetime.combine(day, local.time(), tzinfo=zone).replace(fold=0)
    return there.astimezone(UTC) - timedelta(hours=span.hours)


def _kept_of(
    rules: Rules, group: list[CatalogueEntry], entries: Entries, retention: Retention, now: datetime
) -> set[str]:
    """Return what is kept of the backups of a prefix, bases aside."""
    good = [one.backup_id for one in group if one.is_usable]
    always = {one.backup_id for one in group if _stays(one, retention, now)} | set(good[: rules.min_count])
    wanted = set().union(*kept_by_rule(rules, group).values())
    if not (rules.keep_last or rules.keep_within or rules.keep_hourly or rules.keep_daily or rules.keep_weekly):
        wanted = wanted if rules.keep_monthly or rules.keep_yearly else set(good)
    if rules.max_total_bytes is None:
        return always | wanted
    sizes = {one.backup_id: one.stored_bytes for one in entries}
    kept = set(always)
    for name in good:
        if name in wanted - always:
            with_this = kept | {name}
            if sum(sizes[one] for one in with_this | needed_ids(entries, with_this)) > rules.max_total_bytes:
                break
            kept = with_this
    return kept


def _stays(entry: CatalogueEntry, retention: Retention, now: datetime) -> bool:
    """Whether something is kept whatever the rules say that count and measure backups."""
    if entry.backup_id in retention.pinned or entry.status is Status.UNKNOWN:
        return True
    if entry.is_usable:
        return now - (entry.completed_at or entry.started_at or entry.modified_at) < retention.grace
    if entry.status is Status.SUCCESS and not retention.delete_damaged:
        return True
    times = [when for when in (entry.started_at, entry.completed_at, entry.modified_at) if when]
    # Of a backup in progress, nothing must have been written for a day at least.
    is_over = entry.status in (Status.SUCCESS, Status.FAILED, Status.CANCELED)
    least = retention.leftover_grace if is_over else max(retention.leftover_grace, timedelta(days=1))
    return any(now - when < least for when in times)


def _newest_of_periods(good: Entries, most: int, periods: list[object]) -> set[str]:
    """Return the newest of each of so many periods, and the oldest where that is not enough."""
    firsts = [one for place, one in enumerate(good) if periods[place] not in periods[:place]]
    if most == 0 or not good:
        return set()
    if most == -1 or len(firsts) < most:
        return {one.backup_id for one in [*firsts, good[-1]]}
    return {one.backup_id for one in firsts[:most]}


def _start(entry: CatalogueEntry) -> datetime:
    return entry.started_at if entry.started_at is not None else entry.modified_at


def _hour(local: datetime) -> object:
    """Return when the hour began, or would have, had the clock gone the same way as now."""
    return local.astimezone(UTC) - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


_PERIODS: dict[str, Callable[[datetime], object]] = {
    "hourly": _hour,
    "daily": lambda local: local.date(),
    "weekly": lambda local: local.date() - timedelta(days=local.weekday()),
    "monthly": lambda local: local.date().replace(day=1),
    "yearly": lambda local: local.year,
}


def _last_valid(year: int, month: int, day: int) -> date:
    """Return a day of a month; its last one, if it has no such day."""
    while True:
        try:
            return date(year, month, day)
        except ValueError:
            day -= 1
