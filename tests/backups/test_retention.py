"""What each rule keeps, and what is told of it. What holds of all plans is in test_retention_properties.py."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from airflow_provider_vectorbackup.backups.periods import Span
from airflow_provider_vectorbackup.backups.retention import (
    Cause,
    Retention,
    Rules,
)
from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.exceptions import InvalidRequest
from tests.backups.retention_examples import DAY, HOUR, MINUTE, NOON, NOW, backup, daily, plan, told

BERLIN = ZoneInfo("Europe/Berlin")


def test_last() -> None:
    assert told(plan(daily(4), Rules(keep_last=2))) == {
        "b0": "+ newest good one; last 2",
        "b1": "+ last 2",
        "b2": "- no rule keeps it",
        "b3": "- no rule keeps it",
    }


def test_all() -> None:
    made = plan(daily(4), Rules(keep_last=-1))
    assert set(told(made).values()) == {"+ last 4", "+ newest good one; last 4"}
    assert made.deletions == ()


def test_within() -> None:
    """As far back from the newest backup, not from now: where none are made any more, none are deleted."""
    made = plan(daily(4), Rules(keep_within=Span(days=2)), now=NOW + 1000 * DAY)
    assert told(made) == {
        "b0": "+ newest good one; within 2d",
        "b1": "+ within 2d",
        "b2": "+ within 2d",
        "b3": "- no rule keeps it",
    }


def test_within_a_day_of_25_hours() -> None:
    backups = [
        backup("sunday", "2026-10-25 02:00"),
        backup("saturday", "2026-10-24 01:00"),
        backup("before", "2026-10-24 00:59"),
    ]
    assert told(plan(backups, Rules(keep_within=Span.parse("1d"), zone=BERLIN))) == {
        "sunday": "+ newest good one; within 1d",
        "saturday": "+ within 1d",
        "before": "- no rule keeps it",
    }


def test_daily() -> None:
    """The newest of each day. Days without a backup do not count."""
    backups = [
        backup("mon-pm", "2026-11-23 18:00"),
        backup("mon-am", "2026-11-23 06:00"),
        backup("fri", "2026-11-20 06:00"),
        backup("thu-pm", "2026-11-19 18:00"),
        backup("thu-am", "2026-11-19 06:00"),
        backup("wed", "2026-11-18 06:00"),
    ]
    assert told(plan(backups, Rules(keep_daily=3))) == {
        "mon-pm": "+ newest good one; daily 2026-11-23",
        "mon-am": "- no rule keeps it",
        "fri": "+ daily 2026-11-20",
        "thu-pm": "+ daily 2026-11-19",
        "thu-am": "- no rule keeps it",
        "wed": "- no rule keeps it",
    }


def test_too_few_days() -> None:
    """Then the oldest is kept as well, so that a yearly rule has something in its first year."""
    backups = [backup("c", "2026-11-23 18:00"), backup("b", "2026-11-23 12:00"), backup("a", "2026-11-23 06:00")]
    assert told(plan(backups, Rules(keep_daily=2, keep_yearly=-1))) == {
        "c": "+ newest good one; daily 2026-11-23, yearly 2026",
        "b": "- no rule keeps it",
        "a": "+ daily, as the oldest, yearly, as the oldest",
    }
    assert told(plan(backups, Rules(keep_daily=1)))["a"] == "- no rule keeps it"


def test_days_of_a_zone() -> None:
    backups = [backup("c", "2026-11-23 22:59"), backup("b", "2026-11-22 23:00"), backup("a", "2026-11-22 22:59")]
    assert told(plan(backups, Rules(keep_daily=2, zone=BERLIN))) == {
        "c": "+ newest good one; daily 2026-11-23",
        "b": "- no rule keeps it",
        "a": "+ daily 2026-11-22",
    }
    assert told(plan(backups, Rules(keep_daily=2)))["b"] == "+ daily 2026-11-22"


@pytest.mark.parametrize(
    ("zone", "starts", "hours"),
    [
        # 25 October: at three, clocks are put back to two.
        (
            BERLIN,
            ["2026-10-25 02:10", "2026-10-25 01:40", "2026-10-25 01:10", "2026-10-25 00:10"],
            ["2026-10-25 03+01:00", "2026-10-25 02+01:00", None, "2026-10-25 02+02:00"],
        ),
        # 29 March: at two, they are put forward to three.
        (
            BERLIN,
            ["2026-03-29 01:10", "2026-03-29 00:50", "2026-03-29 00:10"],
            ["2026-03-29 03+02:00", "2026-03-29 01+01:00", None],
        ),
        # 5 April: at two, they are put back by half an hour.
        (
            ZoneInfo("Australia/Lord_Howe"),
            ["2026-04-04 15:20", "2026-04-04 15:10", "2026-04-04 14:50", "2026-04-04 14:10"],
            ["2026-04-05 01+10:30", None, "2026-04-05 01+11:00", None],
        ),
    ],
)
def test_hours_where_clocks_change(zone: tzinfo, starts: list[str], hours: list[str | None]) -> None:
    kept = len([hour for hour in hours if hour])
    backups = [backup(start.translate(str.maketrans(" :", "--")), start) for start in starts]
    words = list(told(plan(backups, Rules(keep_hourly=kept, zone=zone))).values())
    assert words[0] == f"+ newest good one; hourly {hours[0]}"
    assert words[1:] == [f"+ hourly {hour}" if hour else "- no rule keeps it" for hour in hours[1:]]


def test_a_day_that_was_left_out() -> None:
    """In Apia, 29 December 2011 was followed by the 31st."""
    backups = [backup("c", "2011-12-30 10:00"), backup("b", "2011-12-30 09:59"), backup("a", "2011-12-29 10:00")]
    assert told(plan(backups, Rules(keep_daily=2, zone=ZoneInfo("Pacific/Apia")))) == {
        "c": "+ newest good one; daily 2011-12-31",
        "b": "+ daily 2011-12-29",
        "a": "- no rule keeps it",
    }


def test_weeks_months_years() -> None:
    """The week of New Year is one; its month and year are two."""
    backups = [
        backup("mon", "2027-01-04 12:00"),
        backup("fri", "2027-01-01 12:00"),
        backup("thu", "2026-12-31 12:00"),
        backup("nov", "2026-11-30 12:00"),
        backup("old", "2025-06-01 12:00"),
    ]
    assert told(plan(backups, Rules(keep_weekly=2, keep_monthly=3, keep_yearly=2), now=NOW + 365 * DAY)) == {
        "mon": "+ newest good one; weekly 2027-W01, monthly 2027-01, yearly 2027",
        "fri": "+ weekly 2026-W53",
        "thu": "+ monthly 2026-12, yearly 2026",
        "nov": "+ monthly 2026-11",
        "old": "- no rule keeps it",
    }


def test_rules_are_independent() -> None:
    """What one rule keeps uses up none of the periods of another."""
    made = plan(daily(4), Rules(keep_last=2, keep_daily=3))
    assert told(made)["b1"] == "+ last 2, daily 2026-11-22"
    assert made.deletions == ("b3",)


def test_only_good_ones_count() -> None:
    backups = [
        backup("d", NOON, status=Status.FAILED),
        backup("c", NOON - DAY, problems=("its descriptor names no nodes",)),
        backup("b", NOON - 2 * DAY, chain_problems=("base x is not there",)),
        backup("a", NOON - 3 * DAY),
    ]
    assert told(plan(backups, Rules(keep_last=1))) == {
        "d": "- failed",
        "c": "+ damaged; its descriptor names no nodes",
        "b": "+ damaged; base x is not there",
        "a": "+ newest good one; last 1",
    }


def test_newest_of_equal_starts_is_that_of_the_last_id() -> None:
    made = plan([backup("a"), backup("c"), backup("b")], Rules(keep_last=1))
    assert [one.backup_id for one in made.decisions] == ["c", "b", "a"]
    assert set(made.deletions) == {"a", "b"}


def test_age_without_a_start_is_that_of_the_objects() -> None:
    old = backup("old", NOON - 2 * DAY, started_at=None, completed_at=None, modified_at=NOON - DAY)
    made = plan([old, backup("older", NOON - 2 * DAY), backup("new")], Rules(keep_last=2))
    assert [one.backup_id for one in made.decisions] == ["new", "old", "older"]
    assert made.deletions == ("older",)


def test_min_count() -> None:
    backups = [backup(f"b{hour}", NOON - hour * HOUR) for hour in range(5)]
    assert told(plan(backups, Rules(keep_daily=1, min_count=3))) == {
        "b0": "+ newest good one; daily 2026-11-23",
        "b1": "+ one of the newest 3",
        "b2": "+ one of the newest 3",
        "b3": "- no rule keeps it",
        "b4": "- no rule keeps it",
    }


def test_pinned() -> None:
    backups = [*daily(2), backup("bad", NOON - DAY, status=Status.FAILED), backup("other", NOON - DAY)]
    made = plan(backups, Rules("b", keep_last=1), pinned=frozenset({"b1", "bad", "other", "gone"}))
    assert told(made) == {
        "b0": "+ newest good one; last 1",
        "other": "+ pinned",
        "bad": "+ pinned",
        "b1": "+ pinned",
    }


def test_a_pinned_one_counts_for_rules() -> None:
    made = plan(daily(2), Rules(keep_last=1), pinned=frozenset({"b0"}))
    assert told(made) == {"b0": "+ pinned; last 1", "b1": "- no rule keeps it"}


def test_young() -> None:
    backups = [backup(f"b{hour}", NOON - hour * HOUR, completed_at=NOON - hour * HOUR + HOUR) for hour in range(4)]
    assert told(plan(backups, Rules(keep_last=1), now=NOON + 2 * HOUR, grace=3 * HOUR)) == {
        "b0": "+ young; last 1",
        "b1": "+ young",
        "b2": "- no rule keeps it",  # which ended three hours ago
        "b3": "- no rule keeps it",
    }


@pytest.mark.parametrize(
    ("fields", "is_kept"),
    [
        ({"started_at": NOON - DAY, "completed_at": NOON, "modified_at": NOON - DAY}, True),
        ({"started_at": NOON, "completed_at": None, "modified_at": NOON - DAY}, True),
        ({"started_at": None, "completed_at": None, "modified_at": NOON}, True),
        ({"started_at": NOON - DAY, "completed_at": NOON - DAY, "modified_at": NOON}, False),
        ({"started_at": NOON - DAY, "completed_at": None, "modified_at": NOON}, False),
    ],
)
def test_age_for_the_grace_is_since_its_end(fields: dict[str, Any], *, is_kept: bool) -> None:
    made = plan(
        [backup("z", NOON + 30 * MINUTE), backup("a", **fields)], Rules(keep_last=1), now=NOON + HOUR, grace=2 * HOUR
    )
    assert told(made)["a"] == ("+ young" if is_kept else "- no rule keeps it")


@pytest.mark.parametrize(
    ("status", "early", "late"),
    [
        (Status.FAILED, "+ young; failed", "- failed"),
        (Status.CANCELED, "+ young; canceled", "- canceled"),
        (Status.STARTED, "+ in progress; STARTED", "- abandoned; STARTED"),
        (Status.TRANSFERRED, "+ in progress; TRANSFERRED", "- abandoned; TRANSFERRED"),
        (Status.CANCELLING, "+ in progress; CANCELLING", "- abandoned; CANCELLING"),
        (Status.UNKNOWN, "+ in progress; UNKNOWN", "+ in progress; UNKNOWN"),
    ],
)
def test_what_never_became_a_backup(status: Status, early: str, late: str) -> None:
    backups = [backup("good", NOON - DAY), backup("bad", NOON - 4 * HOUR, status=status)]
    ended = NOON - 4 * HOUR + 10 * MINUTE
    for now, words in ((ended + 7 * DAY - MINUTE, early), (ended + 7 * DAY, late)):
        assert told(plan(backups, Rules(keep_last=1), now=now))["bad"] == words
        assert told(plan(backups, Rules(keep_last=1), now=now - 5 * DAY, leftover_grace=2 * DAY))["bad"] == words


@pytest.mark.parametrize("newest", ["started_at", "completed_at", "modified_at"])
def test_a_leftover_is_as_old_as_the_newest_of_its_times(newest: str) -> None:
    times = {"started_at": NOON, "completed_at": NOON, "modified_at": NOON} | {newest: NOON + DAY}
    backups = [backup("good"), backup("bad", status=Status.FAILED, **times)]
    assert told(plan(backups, Rules(keep_last=1), now=NOON + 8 * DAY - MINUTE))["bad"] == "+ young; failed"
    assert told(plan(backups, Rules(keep_last=1), now=NOON + 8 * DAY))["bad"] == "- failed"


def test_damaged_ones_are_deleted_on_demand() -> None:
    backups = [backup("good"), backup("bad", problems=("x is not there",), chain_problems=("base y is FAILED",))]
    rules, words = Rules(keep_last=1), "x is not there, base y is FAILED"
    assert told(plan(backups, rules))["bad"] == f"+ damaged; {words}"
    assert told(plan(backups, rules, delete_damaged=True))["bad"] == f"- can't be restored; {words}"
    early = NOON + 10 * MINUTE + 7 * DAY - MINUTE
    assert told(plan(backups, rules, delete_damaged=True, now=early))["bad"] == f"+ damaged; {words}"


def test_the_longest_prefix_decides() -> None:
    backups = [backup(f"{prefix}{n}", NOON - n * DAY) for prefix in ("prod-", "prod-eu-", "test-") for n in range(3)]
    made = plan(backups, Rules("prod-", keep_last=1), Rules("prod-eu-", keep_last=2))
    assert set(made.deletions) == {"prod-1", "prod-2", "prod-eu-2"}
    assert [told(made)[f"test-{n}"] for n in range(3)] == ["+ no rule is about it"] * 3
    assert told(made)["prod-eu-0"] == "+ newest good one; last 2"
    with_rest = plan(backups, Rules("prod-", keep_last=1), Rules(keep_last=3), Rules("prod-eu-", keep_last=2))
    assert with_rest.deletions == made.deletions
    assert told(with_rest)["test-2"] == "+ last 3"


def test_what_no_rule_is_about_is_kept_even_if_it_failed() -> None:
    made = plan([backup("b0"), backup("other", status=Status.FAILED)], Rules("b", keep_last=1))
    assert told(made)["other"] == "+ no rule is about it"


def test_causes_of_deletion() -> None:
    """A new cause has to say which it is."""
    backups = [*daily(2), *(backup(f"x-{status.lower()}", NOON, status=status) for status in Status)]
    made = plan(backups, Rules("b", keep_last=1), Rules("x", max_total_bytes=1))
    deleted = {one.cause for one in made.decisions if not one.is_kept}
    assert deleted == {Cause.EXPIRED, Cause.FAILED, Cause.CANCELED, Cause.ABANDONED}


@pytest.mark.parametrize(("hours", "sign"), [(1, "+ in progress"), (23, "+ in progress"), (24, "- abandoned")])
def test_backup_in_progress_without_a_grace_period(hours: int, sign: str) -> None:
    """A server may write on it just now: for a day at least, it is left alone."""
    begun = NOW - hours * HOUR
    running = backup("running", begun, status=Status.STARTED, completed_at=None, modified_at=begun)
    made = plan([*daily(1), running], Rules(keep_last=1), leftover_grace=0 * DAY)
    assert told(made)["running"] == f"{sign}; STARTED"


def test_grace_below_zero() -> None:
    with pytest.raises(InvalidRequest, match=r"A grace period is below 0\. Give 0 or more\."):
        Retention((Rules(keep_last=1),), grace=-MINUTE)
