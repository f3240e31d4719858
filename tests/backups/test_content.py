from __future__ import annotations

import copy
import json
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.content import (
    CollectionContent,
    RecordHead,
    SampledObject,
    SampledVector,
    SearchAnswer,
    TenantContent,
    digest_of,
    flat,
    spread,
)
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor
from tests.backups.contents import (
    an_object,
    collection_of,
    collections,
    heads,
    json_values,
    multi_vectors,
    plain_vectors,
    tenant_of,
    vectors,
)

TOLERANCE = 1e-3


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


class TestVector:
    @given(plain_vectors)
    def test_plain_one_is_sent_as_it_came(self, wire: list[float]) -> None:
        vector = SampledVector.of(wire)
        assert (vector.wire, vector.rows) == (wire, 0)

    @given(multi_vectors)
    def test_multi_vector_is_sent_as_it_came(self, wire: list[list[float]]) -> None:
        vector = SampledVector.of(wire)
        assert (vector.wire, vector.rows) == (wire, len(wire))

    @given(vectors)
    def test_is_stored_to_the_bit(self, vector: SampledVector) -> None:
        read = SampledVector.from_json(through_json(vector.to_json()))
        assert (read, read.wire) == (vector, vector.wire)

    def test_takes_four_bytes_a_value(self) -> None:
        text = json.dumps(SampledVector.of([0.1] * 1536).to_json())
        assert len(text) < 1536 * 4 * 4 / 3 + 20

    @given(vectors, st.data())
    def test_tolerance_is_relative_to_the_largest_value(self, vector: SampledVector, data: st.DataObject) -> None:
        largest = max(map(abs, vector.values)) or 1.0
        place = data.draw(st.integers(0, len(vector.values) - 1))
        sign = data.draw(st.sampled_from([-1, 1]))

        def moved(by: float) -> SampledVector:
            changed = array("f", vector.values)
            changed[place] += sign * by * largest
            return SampledVector(vector.rows, changed)

        assert vector.is_near(vector, 0.0)
        assert vector.is_near(moved(0.9 * TOLERANCE), TOLERANCE)
        assert not vector.is_near(moved(1.1 * TOLERANCE), TOLERANCE)

    @pytest.mark.parametrize(
        "other",
        [[1.0], [1.0, 2.0, 0.0], [[1.0, 2.0]], [[1.0], [2.0]], []],
        ids=["fewer", "more", "row", "rows", "none"],
    )
    def test_other_shapes_are_never_near(self, other: list[float]) -> None:
        one, another = SampledVector.of([1.0, 2.0]), SampledVector.of(other)
        assert not one.is_near(another, 1e9)
        assert not another.is_near(one, 1e9)

    def test_what_is_no_number_is_near_to_nothing(self) -> None:
        vector = SampledVector.of([float("nan"), 1.0])
        assert not vector.is_near(SampledVector.of([0.0, 1.0]), 1.0)
        assert not SampledVector.of([0.0, 1.0]).is_near(vector, 1.0)


class TestObject:
    @pytest.mark.parametrize(
        "other",
        [
            an_object("b"),
            an_object("a", "other"),
            an_object("a", title=[1.0, 2.0]),
            SampledObject("a", "as it was"),
            SampledObject("a", "as it was", {"": SampledVector.of([1.0, 2.5])}),
        ],
        ids=["id", "properties", "name of the vector", "no vector", "vector"],
    )
    def test_any_difference_makes_it_another(self, other: SampledObject) -> None:
        assert an_object("a").is_same(an_object("a"))
        assert not an_object("a").is_same(other)
        assert not other.is_same(an_object("a"))


class TestStored:
    @given(collections)
    def test_collection_is_read_as_it_was_written(self, content: CollectionContent) -> None:
        read = CollectionContent.from_json(through_json(content.to_json()))
        assert read == content
        assert read.schema_digest == content.to_json()["schema_digest"]

    @given(heads)
    def test_head_is_read_as_it_was_written(self, head: RecordHead) -> None:
        assert RecordHead.from_json(through_json(head.to_json())) == head

    def test_tenant_that_is_not_sampled_takes_three_values(self) -> None:
        assert tenant_of("Europe", 5).to_json() == ["Europe", "HOT", 5]

    def test_sums(self) -> None:
        content = collection_of(tenant_of("a", 3), tenant_of("b", None, activity="COLD"), tenant_of("c", 4))
        assert (content.count, content.uncounted) == (7, 1)

    @pytest.mark.parametrize("version", [0, 2, None, "1"])
    def test_record_of_another_version_says_so(self, version: Any) -> None:
        data = RecordHead("2026-11-22T03:00:00Z", "1.39.2", ("Car",)).to_json()
        with pytest.raises(BrokenDescriptor, match=r"is of version .*, not 1"):
            RecordHead.from_json(data | {"version": version})

    @given(heads, st.data())
    def test_head_without_one_of_its_fields_is_broken(self, head: RecordHead, data: st.DataObject) -> None:
        stored = head.to_json()
        del stored[data.draw(st.sampled_from(sorted(stored)))]
        with pytest.raises(BrokenDescriptor, match="can't be read"):
            RecordHead.from_json(stored)

    @pytest.mark.parametrize(
        "fields",
        [
            {"collections": None},
            {"collections": 7},
            {"aliases": []},
            {"aliases": None},
            {"sample": None},
            {"sample": [50]},
            {"sample": {"objects": 1, "more": 2}},
        ],
    )
    def test_head_of_another_shape_is_broken(self, fields: dict[str, Any]) -> None:
        data = RecordHead("2026-11-22T03:00:00Z", "1.39.2", ("Car",)).to_json()
        with pytest.raises(BrokenDescriptor, match="can't be read"):
            RecordHead.from_json(data | fields)


