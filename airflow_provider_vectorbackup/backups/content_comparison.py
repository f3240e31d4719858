"""Whether a cluster holds what can be expected of a backup, and how that is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_vectorbackup.backups.content import (
    CollectionContent,
    SampledObject,
    SearchAnswer,
    TenantContent,
)
from airflow_provider_vectorbackup.backups.content_expected import (
    Difference,
    ExpectedCollection,
    ExpectedTenant,
    place_of,
)
from airflow_provider_vectorbackup.exceptions import ContentDiffers

_SHOWN = 20
"""Differences in an error and in the result; the log has all."""

_TIE = 1e-5
"""By which distances may differ that count as equal: they are sums of rounded numbers."""

_NOTHING = "<nothing>"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What counts as equal.

    :param vector: by how much the values of a vector may differ, relative to the largest.
    :param recall: how many of the nearest objects that were found then must be found again, 0 to 1.
    :param is_strict: whether nothing may have been written between the two records.
    """

    vector: float = 1e-5
    recall: float = 0.95
    is_strict: bool = False


@dataclass(slots=True)
class Comparison:
    """What a comparison has found so far.

    :ivar objects: that the cluster has, as far as they could be counted.
    :ivar sampled: objects that were compared one by one.
    :ivar recalls: by collection and vector (``Car.title``): nearest objects found again, of how many.
    :ivar uncounted: tenants that could not be compared, as they are not active.
    :ivar written: collections that an object was written to.
    """

    differences: list[Difference] = field(default_factory=list)
    warnings: list[Difference] = field(default_factory=list)
    collections: int = 0
    tenants: int = 0
    objects: int = 0
    sampled: int = 0
    searches: int = 0
    uncounted: int = 0
    written: int = 0
    seconds: float = 0.0
    recalls: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def recall(self) -> float | None:
        """Of all searches; None where there were none."""
        hits, wanted = (sum(part) for part in zip(*self.recalls.values(), strict=True)) if self.recalls else (0, 0)
        return hits / wanted if wanted else None

    def differ(self, where: str, what: str) -> None:
        """Note a difference."""
        self.differences.append(Difference(where, what))

    def warn(self, where: str, what: str) -> None:
        """Note what is odd, or could not be compared."""
        self.warnings.append(Difference(where, what))

    def in_words(self) -> str:
        """Return one or two sentences for a log."""
        count = len(self.differences)
        state = f"{'differs in' if count else 'holds'} {f'{count} places from ' if count else ''}what was recorded"
        recall = "" if self.recall is None else f", recall {self.recall:.3f} of {self.searches} searches"
        uncounted = f"; {self.uncounted} inactive tenants were not compared" if self.uncounted else ""
        return (
            f"The cluster {state}: {self.collections} collections, {self.tenants} tenants, {self.objects} objects "
            f"counted, {self.sampled} compared one by one{recall}, {self.written} collections written to{uncounted}."
        )

    def summary(self) -> dict[str, Any]:
        """Return the task's result.

        Keys: ``is_equal collections tenants objects sampled searches recall written uncounted seconds
        differences difference_count warnings warning_count``.
        """
        return {
            "is_equal": not self.differences,
            "collections": self.collections,
            "tenants": self.tenants,
            "objects": self.objects,
            "sampled": self.sampled,
            "searches": self.searches,
            "recall": self.recall,
            "written": self.written,
            "uncounted": self.uncounted,
            "seconds": self.seconds,
            "differences": [str(difference) for difference in self.differences[:_SHOWN]],
            "difference_count": len(self.differences),
            "warnings": [str(warning) for warning in self.warnings[:_SHOWN]],
            "warning_count": len(self.warnings),
        }

    def require_equal(self) -> None:
        """Raise unless the cluster holds what was recorded.

        :raises ContentDiffers: it names the differences.
        """
        if not self.differences:
            return
        named = "".join(f"\n- {difference}" for difference in self.differences[:_SHOWN])
        more = f"\n- and {len(self.differences) - _SHOWN} more" if len(self.differences) > _SHOWN else ""
        raise ContentDiffers(
            f"The cluster does not hold what was recorded; {len(self.differences)} differences. "
            f"Do not switch over to it.{named}{more}"
        )


def compare_collection(
    expected: ExpectedCollection,
    found: CollectionContent | None,
    tolerance: Tolerance,
    into: Comparison,
    *,
    is_same_version: bool,
) -> None:
    """Compare a collection, as far as it was looked at.

    :param found: with the objects and the answers that ``expected`` names; None where there is no such collection.
    :param is_same_version: whether the server is of the version that was recorded; others add settings.
    """
    if tolerance.is_strict:
        into.differences += expected.changes
    if found is None:
        note = into.differ if expected.is_certain else into.warn
        note(expected.name, "is not there")
        return
    into.collections += 1
    into.objects += found.count
    _compare_config(expected, found, into, is_same_version=is_same_version)
    _compare_emptiness(expected, found, into)
    there = {tenant.tenant: tenant for tenant in found.tenants}
    for name, tenant in expected.tenants.items():
        _compare_tenant(expected.name, tenant, there.get(name), tolerance, into)
    for name in sorted(there.keys() - expected.tenants.keys()):
        into.differ(place_of(expected.name, name), "is there, and was in neither record")
    _compare_recall(expected, found, tolerance, into)


