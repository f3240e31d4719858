"""Each kind of damage by itself, and how it is told. What is no damage: test_content_comparison.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.content import CollectionContent, SampledObject, SearchAnswer
from airflow_provider_vectorbackup.backups.content_comparison import (
    Comparison,
    Tolerance,
    compare_aliases,
    require_something,
)
from airflow_provider_vectorbackup.exceptions import ContentDiffers
from tests.backups.content_cases import Case
from tests.backups.contents import an_object, collection_of, tenant_of

COLD = "COLD"


def compared(record: CollectionContent, found: CollectionContent | None, **tolerance: Any) -> Comparison:
    """Compare with one record: what was there just before and just after."""
    return Case(record, record, found).compared(Tolerance(**tolerance))


def told(record: CollectionContent, found: CollectionContent | None, **tolerance: Any) -> list[str]:
    return list(map(str, compared(record, found, **tolerance).differences))


class TestObjects:
    def test_lost_one(self) -> None:
        record = collection_of(tenant_of("", 2, [an_object("a"), an_object("b")]))
        assert told(record, collection_of(tenant_of("", 2, [an_object("b")]))) == ["Car lacks the object a"]

    @pytest.mark.parametrize(
        ("now", "what"),
        [
            (an_object("a", "others", title=[1.0, 2.0], body=[3.0, 4.0]), "properties"),
            (an_object("a", title=[1.0, 2.0], body=[3.5, 4.0]), "vector 'body'"),
            (an_object("a", title=[1.0, 2.0]), "vector 'body'"),
            (an_object("a", title=[1.0, 2.0], body=[3.0, 4.0], more=[1.0]), "vector 'more'"),
            (an_object("a", "others", title=[1.5, 2.0], body=[3.0]), "properties and vector 'body' and vector 'title'"),
            (SampledObject("a", "as it was"), "vector 'body' and vector 'title'"),
        ],
    )
    def test_all_that_is_other_in_one_is_named(self, now: SampledObject, what: str) -> None:
        was = an_object("a", title=[1.0, 2.0], body=[3.0, 4.0])
        record, found = (collection_of(tenant_of("t", 1, [each])) for each in (was, now))
        assert told(record, found) == [f"Car/t has the object a with other {what}"]

    def test_unnamed_vector(self) -> None:
        record = collection_of(tenant_of("", 1, [an_object("a")]))
        other = SampledObject("a", "as it was", dict(an_object("b", **{"": [1.0, 2.1]}).vectors))
        assert told(record, collection_of(tenant_of("", 1, [other]))) == ["Car has the object a with other vector"]

    @pytest.mark.parametrize(("by", "is_equal"), [(1e-6, True), (3e-5, False)])
    def test_vector_may_differ_by_a_rounding(self, by: float, is_equal: bool) -> None:
        was, now = an_object("a", title=[1.0, 0.5]), an_object("a", title=[1.0, 0.5 + by])
        record, found = (collection_of(tenant_of("", 1, [each])) for each in (was, now))
        assert (told(record, found) == []) is is_equal
        assert told(record, found, vector=1e-4) == []


class TestCounts:
    @pytest.mark.parametrize(("count", "text"), [(4, "4 objects, not 5"), (6, "6 objects, not 5")])
    def test_other_than_in_both(self, count: int, text: str) -> None:
        assert told(collection_of(tenant_of("", 5)), collection_of(tenant_of("", count))) == [f"Car has {text}"]

    @pytest.mark.parametrize("before", [0, 5])
    @pytest.mark.parametrize("after", [0, 5])
    def test_empty_where_there_was_something(self, before: int, after: int) -> None:
        one, other, now = (collection_of(tenant_of("", count)) for count in (before, after, 0))
        found = list(map(str, Case(one, other, now).compared().differences))
        assert ("Car is empty, and had up to 5 objects" in found) is (before + after > 0)

    def test_something_where_all_was_empty(self) -> None:
        found = told(collection_of(tenant_of("", 0)), collection_of(tenant_of("", 3)))
        assert "Car has 3 objects, and was empty" in found

    def test_all_tenants_gone(self) -> None:
        found = told(collection_of(tenant_of("a", 3), tenant_of("b", 4)), collection_of())
        assert found == ["Car is empty, and had up to 7 objects", "Car/a is not there", "Car/b is not there"]

    def test_one_emptied_tenant_of_several(self) -> None:
        record = collection_of(tenant_of("a", 3), tenant_of("b", 4))
        assert told(record, collection_of(tenant_of("a", 0), tenant_of("b", 4))) == ["Car/a has 0 objects, not 3"]

    def test_inactive_tenants_are_told_and_not_taken_for_empty(self) -> None:
        record = collection_of(tenant_of("a", 3), tenant_of("b", None, activity=COLD))
        found = collection_of(tenant_of("a", None, activity=COLD), tenant_of("b", None, activity=COLD))
        comparison = compared(record, found)
        assert list(map(str, comparison.differences)) == ["Car/a is COLD, and was HOT"]
        assert (comparison.uncounted, comparison.tenants) == (2, 2)
        assert "2 inactive tenants were not compared" in comparison.in_words()

    def test_activity_may_be_that_of_either_record(self) -> None:
        one, other = collection_of(tenant_of("a", 3)), collection_of(tenant_of("a", None, activity=COLD))
        for found in (one, other):
            assert Case(one, other, found).compared().differences == []
        frozen = collection_of(tenant_of("a", None, activity="FROZEN"))
        assert list(map(str, Case(one, other, frozen).compared().differences)) == [
            "Car/a is FROZEN, and was COLD or HOT"
        ]


class TestTenantsAndCollections:
    def test_missing_and_extra(self) -> None:
        found = told(collection_of(tenant_of("a", 3), tenant_of("b", 4)), collection_of(tenant_of("a", 3)))
        assert found == ["Car/b is not there"]
        more = told(collection_of(tenant_of("a", 3)), collection_of(tenant_of("a", 3), tenant_of("b", 4)))
        assert more == ["Car/b is there, and was in neither record"]

    def test_missing_collection(self) -> None:
        assert told(collection_of(tenant_of("", 3)), None) == ["Car is not there"]


class TestConfiguration:
    @pytest.mark.parametrize("is_same_version", [True, False])
    def test_other_value_on_any_version(self, is_same_version: bool) -> None:
        record, found = (collection_of(tenant_of("", 3), ef=ef) for ef in (64, -1))
        differences = Case(record, record, found).compared(is_same_version=is_same_version).differences
        assert list(map(str, differences)) == ["Car has ef -1, not 64"]

    @pytest.mark.parametrize("is_added", [True, False])
    def test_setting_of_one_version_only(self, is_added: bool) -> None:
        record, found = collection_of(tenant_of("", 3)), collection_of(tenant_of("", 3), rescore=True)
        if not is_added:
            record, found = found, record
        case = Case(record, record, found)
        assert case.compared(is_same_version=False).differences == []
        (same,) = case.compared(is_same_version=True).differences
        assert str(same).startswith("Car has rescore ")

    def test_either_of_what_was_set_meanwhile(self) -> None:
        def with_ef(ef: int) -> CollectionContent:
            return collection_of(tenant_of("", 3), ef=ef)

        assert Case(with_ef(1), with_ef(2), with_ef(1)).compared().differences == []
        assert Case(with_ef(1), with_ef(2), with_ef(2)).compared().differences == []
        assert len(Case(with_ef(1), with_ef(2), with_ef(3)).compared().differences) == 1


class TestAliases:
    @pytest.mark.parametrize(
        ("before", "after", "found", "text"),
        [
            ({"A": "Car"}, {"A": "Car"}, {"A": "Car", "B": "Bus"}, None),
            ({"A": "Car"}, {"A": "Car"}, {}, "Alias A of Car is not there"),
            ({"A": "Car"}, {"A": "Car"}, {"A": "Bus"}, "Alias A of Car is one of Bus"),
            ({"A": "Car"}, {"A": "Bus"}, {"A": "Van"}, None),
            ({"A": "Car"}, {}, {}, None),
            ({}, {"A": "Car"}, {}, None),
        ],
    )
    def test_what_was_the_same_in_both_must_be_so(
        self, before: dict[str, str], after: dict[str, str], found: dict[str, str], text: str | None
    ) -> None:
        into = Comparison()
        compare_aliases(before, after, found, into)
        assert list(map(str, into.differences)) == ([text] if text else [])


def _searched(*found: list[str], vector: str = "title", distance: float = 0.1) -> CollectionContent:
    """Return a collection in which searches found objects, all equally far."""
    objects = [an_object(f"o{number}", **{vector: [1.0, 2.0]}) for number in range(len(found))]
    answers = [
        SearchAnswer(each.object_id, vector, tuple((name, distance) for name in names))
        for each, names in zip(objects, found, strict=True)
    ]
    return collection_of(tenant_of("", 100, objects, answers))


TEN = list("abcdefghij")


class TestRecall:
    @given(st.lists(st.integers(0, 10), min_size=1, max_size=6), st.sampled_from([0.5, 0.75, 0.875, 1.0]))
    def test_below_the_threshold_is_named(self, found_again: list[int], threshold: float) -> None:
        record = _searched(*(TEN for _ in found_again), distance=0.1)
        now = _searched(*([*TEN[:kept], *"zyxwvutsrq"[kept:]] for kept in found_again), distance=0.3)
        comparison = compared(record, now, recall=threshold)
        share = sum(found_again) / len(found_again) / 10
        assert comparison.recall == pytest.approx(share)
        assert bool(comparison.differences) is (share < threshold)

    def test_words(self) -> None:
        now = _searched(TEN, [*TEN[:7], *"zyx"], distance=0.3)
        comparison = compared(_searched(TEN, TEN), now)
        assert list(map(str, comparison.differences)) == [
            "Car.title finds 17 of 20 nearest objects again (recall 0.850, below 0.95); 1 of 2 searches find fewer"
        ]
        assert comparison.summary()["recall"] == 0.85
        assert comparison.recalls == {"Car.title": (17, 20)}
        assert compared(_searched(TEN, TEN), now, recall=0.85).differences == []

    def test_unnamed_vector_goes_by_the_collection(self) -> None:
        comparison = compared(_searched(TEN, vector=""), _searched([], vector=""))
        assert [found.where for found in comparison.differences] == ["Car"]

    def test_others_that_are_as_near_count_as_found(self) -> None:
        others = list("zyxwvutsrq")
        assert told(_searched(TEN), _searched(others)) == []
        assert len(told(_searched(TEN), _searched(others, distance=0.11))) == 1

    def test_answers_that_differ_between_the_records_are_not_expected(self) -> None:
        case = Case(_searched(TEN), _searched(TEN[1:]), _searched(["z"], distance=0.9))
        comparison = case.compared(Tolerance())
        assert (comparison.differences, comparison.searches, comparison.recall) == ([], 0, None)

    def test_search_that_was_not_answered_finds_nothing(self) -> None:
        record = _searched(TEN)
        now = collection_of(tenant_of("", 100, record.tenants[0].objects))
        assert [str(found).partition(" again")[0] for found in compared(record, now).differences] == [
            "Car.title finds 0 of 10 nearest objects"
        ]


class TestToldToTheUser:
    @pytest.mark.parametrize("count", [1, 20, 21, 45])
    def test_error_and_result_name_the_first_twenty(self, count: int) -> None:
        found = Comparison()
        for number in range(count):
            found.differ(f"Car{number}", "is not there")
            found.warn(f"Bus{number}", "is odd")
        with pytest.raises(ContentDiffers) as caught:
            found.require_equal()
        text = str(caught.value)
        assert f"; {count} differences." in text
        assert [f"- Car{number} is not there" in text.split("\n") for number in range(count)] == [
            number < 20 for number in range(count)
        ]
        assert (f"\n- and {count - 20} more" in text) is (count > 20)
        summary = found.summary()
        assert (summary["is_equal"], summary["difference_count"], summary["warning_count"]) == (False, count, count)
        assert summary["differences"] == [f"Car{number} is not there" for number in range(min(count, 20))]
        assert summary["warnings"] == [f"Bus{number} is odd" for number in range(min(count, 20))]
        assert f"differs in {count} places" in found.in_words()

    def test_summary_of_equal_ones(self) -> None:
        record = _searched(TEN)
        comparison = compared(record, record)
        comparison.require_equal()
        summary = comparison.summary()
        assert json.loads(json.dumps(summary)) == summary
        assert summary == {
            "is_equal": True,
            "collections": 1,
            "tenants": 0,
            "objects": 100,
            "sampled": 1,
            "searches": 1,
            "recall": 1.0,
            "written": 0,
            "uncounted": 0,
            "seconds": 0.0,
            "differences": [],
            "difference_count": 0,
            "warnings": [],
            "warning_count": 0,
        }
        assert "The cluster holds what was recorded: 1 collections" in comparison.in_words()
        assert "recall 1.000 of 1 searches" in comparison.in_words()


def test_record_of_nothing_proves_nothing() -> None:
    require_something(["Car"], "s3://b/x1")
    with pytest.raises(ContentDiffers, match=r"The record s3://b/x1 is of no collection at all"):
        require_something([], "s3://b/x1")
