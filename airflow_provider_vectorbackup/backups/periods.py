"""Periods of the calendar: which hour, day, week, month or year a local time is in, and spans between times."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

from airflow_provider_vectorbackup.exceptions import InvalidRequest

_SPAN = re.compile(
    r"(?:(?P<years>\d{1,4})y)?(?:(?P<months>\d{1,4})m)?(?:(?P<weeks>\d{1,5})w)?(?:(?P<days>\d{1,5})d)?"
    r"(?:(?P<hours>\d{1,6})h)?"
)
_MONTHS = 12


def _week(local: datetime) -> str:
    year, week, _ = local.isocalendar()
    return f"{year}-W{week:02}"


PERIODS: Mapping[str, Callable[[datetime], str]] = {
    "hourly": lambda local: local.isoformat(" ", "hours"),
    "daily": lambda local: local.isoformat()[:10],
    "weekly": _week,
    "monthly": lambda local: local.isoformat()[:7],
    "yearly": lambda local: local.isoformat()[:4],
}
"""By the name of a rule: which period a local time is in. Weeks are those of ISO 8601: they begin on Monday. Hours have
their offset from UTC: where clocks are put back, two have one name."""


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time as people say it: a month or a day is as long as the calendar makes it."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a span such as ``30d``, ``8w`` or ``1y6m``: years, months, weeks, days and hours, in this order.

        :raises InvalidRequest: it is none, or of no length.
        """
        found = _SPAN.fullmatch(text)
        parts = {name: int(value or 0) for name, value in found.groupdict().items()} if found else {}
        if not any(parts.values()):
            raise InvalidRequest(
                f"{text!r} is no span of time.",
                hint="Write it like 30d, 8w, 12h or 1y6m, in this order: y, m, w, d, h.",
            )
        return cls(parts["years"], parts["months"], parts["days"] + 7 * parts["weeks"], parts["hours"])

    def before(self, moment: datetime, zone: tzinfo) -> datetime:
        """Return the time, in UTC, that is so long before another by the clocks and calendars of a time zone.

        Where a month has no such day, it is its last one; where a clock shows a time twice, it is the first time. What
        is before the year 1 is the beginning of time.
        """
        local = moment.astimezone(zone)
        month = local.year * _MONTHS + local.month - 1 - self.years * _MONTHS - self.months
        year, month = month // _MONTHS, month % _MONTHS + 1
        try:
            day = min(local.day, calendar.monthrange(year, month)[1])
            earlier = local.replace(year=year, month=month, day=day)
            if self.years or self.months or self.days:
                earlier = earlier.replace(fold=0) - timedelta(days=self.days)
            return earlier.astimezone(UTC) - timedelta(hours=self.hours)
        except (ValueError, OverflowError, calendar.IllegalMonthError):
            return datetime.min.replace(tzinfo=UTC)

    def __str__(self) -> str:
        parts = ((self.years, "y"), (self.months, "m"), (self.days, "d"), (self.hours, "h"))
        return "".join(f"{count}{unit}" for count, unit in parts if count)
