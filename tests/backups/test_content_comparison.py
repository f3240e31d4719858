"""What a cluster may hold that a backup was restored to, which was made between two records."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.content import SearchAnswer, TenantContent
from airflow_provider_vectorbackup.backups.content_comparison import Comparison, Tolerance, hits
from airflow_provider_vectorbackup.backups.content_expected import expect, in_step
from tests.backups.content_cases import TOLERANCE, Case, an_object_of, cases, nearly
from tests.backups.contents import an_object, collection_of, tenant_of


def differences(case: Case, tolerance: Tolerance = TOLERANCE) -> list[str]:
    """Return what differs, but for that all objects are gone: where that is so is tested by itself."""
    return [str(found) for found in case.compared(tolerance).differences if not found.what.startswith("is empty")]


class TestBetweenTheRecords:
    @given(cases())
    def test_whatever_may_have_been_is_equal(self, case: Case) -> None:
        assume(not case.is_emptied)
        found = case.compared()
        assert found.differences == []
        assert found.summary()["is_equal"] is True
        assert case.found is not None
        there = [tenant.tenant for tenant in case.found.tenants]
        assert found.sampled == sum(len(case.kept[name]) for name in there)
        found.require_equal()

    @given(cases())
    def test_each_of_the_records_is_equal(self, case: Case) -> None:
        for record in (case.before, case.after):
            as_recorded = replace(case, found=record)
            assert differences(as_recorded) == []

    @given(cases(), st.data())
    def test_lost_object_is_named(self, case: Case, data: st.DataObject) -> None:
        tenant, name = _one_kept(case, data)
        left = tuple(found for found in tenant.objects if found.object_id != name)
        damaged = case.finding(replace(tenant, objects=left))
        assert differences(damaged) == [f"{_where(tenant)} lacks the object {name}"]

    @given(cases(), st.data())
    def test_changed_properties_are_named(self, case: Case, data: st.DataObject) -> None:
        tenant, name = _one_kept(case, data)
        changed = tuple(
            replace(found, properties="others") if found.object_id == name else found for found in tenant.objects
        )
        assert differences(case.finding(replace(tenant, objects=changed))) == [
            f"{_where(tenant)} has the object {name} with other properties"
        ]

    @given(cases(), st.data(), st.sampled_from([-1.5, 1.5, 1000.0]))
    def test_vector_beyond_the_tolerance_is_named(self, case: Case, data: st.DataObject, times: float) -> None:
        tenant, name = _one_kept(case, data)
        moved = nearly(an_object_of(name, 0), times * TOLERANCE.vector)
        changed = tuple(moved if found.object_id == name else found for found in tenant.objects)
        assert differences(case.finding(replace(tenant, objects=changed))) == [
            f"{_where(tenant)} has the object {name} with other vector 'title'"
        ]

    @given(cases(), st.data(), st.integers(1, 100))
    def test_count_outside_is_named(self, case: Case, data: st.DataObject, beyond: int) -> None:
        tenant = _one_of(case, data, [name for name in case.spans if _is_counted(case, name)])
        least, most = case.spans[tenant.tenant]
        count = data.draw(st.sampled_from([most + beyond, *([least - 1] if least else [])]))
        told = str(most) if least == most else f"{least} to {most}"
        damaged = case.finding(replace(tenant, count=count))
        wanted = f"{_where(tenant)} has {count} objects, not {told}"
        assert [found for found in differences(damaged) if "was empty" not in found] == [wanted]

    @given(cases(), st.data())
    def test_missing_tenant_is_named(self, case: Case, data: st.DataObject) -> None:
        tenant = _one_of(case, data, sorted(case.required - {""}))
        assert case.found is not None
        left = tuple(found for found in case.found.tenants if found.tenant != tenant.tenant)
        damaged = replace(case, found=replace(case.found, tenants=left))
        assert differences(damaged) == [f"{_where(tenant)} is not there"]

    @given(cases(), st.sampled_from([0, None]))
    def test_extra_tenant_is_named(self, case: Case, count: int | None) -> None:
        damaged = case.finding(TenantContent("new", "HOT" if count is not None else "COLD", count))
        assert differences(damaged) == ["Car/new is there, and was in neither record"]

    @given(cases())
    def test_tenant_of_one_record_may_be_there_or_not(self, case: Case) -> None:
        assert case.found is not None
        certain = tuple(found for found in case.found.tenants if found.tenant in case.required)
        damaged = replace(case, found=replace(case.found, tenants=certain))
        assert differences(damaged) == []
        warned = [f"Car/{name} is not there" for name in sorted(case.kept.keys() - case.required)]
        assert list(map(str, damaged.compared().warnings)) == warned

    @given(cases())
    def test_strict_allows_no_writes_in_between(self, case: Case) -> None:
        assume(not case.is_emptied)
        strict = replace(TOLERANCE, is_strict=True)
        assert case.before is not None
        same = Case(case.before, case.before, case.before)
        assert differences(same, strict) == []
        assert bool(differences(case, strict)) == _was_written(case)

    def test_strict_names_what_was_written(self) -> None:
        before = collection_of(
            tenant_of("counted", 3), tenant_of("changed", 1, [an_object("a")]), tenant_of("deleted", 1), ef=64
        )
        after = collection_of(
            tenant_of("counted", 4), tenant_of("changed", 1, [an_object("a", "other")]), tenant_of("made", 1), ef=128
        )
        assert differences(Case(before, after, after), Tolerance(is_strict=True)) == [
            "Car/changed has objects that were changed between the two records",
            "Car/counted had 3 objects before, and 4 after",
            "Car/deleted was deleted between the two records",
            "Car/made was made between the two records",
            "Car was configured anew between the two records",
        ]


class TestCollectionOfOneRecord:
    @pytest.mark.parametrize("is_before", [True, False])
    def test_may_be_there_or_not(self, is_before: bool) -> None:
        record = collection_of(tenant_of("", 3, [an_object("a")]))
        before, after = (record, None) if is_before else (None, record)
        absent = Case(before, after, None).compared()
        assert (absent.differences, list(map(str, absent.warnings))) == ([], ["Car is not there"])
        assert Case(before, after, record).compared().differences == []
        fewer = collection_of(tenant_of("", 1))
        assert Case(before, after, fewer).compared().differences == []

    def test_holds_no_more_than_was_recorded(self) -> None:
        case = Case(None, collection_of(tenant_of("", 3)), collection_of(tenant_of("", 4)))
        assert differences(case) == ["Car has 4 objects, not 0 to 3"]

    def test_is_configured_as_recorded(self) -> None:
        case = Case(None, collection_of(tenant_of("", 3), ef=64), collection_of(tenant_of("", 3), ef=65))
        assert differences(case) == ["Car has ef 65, not 64"]

    def test_missing_one_of_both_is_named(self) -> None:
        record = collection_of(tenant_of("", 3))
        assert differences(Case(record, record, None)) == ["Car is not there"]


class TestInStep:
    @given(st.sets(st.text(max_size=3)), st.sets(st.text(max_size=3)))
    def test_each_collection_comes_once_beside_its_other_record(self, ones: set[str], others: set[str]) -> None:
        before = [collection_of(name=name, at="before") for name in sorted(ones)]
        after = [collection_of(name=name, at="after") for name in sorted(others)]
        pairs = list(in_step(before, after))
        assert [expect(one, other).name for one, other in pairs] == sorted(ones | others)
        for one, other in pairs:
            name = expect(one, other).name
            assert (one is not None, other is not None) == (name in ones, name in others)
            assert {record.config["at"] for record in (one,) if record} <= {"before"}
            assert {record.config["at"] for record in (other,) if record} <= {"after"}


distances = st.integers(0, 8).map(lambda eighths: eighths / 8)
answers = st.dictionaries(st.sampled_from("abcdefghij"), distances, max_size=6)


class TestHits:
    @given(answers, answers)
    def test_found_again_or_as_near_as_the_farthest(self, wanted: dict[str, float], now: dict[str, float]) -> None:
        farthest = max(wanted.values(), default=-1.0)
        good = [name for name, distance in now.items() if name in wanted or distance <= farthest]
        found = hits(_answer(wanted), _answer(now))
        assert found == (min(len(good), len(wanted)) if wanted else 0)

    @pytest.mark.parametrize(
        ("last", "other", "counted"),
        [(0.5, 0.5, 2), (0.5, 0.500001, 2), (0.5, 0.501, 1), (-90.0, -89.9999, 2), (-90.0, -89.0, 1), (0.0, 1e-6, 2)],
    )
    def test_ties_count_whatever_is_rounded(self, last: float, other: float, counted: int) -> None:
        wanted = {"a": last - 0.1, "b": last}
        assert hits(_answer(wanted), _answer({"a": last - 0.1, "c": other})) == counted

    def test_no_answer_finds_nothing(self) -> None:
        assert hits(_answer({"a": 0.1}), None) == 0


def _answer(found: dict[str, float]) -> SearchAnswer:
    return SearchAnswer("x", "", tuple(sorted(found.items(), key=lambda near: near[1])))


def _where(tenant: TenantContent) -> str:
    return f"Car/{tenant.tenant}" if tenant.tenant else "Car"


def _one_of(case: Case, data: st.DataObject, names: list[str]) -> TenantContent:
    assume(names)
    return case.tenant(data.draw(st.sampled_from(names)))


def _one_kept(case: Case, data: st.DataObject) -> tuple[TenantContent, str]:
    """Choose an object that must be there still, and its tenant."""
    kept = [(tenant, name) for tenant, names in case.kept.items() for name in names]
    assume(kept)
    tenant, name = data.draw(st.sampled_from(kept))
    return case.tenant(tenant), name


def _is_counted(case: Case, name: str) -> bool:
    assert case.found is not None
    return any(found.tenant == name and found.count is not None for found in case.found.tenants)


def _was_written(case: Case) -> bool:
    """Whether the records differ in anything but the activity of tenants and the answers of searches."""
    assert case.before is not None
    assert case.after is not None
    if case.before.config != case.after.config:
        return True
    ones, others = ({t.tenant: t for t in record.tenants} for record in (case.before, case.after))
    if ones.keys() != others.keys():
        return True
    return any(
        one.count != others[name].count or not {*map(repr, one.objects)} <= {*map(repr, others[name].objects)}
        for name, one in ones.items()
    )


def test_nothing_is_compared_before_it_is_asked_for() -> None:
    found = Comparison()
    assert (found.recall, found.summary()["sampled"], found.differences) == (None, 0, [])