def _replaced(*path: Any, by: Any) -> Callable[[Any], None]:
    def damage(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = by

    return damage


def _removed(*path: Any) -> Callable[[Any], None]:
    def damage(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        del data[path[-1]]

    return damage


OBJECTS, ANSWERS = 3, 4
DAMAGE = {
    "no name": _removed("collection"),
    "no configuration": _removed("config"),
    "no tenants": _removed("tenants"),
    "configuration is a number": _replaced("config", by=7),
    "configuration is a list": _replaced("config", by=[1, 2]),
    "tenants are a number": _replaced("tenants", by=7),
    "tenants are none": _replaced("tenants", by=None),
    "tenant is none": _replaced("tenants", 0, by=None),
    "tenant is a number": _replaced("tenants", 0, by=7),
    "tenant is short": _replaced("tenants", 0, by=["Europe", "HOT"]),
    "tenant is long": _replaced("tenants", 0, by=["Europe", "HOT", 3, [], [], []]),
    "tenant without answers": _removed("tenants", 0, ANSWERS),
    "count is a text": _replaced("tenants", 0, 2, by="many"),
    "count is a list": _replaced("tenants", 0, 2, by=[3]),
    "objects are a number": _replaced("tenants", 0, OBJECTS, by=7),
    "object is a number": _replaced("tenants", 0, OBJECTS, 0, by=7),
    "object without vectors": _removed("tenants", 0, OBJECTS, 0, 2),
    "vectors are a list": _replaced("tenants", 0, OBJECTS, 0, 2, by=[]),
    "vector is none": _replaced("tenants", 0, OBJECTS, 0, 2, "", by=None),
    "vector is a number": _replaced("tenants", 0, OBJECTS, 0, 2, "", by=1.5),
    "vector has rows of no number": _replaced("tenants", 0, OBJECTS, 0, 2, "", 0, by="two"),
    "values are not in base64": _replaced("tenants", 0, OBJECTS, 0, 2, "", 1, by="*" * 8),
    "values are cut off": _replaced("tenants", 0, OBJECTS, 0, 2, "", 1, by="AACAPwA="),
    "values are numbers": _replaced("tenants", 0, OBJECTS, 0, 2, "", 1, by=[1.0, 2.0]),
    "answers are a number": _replaced("tenants", 0, ANSWERS, by=7),
    "answer is short": _removed("tenants", 0, ANSWERS, 0, 2),
    "found is a number": _replaced("tenants", 0, ANSWERS, 0, 2, by=7),
    "found without a distance": _removed("tenants", 0, ANSWERS, 0, 2, 0, 1),
    "distance is a text": _replaced("tenants", 0, ANSWERS, 0, 2, 0, 1, by="near"),
    "distance is none": _replaced("tenants", 0, ANSWERS, 0, 2, 0, 1, by=None),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_collection_of_another_shape_is_broken(damage: Callable[[Any], None]) -> None:
    tenant = TenantContent("Europe", "HOT", 3, (an_object("a"),), (SearchAnswer("a", "", (("b", 0.5),)),))
    data = through_json(collection_of(tenant).to_json())
    CollectionContent.from_json(copy.deepcopy(data))
    damage(data)
    with pytest.raises(BrokenDescriptor, match="can't be read"):
        CollectionContent.from_json(data)


@pytest.mark.parametrize("data", [None, 7, "Car", [], ["collection", "config", "tenants"], {}])
def test_what_is_no_collection_at_all_is_broken(data: Any) -> None:
    with pytest.raises(BrokenDescriptor, match="can't be read"):
        CollectionContent.from_json(data)


CLASS = {
    "description": "",
    "moduleConfig": {},
    "multiTenancyConfig": {"enabled": True, "autoTenantCreation": False},
    "vectorConfig": {"title": {"vectorIndexConfig": {"distance": "cosine"}, "vectorizer": {"none": {}}}},
    "properties": [
        {"name": "title", "dataType": ["text"], "tokenization": "word"},
        {"name": "tags", "dataType": ["text[]"], "nestedProperties": [{"name": "inner", "dataType": ["int"]}]},
    ],
    "stopwords": ["a", "the"],
    "references": [],
}


class TestFlat:
    def test_a_path_names_each_setting(self) -> None:
        assert flat(CLASS) == {
            "description": "",
            "moduleConfig": {},
            "multiTenancyConfig.enabled": True,
            "multiTenancyConfig.autoTenantCreation": False,
            "vectorConfig.title.vectorIndexConfig.distance": "cosine",
            "vectorConfig.title.vectorizer.none": {},
            "properties.title.dataType": ["text"],
            "properties.title.tokenization": "word",
            "properties.tags.dataType": ["text[]"],
            "properties.tags.nestedProperties.inner.dataType": ["int"],
            "stopwords": ["a", "the"],
            "references": [],
        }

    def test_order_of_properties_makes_no_difference_that_of_other_lists_does(self) -> None:
        properties: Any = CLASS["properties"]
        assert flat(CLASS | {"properties": properties[::-1]}) == flat(CLASS)
        assert flat(CLASS | {"stopwords": ["the", "a"]}) != flat(CLASS)

    @given(st.dictionaries(st.text("abc", max_size=3), json_values, max_size=4))
    def test_is_as_flat_as_it_can_be(self, config: dict[str, Any]) -> None:
        found = flat(config)
        assert not [value for value in found.values() if isinstance(value, dict) and value]
        assert flat(through_json(config)) == found

    def test_an_added_property_changes_no_other_path(self) -> None:
        properties: Any = CLASS["properties"]
        more = flat(CLASS | {"properties": [{"name": "year", "dataType": ["int"]}, *properties]})
        assert more == flat(CLASS) | {"properties.year.dataType": ["int"]}


class TestDigest:
    @given(st.dictionaries(st.text(max_size=3), json_values, max_size=4))
    def test_order_of_fields_makes_no_difference(self, value: dict[str, Any]) -> None:
        assert digest_of(value) == digest_of(dict(reversed(value.items())))

    @pytest.mark.parametrize(
        ("one", "other"), [({"a": 1}, {"a": 2}), ({"a": 1}, {"b": 1}), ({"a": "1"}, {"a": 1}), ([1, 2], [2, 1])]
    )
    def test_values_do(self, one: Any, other: Any) -> None:
        assert digest_of(one) != digest_of(other)


counts = st.dictionaries(st.text("abcdefgh", max_size=3), st.integers(0, 40), max_size=30)


class TestSpread:
    @given(counts, st.integers(1, 60), st.randoms())
    def test_is_the_same_for_the_same_tenants(self, held: dict[str, int], wanted: int, random: Any) -> None:
        shuffled = list(held.items())
        random.shuffle(shuffled)
        assert spread(shuffled, wanted) == spread(held.items(), wanted)

    @given(counts, st.integers(1, 60))
    def test_takes_some_of_as_many_tenants_as_it_can_and_no_more_than_there_are(
        self, held: dict[str, int], wanted: int
    ) -> None:
        chosen = spread(held.items(), wanted)
        filled = [name for name, count in held.items() if count]
        assert len(chosen) == min(len(filled), wanted)
        assert all(1 <= share <= held[name] for name, share in chosen.items())
        assert sum(chosen.values()) <= min(wanted, sum(held.values()))

    @given(st.sets(st.text("abcdefgh", max_size=3), min_size=1), st.integers(1, 60))
    def test_takes_all_that_is_wanted_where_every_tenant_has_enough(self, names: set[str], wanted: int) -> None:
        shares = spread([(name, wanted) for name in names], wanted).values()
        assert sum(shares) == wanted
        assert max(shares) - min(shares) <= 1

    @given(st.sets(st.text("abcdefgh", max_size=3), max_size=20), st.integers(0, 3))
    def test_takes_all_there_is_of_few(self, names: set[str], each: int) -> None:
        assert sum(spread([(name, each) for name in names], 60).values()) == len(names) * each

    @given(counts, st.integers(1, 60))
    def test_writes_do_not_change_which_tenants_are_looked_at(self, held: dict[str, int], wanted: int) -> None:
        grown = {name: count and count + 7 for name, count in held.items()}
        assert spread(grown.items(), wanted).keys() == spread(held.items(), wanted).keys()

    def test_another_tenant_takes_the_place_of_one_at_most(self) -> None:
        names = [f"t{number}" for number in range(1000)]
        before = spread([(name, 9) for name in names], 50)
        after = spread([(name, 9) for name in [*names, "new"]], 50)
        assert len(before.keys() - after.keys()) <= 1