def compare_aliases(
    before: Mapping[str, str], after: Mapping[str, str], found: Mapping[str, str], into: Comparison
) -> None:
    """Compare aliases that were the same in both records."""
    for alias, collection in sorted(before.items()):
        if after.get(alias) == collection and found.get(alias) != collection:
            now = f"is one of {found[alias]}" if alias in found else "is not there"
            into.differ(f"Alias {alias}", f"of {collection} {now}")


def _compare_config(
    expected: ExpectedCollection, found: CollectionContent, into: Comparison, *, is_same_version: bool
) -> None:
    paths = set(found.config).union(*expected.configs)
    for path in sorted(paths):
        told = [config.get(path, _NOTHING) for config in expected.configs]
        now = found.config.get(path, _NOTHING)
        is_unknown = not is_same_version and (_NOTHING in told or now == _NOTHING)
        if now not in told and not is_unknown:
            into.differ(expected.name, f"has {path} {now!r}, not {told[0]!r}")


def _compare_emptiness(expected: ExpectedCollection, found: CollectionContent, into: Comparison) -> None:
    """Note a collection that is empty and was not, or is not and was: whatever counts lie in between."""
    counts = [tenant.counts for tenant in expected.tenants.values() if tenant.counts]
    most = sum(high for _, high in counts)
    if not expected.is_certain:
        return
    if most and not found.count and not found.uncounted:
        into.differ(expected.name, f"is empty, and had up to {most} objects")
    elif found.count and not most and len(counts) == len(expected.tenants):
        into.differ(expected.name, f"has {found.count} objects, and was empty")


def _compare_tenant(
    collection: str,
    expected: ExpectedTenant,
    found: TenantContent | None,
    tolerance: Tolerance,
    into: Comparison,
) -> None:
    where = place_of(collection, expected.tenant)
    if found is None:
        note = into.differ if expected.is_certain else into.warn
        note(where, "is not there")
        return
    into.tenants += bool(expected.tenant)
    if found.activity not in expected.activities:
        into.differ(where, f"is {found.activity}, and was {' or '.join(sorted(expected.activities))}")
    if found.count is None or expected.counts is None:
        into.uncounted += 1
        return
    low, high = expected.counts
    if not expected.is_certain:
        low = 0
    if not low <= found.count <= high:
        into.differ(where, f"has {found.count} objects, not {low if low == high else f'{low} to {high}'}")
    _compare_objects(where, expected, found, tolerance, into)


def _compare_objects(
    where: str, expected: ExpectedTenant, found: TenantContent, tolerance: Tolerance, into: Comparison
) -> None:
    there = {o.object_id: o for o in found.objects}
    into.sampled += len(expected.objects)
    for wanted in expected.objects:
        now = there.get(wanted.object_id)
        if now is None:
            into.differ(where, f"lacks the object {wanted.object_id}")
        elif not wanted.is_same(now, tolerance.vector):
            into.differ(where, f"has the object {wanted.object_id} with other {_what_differs(wanted, now, tolerance)}")


def _what_differs(wanted: SampledObject, now: SampledObject, tolerance: Tolerance) -> str:
    parts = ["properties"] if wanted.properties != now.properties else []
    for name in sorted(wanted.vectors.keys() | now.vectors.keys()):
        one, other = wanted.vectors.get(name), now.vectors.get(name)
        if one is None or other is None or not one.is_near(other, tolerance.vector):
            parts.append(f"vector {name!r}" if name else "vector")
    return " and ".join(parts)


def _compare_recall(
    expected: ExpectedCollection, found: CollectionContent, tolerance: Tolerance, into: Comparison
) -> None:
    counted: dict[str, list[tuple[int, int]]] = {}
    there = {tenant.tenant: {a.key: a for a in tenant.answers} for tenant in found.tenants}
    readable = {tenant.tenant for tenant in found.tenants if tenant.count is not None}
    for tenant in expected.tenants.values():
        for wanted in tenant.answers:
            if tenant.tenant in readable:
                now = there[tenant.tenant].get(wanted.key)
                counted.setdefault(wanted.vector, []).append((hits(wanted, now), len(wanted.found)))
    for vector, pairs in sorted(counted.items()):
        where = f"{expected.name}.{vector}" if vector else expected.name
        got, wanted_hits = sum(hit for hit, _ in pairs), sum(number for _, number in pairs)
        into.searches += len(pairs)
        into.recalls[where] = (got, wanted_hits)
        if wanted_hits and got / wanted_hits < tolerance.recall:
            worse = sum(hit < number for hit, number in pairs)
            into.differ(
                where,
                f"finds {got} of {wanted_hits} nearest objects again (recall {got / wanted_hits:.3f}, below "
                f"{tolerance.recall:g}); {worse} of {len(pairs)} searches find fewer",
            )


def hits(wanted: SearchAnswer, now: SearchAnswer | None) -> int:
    """Return how many of the nearest objects a search finds again; one that is as near as the last one counts."""
    if now is None or not wanted.found:
        return 0
    ids = {object_id for object_id, _ in wanted.found}
    last = max(distance for _, distance in wanted.found)
    limit = last + _TIE * max(1.0, abs(last))
    return min(len(wanted.found), sum(object_id in ids or distance <= limit for object_id, distance in now.found))


def require_something(names: Sequence[str], where: str) -> None:
    """Raise if a record is of no collection: it would prove nothing.

    :raises ContentDiffers: it is.
    """
    if not names:
        raise ContentDiffers(
            f"The record {where} is of no collection at all: there is nothing to compare with.",
            hint="Look whether it was taken of the right cluster.",
        )
