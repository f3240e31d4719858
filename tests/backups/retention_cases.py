"""Random locations and rules for them. Each backup is made of one number: quick to draw, and 0 is the plainest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.catalogue import CatalogueEntry
from airflow_provider_vectorbackup.backups.periods import Span
from airflow_provider_vectorbackup.backups.retention import Retention, Rules
from airflow_provider_vectorbackup.backups.status import Status

NUMBERS = 2**24
"""Each number of a case is below this; hypothesis draws larger ones unevenly."""

RULES = 6
"""How many numbers the rules of a case are made of: two for each prefix."""

ZONES = (
    (UTC, datetime(2026, 12, 28, tzinfo=UTC)),
    (ZoneInfo("Europe/Berlin"), datetime(2026, 10, 24, 22, tzinfo=UTC)),
    (ZoneInfo("Europe/Berlin"), datetime(2026, 3, 28, 23, tzinfo=UTC)),
    (ZoneInfo("America/New_York"), datetime(2026, 11, 1, 4, tzinfo=UTC)),
    (ZoneInfo("America/New_York"), datetime(2024, 2, 28, 12, tzinfo=UTC)),
    (ZoneInfo("Australia/Lord_Howe"), datetime(2026, 4, 4, 13, tzinfo=UTC)),
    (ZoneInfo("Australia/Lord_Howe"), datetime(2026, 10, 3, 14, tzinfo=UTC)),
    (ZoneInfo("Pacific/Apia"), datetime(2011, 12, 29, 8, tzinfo=UTC)),
)
"""Time zones, and when the first backup starts: shortly before clocks change, or the calendar does."""

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
STEPS = (
    (
        DAY,
        *(hours * HOUR for hours in (1, 0, 2, 5, 23, 25)),
        *(minutes * MINUTE for minutes in (17, 30)),
        *(days * DAY for days in (7, 31, 366)),
    ),
    tuple(minutes * MINUTE for minutes in (30, 15, 0, 10, 60)),
    tuple(hours * HOUR for hours in (24, 12, 23, 25, 72)),
)
"""What lies between two starts: anything; little, so that several are in one hour; or about a day."""

SPANS = (
    *(None,) * 8,
    Span(days=1),
    Span(hours=1),
    Span(hours=36),
    Span(days=7),
    Span(months=1),
    Span(years=1),
    Span(years=1, months=13, days=3, hours=2),
    Span(years=5000),
)
STATUSES = (
    *(Status.SUCCESS,) * 11,
    Status.FAILED,
    Status.CANCELED,
    Status.STARTED,
    Status.CANCELLING,
    Status.UNKNOWN,
)
PREFIXES = ("a", "ab", "b", "abc-", "")
RULE_PREFIXES = (("",), ("", "a"), ("a",), ("a", "ab"), ("", "ab", "b"), ("b", "abc", "a"))
COUNTS = (0, 0, 0, 0, 0, 1, 2, 3, 4, -1)

T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """What a plan is made for."""

    entries: tuple[CatalogueEntry, ...]
    retention: Retention
    now: datetime


class _Number:
    """A number, as the choices that it stands for."""

    def __init__(self, number: int) -> None:
        self._left = number

    def pick(self, options: Sequence[T]) -> T:
        self._left, place = divmod(self._left, len(options))
        return options[place]


def case_of(about: int, rules: Sequence[int], backups: Sequence[int]) -> Case:
    """Make a case of numbers below ``NUMBERS``.

    :param rules: as many as ``RULES``.
    """
    scene = _Number(about)
    zone, moment = scene.pick(ZONES)
    steps = scene.pick(STEPS)
    prefixes = scene.pick(RULE_PREFIXES)
    entries: list[CatalogueEntry] = []
    for number in backups:
        choices = _Number(number)
        moment += choices.pick(steps)
        entries.append(_entry(moment, choices, [one.backup_id for one in entries]))
    times = [when for one in entries for when in (one.started_at, one.modified_at) if when]
    after = scene.pick((8 * DAY, DAY, HOUR, 0 * HOUR, -5 * MINUTE, 400 * DAY, 2 * DAY, 3 * DAY, 30 * DAY, -6 * MINUTE))
    ids = [one.backup_id for one in entries]
    retention = Retention(
        tuple(
            _rules(prefix, _Number(first * NUMBERS + second), zone)
            for prefix, first, second in zip(prefixes, rules[::2], rules[1::2], strict=False)
        ),
        pinned=frozenset(scene.pick(((), (), (), ids[:1], ids[-1:], ids[::2], ["nobody"]))),
        grace=scene.pick((0 * DAY, DAY, 2 * HOUR, 2 * HOUR, 30 * DAY)),
        leftover_grace=scene.pick((DAY, 7 * DAY, 0 * DAY, 2 * HOUR)),
        delete_damaged=scene.pick((False, True)),
    )
    unreadable = scene.pick((*((),) * 29, ("it is no JSON",)))
    entries[:1] = [replace(one, unreadable=unreadable) for one in entries[:1]]
    return Case(tuple(entries), retention, max(times, default=moment) + after)


def _entry(start: datetime, choices: _Number, earlier: list[str]) -> CatalogueEntry:
    """Make a backup; its bases are any of those before it, or one after it, or not there."""
    place = len(earlier)
    backup_id = f"{choices.pick(PREFIXES)}{place:02}"
    status = choices.pick(STATUSES)
    bases = choices.pick(
        (
            (),
            (),
            (),
            (),
            (),
            (),
            earlier[-1:],
            earlier[-2:-1],
            earlier[:1],
            earlier[-3:],
            ["gone"],
            ["a00", "b01"],
            ["a09"],
        )
    )
    problems = choices.pick((*((),) * 7, ("a chunk is missing",)))
    fields: dict[str, Any] = choices.pick(({}, {"started_at": None}, {"completed_at": None}))
    ended = start + choices.pick((HOUR, 0 * HOUR, 9 * DAY))
    usual: dict[str, Any] = {
        "stored_bytes": choices.pick((10, 1, 0, 25)),
        "modified_at": ended + choices.pick((0 * HOUR, -HOUR, 2 * DAY)),
        "started_at": start,
        "completed_at": ended,
        "chain_problems": ("base gone is not there",) if "gone" in bases else (),
    }
    return CatalogueEntry(
        backup_id,
        problems=problems,
        objects=1,
        has_own_files=False,
        status=status,
        bases=frozenset(bases),
        **(usual | fields),
    )


def _rules(prefix: str, choices: _Number, zone: Any) -> Rules:
    last, within = choices.pick((0, 0, 0, 1, 2, 5, -1)), choices.pick(SPANS)
    hourly, daily, weekly, monthly, yearly = (choices.pick(COUNTS) for _ in range(5))
    min_count, size = choices.pick((1, 2, 4)), choices.pick((None, None, 25, 60, 1, 120, 11))
    if not (last or within or hourly or daily or weekly or monthly or yearly or size):
        last = 1
    return Rules(prefix, last, within, hourly, daily, weekly, monthly, yearly, min_count, size, zone)


numbers = st.integers(0, NUMBERS - 1)
cases = st.builds(case_of, numbers, st.lists(numbers, min_size=RULES, max_size=RULES), st.lists(numbers, max_size=14))
