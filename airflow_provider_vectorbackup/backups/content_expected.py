"""What a backup holds that was made between two records of a cluster.

Only what is the same in both can be expected: in between, the cluster was written to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_vectorbackup.backups.content import CollectionContent, SampledObject, SearchAnswer, TenantContent


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as it was recorded.

    :param where: a collection, or a tenant of one, like ``Car/Europe``; an alias.
    :param what: in words, to be read after that.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where} {self.what}"


@dataclass(frozen=True, slots=True)
class ExpectedTenant:
    """What a tenant is to hold.

    :param activities: those that it may have.
    :param counts: least and most objects; None where they were not counted.
    :param objects: that were the same in both records.
    :param answers: that were the same in both.
    :param is_certain: whether it was there in both.
    """

    tenant: str
    activities: frozenset[str]
    counts: tuple[int, int] | None
    objects: tuple[SampledObject, ...] = ()
    answers: tuple[SearchAnswer, ...] = ()
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class ExpectedCollection:
    """What a collection is to hold.

    :param configs: its configuration in each of the records.
    :param changes: what was written between the two, in words.
    """

    name: str
    configs: tuple[Mapping[str, Any], ...]
    tenants: Mapping[str, ExpectedTenant]
    is_certain: bool = True
    changes: tuple[Difference, ...] = ()


def expect(before: CollectionContent | None, after: CollectionContent | None) -> ExpectedCollection:
    """Return what a backup that was made between two records holds of a collection.

    :param before: None where it was not there yet.
    :param after: None where it was not there any more.
    """
    known = [record for record in (before, after) if record]
    if not known:
        raise AssertionError("a collection is in one of the records")
    then = {tenant.tenant: tenant for tenant in before.tenants} if before else {}
    later = {tenant.tenant: tenant for tenant in after.tenants} if after else {}
    names = sorted(then.keys() | later.keys())
    changes = [change for name in names for change in _changes(known[0].name, then.get(name), later.get(name))]
    if before and after and before.schema_digest != after.schema_digest:
        changes.append(Difference(before.name, "was configured anew between the two records"))
    return ExpectedCollection(
        known[0].name,
        tuple(record.config for record in known),
        {name: _expected_tenant(then.get(name), later.get(name)) for name in names},
        is_certain=before is not None and after is not None,
        changes=tuple(changes),
    )


def in_step(
    before: Iterable[CollectionContent], after: Iterable[CollectionContent]
) -> Iterator[tuple[CollectionContent | None, CollectionContent | None]]:
    """Yield the collections of two records side by side; both are in the order of their names."""
    ones, others = iter(before), iter(after)
    one, other = next(ones, None), next(others, None)
    while one or other:
        if one and other and one.name == other.name:
            yield one, other
            one, other = next(ones, None), next(others, None)
        elif other is None or (one and one.name < other.name):
            yield one, None
            one = next(ones, None)
        else:
            yield None, other
            other = next(others, None)


def place_of(collection: str, tenant: str) -> str:
    """Return what a tenant, or a collection without tenants, is called in a report."""
    return f"{collection}/{tenant}" if tenant else collection


def _expected_tenant(before: TenantContent | None, after: TenantContent | None) -> ExpectedTenant:
    known = [tenant for tenant in (before, after) if tenant]
    counts = [tenant.count for tenant in known if tenant.count is not None]
    activities = frozenset(tenant.activity for tenant in known)
    span = (min(counts), max(counts)) if len(counts) == len(known) else None
    if not (before and after):
        return ExpectedTenant(known[0].tenant, activities, span, is_certain=False)
    later, answered = {o.object_id: o for o in after.objects}, {a.key: a for a in after.answers}
    objects = tuple(o for o in before.objects if o.object_id in later and o.is_same(later[o.object_id]))
    ids = {o.object_id for o in objects}
    answers = tuple(a for a in before.answers if a.object_id in ids and _is_same_answer(a, answered.get(a.key)))
    return ExpectedTenant(before.tenant, activities, span, objects, answers)


def _is_same_answer(one: SearchAnswer, other: SearchAnswer | None) -> bool:
    return other is not None and dict(one.found).keys() == dict(other.found).keys()


def _changes(collection: str, before: TenantContent | None, after: TenantContent | None) -> Iterator[Difference]:
    if not (before and after):
        tenant = before or after
        where = place_of(collection, tenant.tenant if tenant else "")
        yield Difference(where, f"was {'deleted' if before else 'made'} between the two records")
        return
    where, later = place_of(collection, before.tenant), {o.object_id: o for o in after.objects}
    if before.count != after.count:
        yield Difference(where, f"had {before.count} objects before, and {after.count} after")
    if any(not (o.object_id in later and o.is_same(later[o.object_id])) for o in before.objects):
        yield Difference(where, "has objects that were changed between the two records")
