"""What descriptors keep of the schema: a collection's properties and vectors, its shards and tenants, its aliases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_vectorbackup.weaviate.descriptor_fields import DescriptorFields

_WITHOUT_MODULE = ("", "none")


@dataclass(frozen=True, slots=True)
class VectorConfig:
    """How a collection's vectors of one name are made and indexed; the name is empty for the only, unnamed one.

    :param vectorizer: the module that makes them, ``none`` where clients bring them.
    :param index: hnsw, flat, dynamic, …
    """

    name: str
    vectorizer: str
    index: str


@dataclass(frozen=True, slots=True)
class StoredSchema:
    """A collection's schema, as far as it tells what a restore will bring.

    :param properties: name -> data types.
    :param modules: those that its configuration names: vectorizers, generative ones, rerankers, reference vectorizers.
    """

    name: str
    properties: Mapping[str, tuple[str, ...]]
    vectors: tuple[VectorConfig, ...]
    modules: frozenset[str]
    replication_factor: int
    is_multi_tenant: bool


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """A shard's or tenant's entry in the sharding state.

    :param activity: of a tenant: HOT, COLD, FROZEN; empty for a shard of a collection without tenants.
    """

    nodes: tuple[str, ...]
    activity: str


@dataclass(frozen=True, slots=True)
class ShardingState:
    """Where the shards of a collection lie, and the state of its tenants."""

    places: Mapping[str, ShardPlace]
    is_multi_tenant: bool
    replication_factor: int


def parse_schema(fields: DescriptorFields | None) -> StoredSchema | None:
    """Read a collection's schema."""
    if fields is None:
        return None
    named = [_vector(name, config) for name, config in fields.named_objects("vectorConfig")]
    unnamed = VectorConfig("", fields.text("vectorizer") or "none", fields.text("vectorIndexType"))
    is_unnamed = not named or fields.text("vectorizer") or fields.text("vectorIndexType")
    vectors = (*([unnamed] if is_unnamed else []), *named)
    modules = {vector.vectorizer for vector in vectors} | set(fields.inner("moduleConfig").values)
    return StoredSchema(
        fields.name("class"),
        {entry.name("name"): entry.texts("dataType") for entry in fields.objects("properties")},
        vectors,
        frozenset(modules.difference(_WITHOUT_MODULE)),
        _factor(fields.inner("replicationConfig").number("factor")),
        fields.inner("multiTenancyConfig").flag("enabled"),
    )


def parse_sharding(fields: DescriptorFields | None) -> ShardingState | None:
    """Read a collection's sharding state."""
    if fields is None:
        return None
    places = {name: ShardPlace(_nodes(entry), entry.text("status")) for name, entry in fields.named_objects("physical")}
    return ShardingState(places, fields.flag("partitioningEnabled"), _factor(fields.number("replicationFactor")))


def parse_aliases(fields: DescriptorFields) -> dict[str, str]:
    """Read a collection's aliases: alias -> collection."""
    entries = fields.encoded("aliases") or []
    listed = DescriptorFields(fields.key, f"{fields.path}aliases.", {"list": entries})
    return {entry.name("alias"): entry.text("class") for entry in listed.objects("list")}


def _nodes(fields: DescriptorFields) -> tuple[str, ...]:
    """Return the nodes of a shard; servers below 1.18 knew only one."""
    one = fields.text("belongsToNode")
    return fields.texts("belongsToNodes") or ((one,) if one else ())


def _vector(name: str, fields: DescriptorFields) -> VectorConfig:
    # {"text2vec-openai": {…}}: the only key is the module; {"none": {}} for vectors that clients bring.
    modules = tuple(fields.inner("vectorizer").values)
    return VectorConfig(name, modules[0] if modules else "none", fields.text("vectorIndexType"))


def _factor(number: int | None) -> int:
    """Return a replication factor; none is written where there was no choice."""
    return number or 1
