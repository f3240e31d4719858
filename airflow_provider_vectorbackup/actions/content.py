"""Read from a server what it holds: as much as there is room for, and the same again each time that it is asked.

Counts are asked for by the hundred tenants. Objects are taken from all over the ids, so that a sample costs as many
requests whatever the number of objects is; a collection is let go before the next one is read.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from airflow_provider_vectorbackup.actions.memory import Memory, NoMemory
from airflow_provider_vectorbackup.actions.server import Server
from airflow_provider_vectorbackup.actions.tenants import InactiveTenants, activated
from airflow_provider_vectorbackup.backups.content import (
    CollectionContent,
    RecordHead,
    SampledObject,
    SampledVector,
    SampleSize,
    SearchAnswer,
    TenantContent,
    digest_of,
    flat,
    spread,
)
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.exceptions import Forbidden, NotFound, PreflightFailed, Rejected
from airflow_provider_vectorbackup.weaviate import calls, content_calls, features
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.content_answers import FoundObject

log = logging.getLogger(__name__)

T = TypeVar("T")

_TENANTS_AT_ONCE = 100
"""Counted, or activated, by one request: the server changes no more."""

_OBJECTS_A_PLACE = 5
"""Neighbours that are taken together: ids are random, so these are, too."""

_SEARCHES_AT_ONCE = 10

Query = tuple[str, str, SampledVector]
"""The id of the object that is searched near, and the name and values of its vector."""

Queries = Sequence[Query]
Sampled = Sequence[SampledObject]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a server is read.

    :param inactive: about tenants that are not active.
    :param memory: knows which of these were activated, until they are put back.
    """

    client: WeaviateClient
    inactive: InactiveTenants = InactiveTenants.WARN
    memory: Memory = field(default_factory=NoMemory)


class Look(Protocol):
    """What of a collection is looked at closely."""

    @property
    def nearest(self) -> int:
        """How many objects a search is to find."""

    def shares(self, counts: Sequence[tuple[str, int]]) -> Mapping[str, int]:
        """Return which tenants are looked at, and how many objects of each."""

    def at(self, client: WeaviateClient, collection: str, tenant: str, share: int) -> tuple[Sampled, Queries]:
        """Return objects of a tenant, and what is to be searched there."""


class Spread:
    """A new sample of a collection: objects from all over the tenants and all over the ids."""

    def __init__(self, size: SampleSize) -> None:
        self.nearest = size.nearest
        self._size = size
        self._searched: Counter[str] = Counter()

    def shares(self, counts: Sequence[tuple[str, int]]) -> Mapping[str, int]:
        """Return which tenants are looked at, and how many objects of each."""
        return spread(counts, self._size.objects)

    def at(self, client: WeaviateClient, collection: str, tenant: str, share: int) -> tuple[Sampled, Queries]:
        """Return that many objects, or all that there are, and queries near them, until there are enough of these."""
        found: dict[str, FoundObject] = {}

        def take(after: str, most: int) -> None:
            listed = client.send(content_calls.list_objects(collection, tenant, after, most))
            found.update((each.object_id, each) for each in listed)

        for place in _places(share):
            take(place, _OBJECTS_A_PLACE)
        if len(found) < share:
            # There are no more, or their ids are not spread over all that there can be.
            take(content_calls.FIRST_ID, share)
        objects = [_sampled(found[object_id]) for object_id in sorted(found)[:share]]
        return objects, list(self._queries(objects))

    def _queries(self, objects: Sampled) -> Iterator[Query]:
        for sampled in objects:
            for name, vector in sampled.vectors.items():
                # Distances between multi-vectors change when a server loads them anew, so their order is no one's word.
                if not vector.rows and self._searched[name] < self._size.searches:
                    self._searched[name] += 1
                    yield sampled.object_id, name, vector


class LookedAt(Protocol):
    """What a record, or an expectation, has of a tenant."""

    @property
    def tenant(self) -> str:
        """Its name."""

    @property
    def objects(self) -> tuple[SampledObject, ...]:
        """The sample."""

    @property
    def answers(self) -> tuple[SearchAnswer, ...]:
        """What was searched, and found."""


class Again:
    """The sample of an earlier look: the same objects, and the same searches, whatever these find now."""

    def __init__(self, earlier: Iterable[LookedAt], nearest: int) -> None:
        self.nearest = nearest
        self._earlier = {each.tenant: each for each in earlier if each.objects}

    def shares(self, counts: Sequence[tuple[str, int]]) -> Mapping[str, int]:
        """Return which tenants are looked at, and how many objects of each."""
        there = {name for name, _ in counts}
        return {name: len(each.objects) for name, each in self._earlier.items() if name in there}

    def at(self, client: WeaviateClient, collection: str, tenant: str, share: int) -> tuple[Sampled, Queries]:
        """Return those of the objects that are there still, and the queries near the vectors as they were then."""
        earlier, found = self._earlier[tenant], []
        for wanted in earlier.objects[:share]:
            with suppress(NotFound):
                found.append(_sampled(client.send(content_calls.read_object(collection, tenant, wanted.object_id))))
        then = {each.object_id: each.vectors for each in earlier.objects}
        asked = [(each, then.get(each.object_id, {}).get(each.vector)) for each in earlier.answers]
        return found, [(each.object_id, each.vector, vector) for each, vector in asked if vector is not None]


def head_of(client: WeaviateClient, server: Server, collections: Iterable[str], sample: SampleSize) -> RecordHead:
    """Return what a record of these collections, taken now, says of itself."""
    chosen = tuple(sorted(collections))
    aliases = client.send(content_calls.read_alias_targets()) if features.ALIASES.is_in(server.version) else {}
    own = {alias: name for alias, name in sorted(aliases.items()) if name in chosen}
    return RecordHead(datetime.now(UTC).isoformat(), str(server.version), chosen, own, sample)


