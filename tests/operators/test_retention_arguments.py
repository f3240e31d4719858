from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.periods import Span
from airflow_provider_vectorbackup.backups.retention import Retention, Rules
from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.operators.retention_arguments import (
    COUNTS,
    RULE_ARGUMENTS,
    all_rules_of,
    rules_of,
    zone,
)

BERLIN = ZoneInfo("Europe/Berlin")
NOT_GIVEN = (None, "", "None")
NONE = dict.fromkeys(RULE_ARGUMENTS)
"""The arguments of their own, none of which is given."""

NO_RULE = "No rule says what is to be kept. Give keep_last, keep_within, keep_daily or another"


def assert_refused(read: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read()
    assert str(caught.value).startswith(message)
    assert caught.value.hint


class TestZone:
    @pytest.mark.parametrize(
        ("value", "name"),
        [("Europe/Berlin", "Europe/Berlin"), ("UTC", "UTC"), *((value, "UTC") for value in NOT_GIVEN)],
    )
    def test_given(self, value: Any, name: str) -> None:
        assert zone("timezone", value) == ZoneInfo(name)

    @pytest.mark.parametrize(
        "value",
        [
            *("Mars/Base", "europe berlin", "UTC ", " ", "+01:00", "zone.tab"),
            *("Europe", "..", "../x", "/etc/passwd", "a\0b", "\ud800"),
            *(3, True, ["UTC"]),
        ],
    )
    def test_none_of_that_name(self, value: Any) -> None:
        assert_refused(
            lambda: zone("timezone", value), f"timezone is {value!r}. Give a name such as Europe/Berlin, or UTC."
        )

    def test_long_text_is_cut(self) -> None:
        assert_refused(lambda: zone("timezone", "x" * 5000), f"timezone is '{'x' * 79}…. Give a name")


class TestRules:
    def test_all_of_them(self) -> None:
        values = {
            "id_prefix": "nightly-",
            "keep_within": "1y6m",
            "min_count": 2,
            "max_total_gib": 1.5,
            **{name: number for number, name in enumerate(COUNTS, 3)},
        }
        expected = Rules("nightly-", 3, Span(1, 6), 4, 5, 6, 7, 8, 2, 3 * 2**29, BERLIN)
        assert values.keys() == set(RULE_ARGUMENTS)
        assert rules_of(values, BERLIN) == expected
        assert rules_of({name: str(value) for name, value in values.items()}, BERLIN) == expected

    @pytest.mark.parametrize("value", NOT_GIVEN)
    def test_what_is_not_given(self, value: Any) -> None:
        rules = rules_of(dict.fromkeys(RULE_ARGUMENTS, value) | {"keep_last": 1}, UTC)
        assert rules == rules_of({"keep_last": 1}, UTC) == Rules(keep_last=1, zone=UTC)

    @pytest.mark.parametrize("name", COUNTS)
    @pytest.mark.parametrize(("value", "number"), [(-1, -1), ("-1", -1), (" 7 ", 7)])
    def test_counts(self, name: str, value: Any, number: int) -> None:
        assert getattr(rules_of({name: value}, UTC), name) == number

    @pytest.mark.parametrize(
        ("value", "span"),
        [
            ("30d", Span(days=30)),
            ("8w", Span(days=56)),
            (timedelta(days=30), Span(hours=720)),
            (timedelta(hours=1), Span(hours=1)),
        ],
    )
    def test_spans(self, value: Any, span: Span) -> None:
        assert rules_of({"keep_within": value}, UTC).keep_within == span

    @pytest.mark.parametrize(
        "value",
        [*(timedelta(minutes=minutes) for minutes in (90, 59, 0, -60)), timedelta(days=3, microseconds=1)],
    )
    def test_timedeltas_of_no_whole_hours(self, value: timedelta) -> None:
        assert_refused(
            lambda: rules_of({"keep_within": value}, UTC),
            f"keep_within is {value}. Give whole hours, one or more, or text like 30d.",
        )

    @pytest.mark.parametrize("value", ["30", 30, 30.5, True, "30x", "d", "0d", " 30d", "-3d", "1d1y", "30 days"])
    def test_what_is_no_span(self, value: Any) -> None:
        with pytest.raises(InvalidRequest) as caught:
            rules_of({"keep_within": value}, UTC)
        assert f"{str(value)!r} is no span of time" in str(caught.value)
        assert "Write it like 30d, 8w, 12h or 1y6m" in str(caught.value)

    @pytest.mark.parametrize("name", [*COUNTS, "min_count"])
    @pytest.mark.parametrize("value", ["some", 2.5, "2.0", True, False, [3], "1e3"])
    def test_what_is_no_whole_number(self, name: str, value: Any) -> None:
        given = {"keep_last": 1, name: value}
        assert_refused(lambda: rules_of(given, UTC), f"{name} is {value!r}. Give a whole number.")

    @pytest.mark.parametrize("name", COUNTS)
    @pytest.mark.parametrize("value", [-2, "-7"])
    def test_negative_counts(self, name: str, value: Any) -> None:
        assert_refused(
            lambda: rules_of({name: value}, UTC), f"{name} is {int(value)}. Give a number from 0 on, or -1 for all."
        )

    @pytest.mark.parametrize("value", [0, "0", -1])
    def test_least_number(self, value: Any) -> None:
        given = {"keep_last": 1, "min_count": value}
        assert_refused(lambda: rules_of(given, UTC), f"min_count is {int(value)}. Give 1 or more")

    @pytest.mark.parametrize("value", [0, "0", -1, math.nan, math.inf, "inf", "nan", "big", "5 GiB", " ", True, [5]])
    def test_sizes_that_are_none(self, value: Any) -> None:
        given = {"keep_last": 1, "max_total_gib": value}
        assert_refused(lambda: rules_of(given, UTC), f"max_total_gib is {value!r}. Give a number above 0.")

    def test_size_of_less_than_a_byte(self) -> None:
        assert_refused(lambda: rules_of({"max_total_gib": 1e-12}, UTC), "max_total_gib is 1e-12. Give the most GiB")

    @pytest.mark.parametrize(
        "given", [{}, {"min_count": 3}, {"keep_last": 0, "keep_daily": "0"}, {"keep_yearly": None}]
    )
    def test_none_that_keeps_anything(self, given: dict[str, Any]) -> None:
        assert_refused(lambda: rules_of(given, UTC), NO_RULE)

    def test_none_that_keeps_anything_of_a_prefix(self) -> None:
        assert_refused(
            lambda: rules_of({"id_prefix": "nightly-"}, UTC),
            "No rule says what is to be kept of the backups nightly-*.",
        )

    @pytest.mark.parametrize(
        ("given", "named"),
        [
            ({"keep_all": 1}, "keep_all"),
            ({"keep_last": 1, "timezone": "UTC"}, "timezone"),
            ({"keep": 1, "daily": 1}, "daily, keep"),
        ],
    )
    def test_names_that_there_are_none_of(self, given: dict[str, Any], named: str) -> None:
        assert_refused(lambda: rules_of(given, UTC), f"There are no rules {named}. Use id_prefix, keep_within, ")


class TestRulesOfAllPrefixes:
    @pytest.mark.parametrize("several", [*NOT_GIVEN, [], (), "[]"])
    def test_of_one_prefix(self, several: Any) -> None:
        single = NONE | {"keep_daily": "7", "id_prefix": "nightly-"}
        assert all_rules_of(single, several, BERLIN) == (Rules("nightly-", keep_daily=7, zone=BERLIN),)
        assert_refused(lambda: all_rules_of(NONE, several, BERLIN), NO_RULE)

    @pytest.mark.parametrize("single", [NONE, dict.fromkeys(RULE_ARGUMENTS, "None"), dict.fromkeys(RULE_ARGUMENTS, "")])
    def test_of_several(self, single: dict[str, Any]) -> None:
        several = [{"id_prefix": "nightly-", "keep_daily": 7}, {"keep_last": "24", "max_total_gib": "0.5"}]
        expected = (
            Rules("nightly-", keep_daily=7, zone=BERLIN),
            Rules(keep_last=24, max_total_bytes=2**29, zone=BERLIN),
        )
        for value in (several, tuple(several), json.dumps(several)):
            assert all_rules_of(single, value, BERLIN) == expected

    @pytest.mark.parametrize(
        "several",
        [
            *("{", "nightly-", "[{'keep_last': 3}]", '[{"keep_last": 3},]'),
            *("{}", "3", "[1]", '["keep_last"]', '[{"keep_last": 3}, null]'),
            *({}, {"keep_last": 3}, 3, 0, True, [1], ["keep_last"], [{"keep_last": 3}, None]),
        ],
    )
    def test_what_is_no_list_of_them(self, several: Any) -> None:
        assert_refused(
            lambda: all_rules_of(NONE, several, UTC),
            f'rules is {several!r}, which is not of the form [{{"id_prefix": "nightly-", "keep_daily": 7}}, ',
        )

    @pytest.mark.parametrize(
        ("single", "named"),
        [
            ({"keep_last": 3}, "keep_last"),
            ({"keep_last": 0}, "keep_last"),
            ({"id_prefix": "a"}, "id_prefix"),
            ({"keep_within": timedelta(days=1), "min_count": "2"}, "keep_within, min_count"),
        ],
    )
    def test_both_are_given(self, single: dict[str, Any], named: str) -> None:
        assert_refused(
            lambda: all_rules_of(NONE | single, '[{"keep_last": 3}]', UTC),
            f"Both rules and {named} are given. Put all into rules, one entry for each id_prefix.",
        )

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({}, NO_RULE),
            ({"keep_lats": 3}, "There are no rules keep_lats."),
            ({"keep_last": True}, "keep_last is True."),
            ({"keep_last": None, "max_total_gib": math.inf}, "max_total_gib is inf."),
        ],
    )
    def test_one_is_wrong(self, wrong: dict[str, Any], message: str) -> None:
        several = [{"id_prefix": "a", "keep_last": 3}, wrong]
        told = f"In rules, entry 2: {message}"
        assert_refused(lambda: all_rules_of(NONE, several, UTC), told)
        assert_refused(lambda: all_rules_of(NONE, json.dumps(several), UTC), told)

    @pytest.mark.parametrize("prefixes", [("a", "a"), ("", None), ("b", "a", "b")])
    def test_two_of_one_prefix(self, prefixes: tuple[str | None, ...]) -> None:
        several = [{"id_prefix": prefix, "keep_last": 3} for prefix in prefixes]
        assert_refused(
            lambda: Retention(all_rules_of(NONE, several, UTC)),
            f"There are {len(prefixes)} rules, for the prefixes {sorted(prefix or '' for prefix in prefixes)}. "
            "Give one or more, each for a prefix of its own.",
        )


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(-1e9, 1e9) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
entries = st.dictionaries(st.sampled_from(RULE_ARGUMENTS), anything, max_size=4)


@given(entries, anything | st.lists(entries, max_size=3))
def test_whatever_a_template_gives_is_read_or_refused(single: dict[str, Any], several: Any) -> None:
    for value in (several, json.dumps(several)):
        with suppress(InvalidRequest):
            assert all(isinstance(rules, Rules) for rules in all_rules_of(NONE | single, value, UTC))
