from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.operators import arguments

NOT_GIVEN = (None, "", "None")


class Policy(StrEnum):
    FAIL = "fail"
    SKIP = "skip"


def assert_refused(read: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read()
    assert str(caught.value).startswith(message)
    assert caught.value.hint


class TestText:
    @pytest.mark.parametrize("value", NOT_GIVEN)
    def test_not_given(self, value: Any) -> None:
        assert arguments.text(value) is None

    @pytest.mark.parametrize(("value", "text"), [("a", "a"), (3, "3"), (0, "0"), (" ", " ")])
    def test_given(self, value: Any, text: str) -> None:
        assert arguments.text(value) == text


class TestNames:
    @pytest.mark.parametrize("value", [*NOT_GIVEN, [], (), set(), "[]", "null"])
    def test_not_given(self, value: Any) -> None:
        assert arguments.names("include", value) == ()

    @pytest.mark.parametrize(
        ("value", "names"),
        [
            (["Article", "Author*"], ("Article", "Author*")),
            (("Article",), ("Article",)),
            ({"Article"}, ("Article",)),
            ('["Article", "Author*"]', ("Article", "Author*")),
            (["Author", "Article", "Author"], ("Author", "Article")),
        ],
    )
    def test_given(self, value: Any, names: tuple[str, ...]) -> None:
        assert arguments.names("include", value) == names

    @pytest.mark.parametrize(
        "value",
        ["Article", "['Article']", "Article,Author", '{"a": 1}', "3", [3], [""], [None], [["a"]], 3, {"a": "b"}],
    )
    def test_malformed(self, value: Any) -> None:
        assert_refused(lambda: arguments.names("include", value), f"include is {value!r}, which is not of the form [")

    def test_long_values_are_cut(self) -> None:
        with pytest.raises(InvalidRequest) as caught:
            arguments.names("include", "x" * 10_000)
        assert len(str(caught.value)) < 300


class TestMapping:
    @pytest.mark.parametrize("value", [*NOT_GIVEN, {}, "{}", "null"])
    def test_not_given(self, value: Any) -> None:
        assert arguments.mapping("node_mapping", value) == {}

    @pytest.mark.parametrize("value", [{"old": "new"}, '{"old": "new"}'])
    def test_given(self, value: Any) -> None:
        assert arguments.mapping("node_mapping", value) == {"old": "new"}

    @pytest.mark.parametrize("value", ["old=new", "[]", ["old"], {"old": 3}, {"": "new"}, {"old": ""}, {3: "new"}, 3])
    def test_malformed(self, value: Any) -> None:
        assert_refused(
            lambda: arguments.mapping("node_mapping", value), f"node_mapping is {value!r}, which is not of the form {{"
        )


class TestFlag:
    @pytest.mark.parametrize("value", [True, "True", "true"])
    def test_on(self, value: Any) -> None:
        assert arguments.flag("allow_replace", value) is True

    @pytest.mark.parametrize("value", [False, "False", "false", *NOT_GIVEN])
    def test_off(self, value: Any) -> None:
        assert arguments.flag("allow_replace", value) is False

    @pytest.mark.parametrize("value", ["yes", "1", 1, 0, [], [True]])
    def test_neither(self, value: Any) -> None:
        assert_refused(lambda: arguments.flag("allow_replace", value), f"allow_replace is {value!r}.")


class TestWholeNumber:
    @pytest.mark.parametrize("value", NOT_GIVEN)
    def test_not_given(self, value: Any) -> None:
        assert arguments.whole_number("cpu_percentage", value) is None

    @pytest.mark.parametrize(("value", "number"), [(50, 50), ("50", 50), (" 50 ", 50), (0, 0), ("-1", -1)])
    def test_given(self, value: Any, number: int) -> None:
        assert arguments.whole_number("cpu_percentage", value) == number

    @pytest.mark.parametrize("value", ["half", 50.5, "50.0", True, [50]])
    def test_malformed(self, value: Any) -> None:
        assert_refused(lambda: arguments.whole_number("cpu_percentage", value), f"cpu_percentage is {value!r}.")


class TestChoice:
    @pytest.mark.parametrize("value", ["skip", Policy.SKIP])
    def test_given(self, value: Any) -> None:
        assert arguments.choice("policy", value, Policy) is Policy.SKIP

    @pytest.mark.parametrize("value", ["SKIP", "", None, 3, ["skip"]])
    def test_unknown(self, value: Any) -> None:
        assert_refused(
            lambda: arguments.choice("policy", value, Policy), f"policy is {value!r}. Use one of fail, skip."
        )


class TestSeconds:
    @pytest.mark.parametrize(("value", "seconds"), [(3, 3.0), (0.5, 0.5), ("60", 60.0), (timedelta(minutes=2), 120.0)])
    def test_given(self, value: Any, seconds: float) -> None:
        read = arguments.seconds("timeout", value)
        assert (read, type(read)) == (seconds, float)

    @pytest.mark.parametrize(
        "value", [0, -1, timedelta(0), timedelta(seconds=-1), "a day", "", None, True, math.nan, math.inf]
    )
    def test_what_is_no_duration(self, value: Any) -> None:
        assert_refused(lambda: arguments.seconds("timeout", value), f"timeout is {value!r}.")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.timedeltas(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
READERS: tuple[Callable[[Any], object], ...] = (
    lambda value: arguments.names("a", value),
    lambda value: arguments.mapping("a", value),
    lambda value: arguments.flag("a", value),
    lambda value: arguments.whole_number("a", value),
    lambda value: arguments.choice("a", value, Policy),
    lambda value: arguments.seconds("a", value),
)


@pytest.mark.parametrize("read", READERS, ids=["names", "mapping", "flag", "whole_number", "choice", "seconds"])
@given(anything)
def test_whatever_a_template_gives_is_read_or_refused(read: Callable[[Any], object], value: Any) -> None:
    try:
        read(value)
    except InvalidRequest as error:
        refusal = str(error)
    else:
        refusal = "a is fine"
    assert refusal.startswith("a is ")
