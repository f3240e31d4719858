"""A collection that is written to while it is backed up: two records of it, and what a backup in between may hold."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.content import (
    CollectionContent,
    SampledObject,
    SampledVector,
    SearchAnswer,
    TenantContent,
)
from airflow_provider_vectorbackup.backups.content_comparison import Comparison, Tolerance, compare_collection
from airflow_provider_vectorbackup.backups.content_expected import expect
from tests.backups.contents import collection_of

BOTH, BEFORE, AFTER = "both", "before", "after"
TOLERANCE = Tolerance(vector=1e-3)
_UNCHANGED, _CHANGED, _DELETED, _NEW = range(4)


@dataclass(frozen=True)
class Case:
    """What was recorded, what is found now, and what of it may not be otherwise.

    :param kept: tenant -> the objects that are in both records, unchanged.
    :param required: the tenants that are in both.
    :param spans: tenant -> least and most objects, where they were counted in both.
    """

    before: CollectionContent | None
    after: CollectionContent | None
    found: CollectionContent | None
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def is_emptied(self) -> bool:
        """Whether nothing is found where there was something: a difference, whatever the counts are."""
        recorded = [record.count for record in (self.before, self.after) if record]
        return self.found is not None and not self.found.count and any(recorded)

    def compared(self, tolerance: Tolerance = TOLERANCE, *, is_same_version: bool = True) -> Comparison:
        into = Comparison()
        expected = expect(self.before, self.after)
        compare_collection(expected, self.found, tolerance, into, is_same_version=is_same_version)
        return into

    def finding(self, tenant: TenantContent) -> Case:
        """Return the case with a tenant as it is found now."""
        assert self.found is not None
        others = [each for each in self.found.tenants if each.tenant != tenant.tenant]
        return replace(self, found=replace(self.found, tenants=(*others, tenant)))

    def tenant(self, name: str) -> TenantContent:
        """Return a tenant as it is found now."""
        assert self.found is not None
        return next(each for each in self.found.tenants if each.tenant == name)


@dataclass(frozen=True)
class _TenantCase:
    before: TenantContent | None
    after: TenantContent | None
    found: TenantContent | None
    kept: tuple[str, ...]


def an_object_of(name: str, version: int) -> SampledObject:
    values = array("f", [float(version), 2.0, float(len(name))])
    return SampledObject(name, f"digest {version}", {"title": SampledVector(0, values)})


def nearly(found: SampledObject, by: float) -> SampledObject:
    """Return the object with a vector that differs by part of the largest value."""
    vector = found.vectors["title"]
    values = array("f", [value + by * max(vector.values) for value in vector.values])
    return replace(found, vectors={"title": SampledVector(0, values)})


def answer_of(found: SampledObject, version: int) -> SearchAnswer:
    return SearchAnswer(found.object_id, "title", ((f"near {version}", 0.1), (f"far {version}", 0.2)))


@st.composite
def _tenant_case(draw: st.DrawFn, name: str) -> _TenantCase:
    there = draw(st.sampled_from([BOTH, BOTH, BOTH, BEFORE, AFTER]))
    activity = st.sampled_from(["HOT", "HOT", "HOT", "COLD"]) if name else st.just("")
    first, second = draw(activity), draw(activity)
    known = {BOTH: [first, second], BEFORE: [first], AFTER: [second]}[there]
    now = draw(st.sampled_from(known))
    most = draw(st.integers(0, 30)), draw(st.integers(0, 30))
    least = min(most) if there == BOTH else 0
    counts = {BOTH: most, BEFORE: most[:1], AFTER: most[1:]}[there]
    count = draw(st.integers(least, max(counts)))
    fates = draw(st.lists(st.sampled_from([_UNCHANGED, _UNCHANGED, _CHANGED, _DELETED, _NEW]), max_size=4))
    ones, others, founds, kept = [], [], [], []
    for number, fate in enumerate(fates):
        versions = [an_object_of(f"o{number}", version) for version in range(4)]
        answers = [answer_of(versions[0], draw(st.sampled_from([0, 0, 0, 1]))) for _ in range(2)]
        if fate != _NEW:
            ones.append((versions[0], answers[0]))
        if fate != _DELETED:
            others.append((versions[1 if fate == _CHANGED else 0], answers[1]))
        if fate == _UNCHANGED:
            kept.append(f"o{number}")
            is_same_answer = answers[0] == answers[1]
            now_found = answers[0] if is_same_answer else answer_of(versions[0], draw(st.integers(0, 3)))
            founds.append((nearly(versions[0], draw(st.floats(-0.9, 0.9)) * TOLERANCE.vector), now_found))
        elif draw(st.booleans()):
            version = draw(st.integers(0, 3))
            founds.append((versions[version], answer_of(versions[version], version)))
    one = _tenant(name, first, most[0], ones) if there != AFTER else None
    other = _tenant(name, second, most[1], others) if there != BEFORE else None
    found = _tenant(name, now, count, founds) if there == BOTH or draw(st.booleans()) else None
    is_looked_at = there == BOTH and set(known) <= {"HOT", ""}
    return _TenantCase(one, other, found, tuple(kept) if is_looked_at else ())


def _tenant(name: str, activity: str, count: int, looked_at: list[tuple[SampledObject, SearchAnswer]]) -> TenantContent:
    if activity == "COLD":
        return TenantContent(name, activity, None)
    objects, answers = tuple(found for found, _ in looked_at), tuple(answer for _, answer in looked_at)
    return TenantContent(name, activity, count, objects, answers)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Make two records and what a cluster may hold to which a backup between them was restored."""
    names = draw(st.sampled_from([[""], ["a"], ["a", "b"], ["a", "b", "c"]]))
    tenants = {name: draw(_tenant_case(name)) for name in names}
    if names == [""]:
        tenants = {"": draw(_tenant_case("").filter(lambda made: made.before and made.after))}
    efs = draw(st.tuples(st.sampled_from([-1, 64]), st.sampled_from([-1, 64])))
    now = draw(st.sampled_from(efs))
    return Case(
        collection_of(*filter(None, (made.before for made in tenants.values())), ef=efs[0]),
        collection_of(*filter(None, (made.after for made in tenants.values())), ef=efs[1]),
        collection_of(*filter(None, (made.found for made in tenants.values())), ef=now),
        {name: made.kept for name, made in tenants.items()},
        frozenset(name for name, made in tenants.items() if made.before and made.after),
        dict(itertools.chain.from_iterable(_span(name, made) for name, made in tenants.items())),
    )


def _span(name: str, made: _TenantCase) -> list[tuple[str, tuple[int, int]]]:
    known = [tenant.count for tenant in (made.before, made.after) if tenant]
    counts = [count for count in known if count is not None]
    least = min(counts, default=0) if made.before and made.after else 0
    return [(name, (least, max(counts)))] if counts and len(counts) == len(known) else []
