"""Record what a server holds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_vectorbackup.actions.content import Again, Look, Reading, Spread, head_of, read_collection
from airflow_provider_vectorbackup.actions.content_records import RecordPlace, opened_at, write_record
from airflow_provider_vectorbackup.actions.evidence import OpenStore
from airflow_provider_vectorbackup.actions.memory import Memory
from airflow_provider_vectorbackup.actions.server import Server
from airflow_provider_vectorbackup.actions.tenants import InactiveTenants, put_back_left
from airflow_provider_vectorbackup.backups.content import CollectionContent, RecordHead, SampleSize
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.exceptions import NotFound, Rejected
from airflow_provider_vectorbackup.weaviate import content_calls
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecordOrder:
    """A record as a user asks for it.

    :param collections: empty for those of the earlier record that are there still.
    :param place: where it is to lie.
    :param earlier: the record whose sample is looked at again; None for a new sample.
    """

    collections: tuple[str, ...]
    place: RecordPlace
    earlier: RecordPlace | None = None
    sample: SampleSize = field(default_factory=SampleSize)
    inactive: InactiveTenants = InactiveTenants.WARN


@dataclass(slots=True)
class RecordResult:
    """What a record is of.

    :ivar objects: that could be counted.
    :ivar sampled: that were looked at closely.
    :ivar uncounted: tenants that are not active.
    :ivar digests: collection -> digest of its configuration.
    """

    uri: str
    taken_at: str
    collections: int = 0
    tenants: int = 0
    objects: int = 0
    sampled: int = 0
    searches: int = 0
    uncounted: int = 0
    digests: dict[str, str] = field(default_factory=dict)

    def add(self, content: CollectionContent) -> None:
        """Count a collection."""
        self.collections += 1
        self.tenants += sum(bool(tenant.tenant) for tenant in content.tenants)
        self.objects += content.count
        self.sampled += sum(len(tenant.objects) for tenant in content.tenants)
        self.searches += sum(len(tenant.answers) for tenant in content.tenants)
        self.uncounted += content.uncounted
        self.digests[content.name] = content.schema_digest

    def summary(self) -> dict[str, Any]:
        """Return the task's result.

        Keys: ``uri taken_at collections tenants objects sampled searches uncounted schema_digests``.
        """
        return {
            "uri": self.uri,
            "taken_at": self.taken_at,
            "collections": self.collections,
            "tenants": self.tenants,
            "objects": self.objects,
            "sampled": self.sampled,
            "searches": self.searches,
            "uncounted": self.uncounted,
            "schema_digests": self.digests,
        }


def record_content(
    client: WeaviateClient, server: Server, order: RecordOrder, memory: Memory, open_store: OpenStore
) -> RecordResult:
    """Record what a server holds of some collections, beside a backup.

    :raises ObjectNotFound: there is no such earlier record.
    :raises PreflightFailed: tenants are not active, and the policy is to fail.
    """
    put_back_left(client, memory)
    reading = Reading(client, order.inactive, memory)
    with ExitStack() as stack:
        store = stack.enter_context(closing(open_store(order.place.location)))
        earlier = stack.enter_context(opened_at(order.earlier, open_store)) if order.earlier else None
        sample = earlier.head.sample if earlier else order.sample
        then = [name for name in earlier.head.collections if name in server.collection_names] if earlier else []
        head = head_of(client, server, order.collections or then, sample)
        looks = Looks(sample, earlier.collections if earlier else None)
        result = RecordResult(order.place.uri, head.taken_at)
        write_record(store, order.place.key, head, _contents(reading, head, looks, result))
    log.info(
        "Recorded %d objects in %d collections (%s): %s",
        result.objects,
        result.collections,
        names_shown(head.collections),
        result.uri,
    )
    return result


def read_result(place: RecordPlace, open_store: OpenStore) -> RecordResult:
    """Return what a record that is there is of.

    :raises ObjectNotFound: there is none.
    """
    with opened_at(place, open_store) as record:
        result = RecordResult(place.uri, record.head.taken_at)
        for content in record.collections:
            result.add(content)
    return result


class Looks:
    """How each collection is looked at, asked for in the order of their names.

    :param earlier: the collections of an earlier record, in the same order.
    """

    def __init__(self, sample: SampleSize, earlier: Iterator[CollectionContent] | None) -> None:
        self._sample = sample
        self._earlier = earlier
        self._next = next(earlier, None) if earlier else None

    def at(self, name: str) -> Look:
        """Return how a collection is looked at: as it was then, or anew if it was not there."""
        while self._earlier and self._next and self._next.name < name:
            self._next = next(self._earlier, None)
        if self._next and self._next.name == name:
            return Again(self._next.tenants, self._sample.nearest)
        return Spread(self._sample)


def _is_there(client: WeaviateClient, name: str) -> bool:
    try:
        client.send(content_calls.read_class(name))
    except NotFound:
        return False
    return True


def _contents(reading: Reading, head: RecordHead, looks: Looks, result: RecordResult) -> Iterator[CollectionContent]:
    for name in head.collections:
        try:
            content = read_collection(reading, name, looks.at(name))
        except Rejected as error:
            if not isinstance(error, NotFound) and _is_there(reading.client, name):
                raise
            log.warning("Collection %s was deleted meanwhile.", name)
            continue
        result.add(content)
        yield content