def read_collection(reading: Reading, name: str, look: Look) -> CollectionContent:
    """Return what a collection holds.

    :raises NotFound: there is no such collection.
    :raises PreflightFailed: tenants are not active, and the policy is to fail; or one did not become active.
    """
    config = reading.client.send(content_calls.read_class(name))
    settings = flat({key: value for key, value in config.items() if key != "class"})
    tenants = _tenants(reading, name) if settings.get("multiTenancyConfig.enabled") else {"": ""}
    counts = _counted(reading, name, tenants)
    shares = look.shares([(tenant, count) for tenant, count in counts.items() if count is not None])
    closely = _looked_at(reading, name, {tenant: tenants[tenant] for tenant in shares}, shares, look)
    contents = (
        TenantContent(tenant, activity, counts[tenant], *closely.get(tenant, ((), ())))
        for tenant, activity in tenants.items()
    )
    return CollectionContent(name, settings, tuple(contents))


def _tenants(reading: Reading, name: str) -> dict[str, str]:
    """Return the tenants of a collection with their activities, by name."""
    found = {tenant.name: tenant.activity for tenant in reading.client.send(calls.read_tenants(name))}
    inactive = [tenant for tenant, activity in found.items() if activity != "HOT"]
    if inactive and reading.inactive is InactiveTenants.FAIL:
        raise PreflightFailed(
            f"Tenants of {name} are not active, so their content can't be read: {names_shown(inactive)}.",
            hint="Activate them, or set inactive_tenants to 'activate' (and put back afterwards) or 'warn'.",
        )
    if inactive and reading.inactive is InactiveTenants.WARN:
        log.warning("Not active, so their content is not read: %s of %s.", names_shown(inactive), name)
    return dict(sorted(found.items()))


def _counted(reading: Reading, name: str, tenants: Mapping[str, str]) -> dict[str, int | None]:
    counts: dict[str, int | None] = dict.fromkeys(tenants)
    for batch in _batches(list(tenants.items()), _TENANTS_AT_ONCE):
        with _active(reading, name, dict(batch)) as active:
            counts |= _count(reading.client, name, active)
    return counts


def _count(client: WeaviateClient, name: str, tenants: list[str]) -> dict[str, int | None]:
    """Count the objects of tenants; None for one that was deleted, or is not active any more."""
    if not tenants:
        return {}
    try:
        return dict(zip(tenants, client.send(content_calls.count_objects(name, tenants)), strict=True))
    except Forbidden:
        raise
    except Rejected:
        # One that is gone makes the server refuse them all.
        if tenants == [""]:
            raise
        if len(tenants) == 1:
            return {tenants[0]: None}
    half = len(tenants) // 2
    return _count(client, name, tenants[:half]) | _count(client, name, tenants[half:])


def _looked_at(
    reading: Reading, name: str, tenants: Mapping[str, str], shares: Mapping[str, int], look: Look
) -> dict[str, tuple[tuple[SampledObject, ...], tuple[SearchAnswer, ...]]]:
    found = {}
    for batch in _batches(sorted(tenants.items()), _TENANTS_AT_ONCE):
        with _active(reading, name, dict(batch)) as active:
            for tenant in active:
                try:
                    objects, queries = look.at(reading.client, name, tenant, shares[tenant])
                except Forbidden:
                    raise
                except Rejected as error:
                    if not tenant:
                        raise
                    log.warning("Tenant %s of %s can't be read any more: %s", tenant, name, error.message)
                    continue
                answers = _searched(reading.client, name, tenant, queries, look.nearest)
                found[tenant] = (tuple(objects), tuple(answers))
    return found


def _searched(
    client: WeaviateClient, collection: str, tenant: str, queries: Queries, nearest: int
) -> Iterator[SearchAnswer]:
    for batch in _batches(queries, _SEARCHES_AT_ONCE):
        asked = [(name, vector.wire) for _, name, vector in batch]
        try:
            found = client.send(content_calls.find_nearest(collection, tenant, asked, nearest))
        except Forbidden:
            raise
        except Rejected as error:
            # Such as a collection that is not to be searched at all.
            log.warning("Searches in %s %s are refused, and not recorded: %s", collection, tenant, error.message)
            continue
        for (object_id, name, _), near in zip(batch, found, strict=True):
            yield SearchAnswer(object_id, name, tuple((each.object_id, each.distance) for each in near))


@contextmanager
def _active(reading: Reading, collection: str, tenants: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield those of the tenants that can be read, all of them where the policy is to activate.

    One whose data lies elsewhere (FROZEN) is left alone: no backup has it.
    """
    ready = [tenant for tenant, activity in tenants.items() if activity in ("", "HOT")]
    asleep = {tenant: activity for tenant, activity in tenants.items() if activity == "COLD"}
    if not asleep or reading.inactive is not InactiveTenants.ACTIVATE:
        yield ready
        return
    with activated(reading.client, {collection: asleep}, reading.memory):
        yield sorted([*ready, *asleep])


def _sampled(found: FoundObject) -> SampledObject:
    vectors = {name: SampledVector.of(vector) for name, vector in sorted(found.vectors.items())}
    return SampledObject(found.object_id, digest_of(dict(found.properties)), vectors)


def _places(objects: int) -> Iterator[str]:
    """Yield ids, evenly spread over all, after which objects are taken."""
    count = -(-objects // _OBJECTS_A_PLACE)
    if count > 1:
        for place in range(count):
            yield str(uuid.UUID(int=(2 * place + 1) * 2**127 // count))


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
