from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from airflow_provider_vectorbackup.exceptions import BrokenDescriptor
from airflow_provider_vectorbackup.weaviate.descriptor_fields import DescriptorFields
from airflow_provider_vectorbackup.weaviate.node_descriptors import StoredCollection
from airflow_provider_vectorbackup.weaviate.stored_schema import (
    ShardingState,
    ShardPlace,
    StoredSchema,
    VectorConfig,
    parse_schema,
    parse_sharding,
)
from tests.trees import NAMES
from tests.trees.reading import tree
from tests.weaviate.mutations import json_values

BRING_YOUR_OWN = VectorConfig("", "none", "flat")


def fields(values: Any) -> DescriptorFields:
    return DescriptorFields("x1/w1/backup.json", "classes[0].schema.", values)


def stored(name: str, collection: str, backup_id: str = "full") -> StoredCollection:
    (found,) = (entry for entry in tree(name).node(backup_id).collections if entry.name == collection)
    return found


def schema(**values: Any) -> StoredSchema:
    found = parse_schema(fields({"class": "Article"} | values))
    assert found is not None
    return found


def test_collection_with_one_unnamed_vector() -> None:
    found = stored("chain-1.39.2", "Article").schema
    assert found == StoredSchema(
        "Article", {"title": ("text",), "year": ("int",)}, (BRING_YOUR_OWN,), frozenset(), 1, is_multi_tenant=False
    )


def test_named_vectors() -> None:
    found = stored("zstd-1.39.2", "Photo").schema
    assert found is not None
    vectors = {vector.name: vector for vector in found.vectors}
    assert vectors == {
        "picture": VectorConfig("picture", "none", "flat"),
        "title": VectorConfig("title", "none", "hnsw"),
    }


def test_tenants() -> None:
    found = stored("pair-1.34.18", "Product")
    assert (found.schema and found.schema.is_multi_tenant) is True
    assert found.sharding is not None
    assert found.sharding.is_multi_tenant
    assert {name: place.activity for name, place in found.sharding.places.items()} == {
        "north": "HOT",
        "south": "HOT",
        "west": "COLD",
    }


def test_copies() -> None:
    found = stored("three-nodes-1.39.2", "Article")
    assert found.sharding is not None
    assert (found.sharding.replication_factor, found.schema and found.schema.replication_factor) == (2, 2)
    ((nodes,),) = ([place.nodes for place in found.sharding.places.values()],)
    assert sorted(nodes) == ["w1", "w2"]


def test_alias() -> None:
    assert stored("chain-1.39.2", "Article").aliases == {"Story": "Article"}
    assert stored("chain-1.39.2", "Author").aliases == {}
    assert stored("old-1.24.26", "Article", "first").aliases == {}  # before there were any


@pytest.mark.parametrize("name", NAMES)
def test_each_shard_of_each_tree_has_its_place(name: str) -> None:
    for backup_id in tree(name).backup_ids:
        for node in tree(name).told(backup_id).nodes if backup_id != "killed" else ():
            for collection in tree(name).node(backup_id, node).collections:
                assert collection.sharding is not None
                assert collection.schema is not None
                assert collection.schema.name == collection.name
                assert set(collection.schema.properties) == {"title", "year"}
                for shard in collection.shards:
                    assert node in collection.sharding.places[shard.name].nodes


def test_servers_below_1_18_knew_one_place() -> None:
    found = parse_sharding(fields({"physical": {"s1": {"belongsToNode": "w1"}, "s2": {}}}))
    assert found == ShardingState(
        {"s1": ShardPlace(("w1",), ""), "s2": ShardPlace((), "")}, is_multi_tenant=False, replication_factor=1
    )


@pytest.mark.parametrize(
    ("values", "vectors"),
    [
        ({}, {"": ("none", "")}),
        ({"vectorizer": "text2vec-openai", "vectorIndexType": "hnsw"}, {"": ("text2vec-openai", "hnsw")}),
        ({"vectorConfig": {"a": {"vectorizer": {"text2vec-cohere": {}}}}}, {"a": ("text2vec-cohere", "")}),
        ({"vectorConfig": {"a": {}, "b": {"vectorizer": {"none": None}}}}, {"a": ("none", ""), "b": ("none", "")}),
        # Named ones may be added to an unnamed one.
        ({"vectorIndexType": "flat", "vectorConfig": {"a": {}}}, {"": ("none", "flat"), "a": ("none", "")}),
    ],
)
def test_vectors(values: dict[str, Any], vectors: dict[str, tuple[str, str]]) -> None:
    assert {vector.name: (vector.vectorizer, vector.index) for vector in schema(**values).vectors} == vectors


def test_modules_of_all_kinds() -> None:
    found = schema(
        vectorizer="text2vec-openai",
        vectorConfig={"a": {"vectorizer": {"multi2vec-clip": {}}}, "b": {"vectorizer": {"none": {}}}},
        moduleConfig={"generative-openai": {}, "reranker-cohere": {}},
    )
    assert found.modules == {"text2vec-openai", "multi2vec-clip", "generative-openai", "reranker-cohere"}


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"properties": [{}]}, "properties[0].name is missing"),
        ({"properties": [{"name": "a", "dataType": "text"}]}, "properties[0].dataType is not a list"),
        ({"replicationConfig": {"factor": "2"}}, "replicationConfig.factor is not a whole number"),
        ({"multiTenancyConfig": {"enabled": "yes"}}, "multiTenancyConfig.enabled is not true or false"),
        ({"vectorConfig": {"a": {"vectorizer": "none"}}}, "vectorConfig.a.vectorizer is not an object"),
        ({"class": ""}, "class is missing"),
    ],
)
def test_place_of_what_is_wrong(values: dict[str, Any], place: str) -> None:
    with pytest.raises(BrokenDescriptor) as caught:
        schema(**values)
    assert str(caught.value).startswith(f"The descriptor x1/w1/backup.json can't be read: classes[0].schema.{place}")


def test_none_at_all() -> None:
    assert (parse_schema(None), parse_sharding(None)) == (None, None)


@given(json_values, json_values)
def test_whatever_stands_in_one_field(one: Any, other: Any) -> None:
    for name in ("vectorConfig", "moduleConfig", "properties", "multiTenancyConfig", "vectorizer"):
        try:
            schema(**{name: one, "replicationConfig": other})
        except BrokenDescriptor as error:
            assert "classes[0].schema." in str(error)  # noqa: PT017 - it need not be raised
