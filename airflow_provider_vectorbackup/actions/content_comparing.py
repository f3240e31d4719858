"""Compare what a server holds with records that were taken before and after a backup."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from airflow_provider_vectorbackup.actions.content import Again, Reading, read_collection
from airflow_provider_vectorbackup.actions.content_records import Record, RecordPlace, opened_at
from airflow_provider_vectorbackup.actions.evidence import OpenStore
from airflow_provider_vectorbackup.actions.memory import Memory
from airflow_provider_vectorbackup.actions.server import Server
from airflow_provider_vectorbackup.actions.tenants import InactiveTenants, put_back_left
from airflow_provider_vectorbackup.backups.content import CollectionContent, SampledVector
from airflow_provider_vectorbackup.backups.content_comparison import (
    Comparison,
    Tolerance,
    compare_aliases,
    compare_collection,
    require_something,
)
from airflow_provider_vectorbackup.backups.content_expected import ExpectedCollection, expect, in_step
from airflow_provider_vectorbackup.backups.selection import names_shown, select_collections
from airflow_provider_vectorbackup.exceptions import Forbidden, NotFound, Rejected, Unauthenticated
from airflow_provider_vectorbackup.weaviate import content_calls, features
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

log = logging.getLogger(__name__)

_PROBE = uuid.UUID("5d0cf2f5-0a3b-5d8e-8a55-7b8f2f6f4d0e")
"""What the ids of probe objects are made of."""


@dataclass(frozen=True, slots=True)
class CompareOrder:
    """A comparison as a user asks for it.

    :param expected: a record, or those from before and after a backup.
    :param include: the collections to compare; all of the records if empty. Wildcards are allowed, as in ``exclude``.
    :param probes_writes: whether an object is written to each collection, and deleted.
    """

    expected: tuple[RecordPlace, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    tolerance: Tolerance = field(default_factory=Tolerance)
    inactive: InactiveTenants = InactiveTenants.WARN
    probes_writes: bool = True


def compare_content(
    client: WeaviateClient, server: Server, order: CompareOrder, memory: Memory, open_store: OpenStore
) -> Comparison:
    """Compare what a server holds with what was recorded; nothing is changed but for the probe objects.

    :raises InvalidRequest: there is no such collection in the records.
    :raises ContentDiffers: the records are of no collection.
    :raises ObjectNotFound: there is no such record.
    """
    began = time.monotonic()
    put_back_left(client, memory)
    reading = Reading(client, order.inactive, memory)
    with ExitStack() as stack:
        records = [stack.enter_context(opened_at(place, open_store)) for place in order.expected]
        before, after = records[0], records[-1]
        names = sorted({name for record in records for name in record.head.collections})
        require_something(names, order.expected[0].uri)
        chosen = select_collections(names, include=order.include, exclude=order.exclude, where="the record")
        into = Comparison()
        is_same_version = all(record.head.server_version == str(server.version) for record in records)
        for expected in _expectations(before, after):
            if expected.name not in chosen:
                continue
            found = _found(reading, expected, before.head.sample.nearest)
            compare_collection(expected, found, order.tolerance, into, is_same_version=is_same_version)
            if found and order.probes_writes:
                probe_writes(client, found, into)
        if features.ALIASES.is_in(server.version):
            then, later = ({a: c for a, c in each.head.aliases.items() if c in chosen} for each in (before, after))
            compare_aliases(then, later, client.send(content_calls.read_alias_targets()), into)
        for name in sorted(set(server.collection_names).difference(names)):
            note = into.differ if order.tolerance.is_strict else into.warn
            note(name, "is there, and was not recorded")
    into.seconds = round(time.monotonic() - began, 3)
    return into


def _expectations(before: Record, after: Record) -> Iterator[ExpectedCollection]:
    if after is before:
        for content in before.collections:
            yield expect(content, content)
    else:
        for one, other in in_step(before.collections, after.collections):
            yield expect(one, other)


def _found(reading: Reading, expected: ExpectedCollection, nearest: int) -> CollectionContent | None:
    look = Again(expected.tenants.values(), nearest)
    try:
        return read_collection(reading, expected.name, look)
    except NotFound:
        return None


def probe_writes(client: WeaviateClient, found: CollectionContent, into: Comparison) -> None:
    """Write an object to a collection, read it, and delete it; note where that fails.

    Of a collection with tenants, to the first one that is active.
    """
    tenants = [tenant for tenant in found.tenants if tenant.activity in ("", "HOT")]
    if not tenants:
        into.warn(found.name, "has no active tenant, so whether it takes writes is not known")
        return
    tenant, vectors = tenants[0].tenant, _vectors_like(found)
    if not vectors and _may_ask_vectorizer(found):
        into.warn(found.name, "makes vectors by a module, which is not asked, so whether it takes writes is not known")
        return
    object_id = str(uuid.uuid5(_PROBE, f"{found.name}/{tenant}"))
    delete = content_calls.delete_object(found.name, tenant, object_id)
    try:
        # A task that was killed may have left it.
        client.send(delete)
        try:
            client.send(content_calls.write_object(found.name, tenant, object_id, vectors))
            client.send(content_calls.read_object(found.name, tenant, object_id))
        finally:
            client.send(delete)
        if _is_there(client, found.name, tenant, object_id):
            into.differ(found.name, f"keeps the object {object_id}, although it was deleted")
    except (Unauthenticated, Forbidden):
        raise
    except Rejected as error:
        into.differ(found.name, f"does not take writes: {error.message}")
    else:
        into.written += 1


def _is_there(client: WeaviateClient, collection: str, tenant: str, object_id: str) -> bool:
    try:
        client.send(content_calls.read_object(collection, tenant, object_id))
    except NotFound:
        return False
    return True


def _vectors_like(found: CollectionContent) -> dict[str, list[float] | list[list[float]]]:
    """Return vectors that the collection takes: those of an object of it, or none."""
    for tenant in found.tenants:
        if tenant.objects:
            vectors: dict[str, SampledVector] = dict(tenant.objects[0].vectors)
            return {name: vector.wire for name, vector in vectors.items()}
    return {}


def _may_ask_vectorizer(found: CollectionContent) -> bool:
    """Whether a module would make the vectors of an object that has none, at a cost perhaps."""
    named = {
        path.partition(".vectorizer.")[2].partition(".")[0]
        for path in found.config
        if path.startswith("vectorConfig.") and ".vectorizer." in path
    }
    return bool({*named, str(found.config.get("vectorizer", "none"))}.difference({"none", ""}))


def log_comparison(comparison: Comparison) -> None:
    """Tell in the log what a comparison has found."""
    for warning in comparison.warnings:
        log.warning("%s", warning)
    for difference in comparison.differences:
        log.error("%s", difference)
    log.info("%s", comparison.in_words())
    if comparison.recalls:
        log.info(
            "Recall: %s",
            names_shown(f"{where} {got / of:.3f}" for where, (got, of) in comparison.recalls.items() if of),
        )
