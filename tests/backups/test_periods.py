from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.periods import PERIODS, Span
from airflow_provider_vectorbackup.exceptions import InvalidRequest
from tests.backups.retention_cases import HOUR, MINUTE, ZONES
from tests.backups.retention_oracle import span_before

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
APIA = ZoneInfo("Pacific/Apia")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("30d", Span(days=30)),
        ("8w", Span(days=56)),
        ("12h", Span(hours=12)),
        ("1y6m", Span(years=1, months=6)),
        ("1y2m3w4d5h", Span(years=1, months=2, days=25, hours=5)),
        ("0y1d", Span(days=1)),
        ("18m", Span(months=18)),
    ],
)
def test_span_is_read(text: str, span: Span) -> None:
    assert Span.parse(text) == span


@pytest.mark.parametrize(
    "text", ["", "0d", "0y0m0w0d0h", "30", "d", "1d1y", "1.5d", "-1d", "1d ", "30 days", "1D", "1s"]
)
def test_no_span(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Span.parse(text)
    assert str(caught.value) == (
        f"{text!r} is no span of time. Write it like 30d, 8w, 12h or 1y6m, in this order: y, m, w, d, h."
    )


parts = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 400), st.integers(0, 99))


@given(parts.filter(any))
def test_span_in_words_is_read_again(numbers: tuple[int, int, int, int]) -> None:
    assert Span.parse(str(Span(*numbers))) == Span(*numbers)


@pytest.mark.parametrize(
    ("span", "zone", "moment", "before"),
    [
        ("12h", UTC, "2026-11-23 06:00", "2026-11-22 18:00"),
        ("1m", UTC, "2026-03-31 12:00", "2026-02-28 12:00"),
        ("1m", UTC, "2024-03-31 12:00", "2024-02-29 12:00"),
        ("1y", UTC, "2024-02-29 12:00", "2023-02-28 12:00"),
        ("12m", UTC, "2026-01-15 12:00", "2025-01-15 12:00"),
        ("13m", UTC, "2026-01-31 12:00", "2024-12-31 12:00"),
        # The month first, then the days: 31 March, the last of February, and a day before.
        ("1m1d", UTC, "2026-03-31 12:00", "2026-02-27 12:00"),
        # A day is as long as it is: 25 hours where clocks are put back, 23 where they are put forward.
        ("1d", BERLIN, "2026-10-25 11:00", "2026-10-24 10:00"),
        ("24h", BERLIN, "2026-10-25 11:00", "2026-10-24 11:00"),
        ("1d", BERLIN, "2026-03-29 10:00", "2026-03-28 11:00"),
        ("1d", NEW_YORK, "2026-11-01 17:00", "2026-10-31 16:00"),
        ("1d", LORD_HOWE, "2026-04-05 01:30", "2026-04-04 01:00"),
        # Half past two of the 29th does not exist: it is an hour after half past one.
        ("1d", BERLIN, "2026-03-30 00:30", "2026-03-29 01:30"),
        # Half past two of the 25th is there twice: the first is meant.
        ("1d", BERLIN, "2026-10-26 01:30", "2026-10-25 00:30"),
        # Of a day that is there twice in part, hours are still hours.
        ("1h", BERLIN, "2026-10-25 01:30", "2026-10-25 00:30"),
        ("2h", BERLIN, "2026-10-25 01:30", "2026-10-24 23:30"),
        ("1h", LORD_HOWE, "2026-04-04 15:15", "2026-04-04 14:15"),
        # There, 30 December 2011 was left out.
        ("1d", APIA, "2011-12-31 12:00", "2011-12-30 12:00"),
        ("2d", APIA, "2011-12-31 12:00", "2011-12-30 12:00"),
        ("3d", APIA, "2011-12-31 12:00", "2011-12-29 12:00"),
        # The day is that of the zone: 1 March there.
        ("1m", NEW_YORK, "2026-04-01 03:00", "2026-03-01 04:00"),
    ],
)
def test_so_long_before(span: str, zone: tzinfo, moment: str, before: str) -> None:
    assert Span.parse(span).before(utc(moment), zone) == utc(before)


@pytest.mark.parametrize("span", [Span(years=2026), Span(years=9999), Span(months=9999 * 12), Span(days=800_000)])
@pytest.mark.parametrize("zone", [UTC, BERLIN, NEW_YORK])
def test_before_all_time(span: Span, zone: tzinfo) -> None:
    assert span.before(utc("2026-11-23 12:00"), zone) == datetime.min.replace(tzinfo=UTC)


def test_hours_before_all_time() -> None:
    assert Span(years=2025, hours=999_999).before(utc("2026-11-23 12:00"), UTC) == datetime.min.replace(tzinfo=UTC)


@settings(max_examples=2000)
@given(st.sampled_from(ZONES), st.integers(-60, 400), parts)
def test_so_long_before_by_the_oracle(
    scene: tuple[tzinfo, datetime], quarters: int, numbers: tuple[int, int, int, int]
) -> None:
    zone, change = scene
    moment = change + quarters * 15 * MINUTE
    assert Span(*numbers).before(moment, zone) == span_before(Span(*numbers), moment, zone)


@pytest.mark.parametrize(
    ("rule", "local", "period"),
    [
        ("hourly", "2026-11-23 06:59:59", "2026-11-23 06+01:00"),
        ("daily", "2026-11-23 23:59:59", "2026-11-23"),
        ("weekly", "2026-11-22 23:59:59", "2026-W47"),
        ("weekly", "2026-11-23 00:00:00", "2026-W48"),
        # Weeks are of the year that their Thursday is in.
        ("weekly", "2027-01-03 12:00:00", "2026-W53"),
        ("weekly", "2027-01-04 12:00:00", "2027-W01"),
        ("weekly", "2024-12-30 12:00:00", "2025-W01"),
        ("monthly", "2026-11-30 23:59:59", "2026-11"),
        ("yearly", "2026-12-31 23:59:59", "2026"),
    ],
)
def test_period_of_a_time(rule: str, local: str, period: str) -> None:
    assert PERIODS[rule](datetime.fromisoformat(local).replace(tzinfo=BERLIN)) == period


@pytest.mark.parametrize(
    ("zone", "first", "step", "hours"),
    [
        (BERLIN, "2026-10-24 23:30", HOUR, ["01+02:00", "02+02:00", "02+01:00", "03+01:00"]),
        (BERLIN, "2026-03-29 00:30", HOUR, ["01+01:00", "03+02:00", "04+02:00"]),
        # Half an hour is there twice.
        (LORD_HOWE, "2026-04-04 14:45", timedelta(minutes=30), ["01+11:00", "01+10:30", "02+10:30"]),
    ],
)
def test_hours_where_clocks_change(zone: tzinfo, first: str, step: timedelta, hours: list[str]) -> None:
    times = [(utc(first) + place * step).astimezone(zone) for place in range(len(hours))]
    assert [PERIODS["hourly"](local).split(" ")[1] for local in times] == hours


def test_kinds_of_periods() -> None:
    assert list(PERIODS) == ["hourly", "daily", "weekly", "monthly", "yearly"]
