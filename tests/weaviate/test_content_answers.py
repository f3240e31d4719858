"""How a server's answers about what it holds are read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.exceptions import Forbidden, Rejected, UnexpectedAnswer
from airflow_provider_vectorbackup.weaviate import content_answers, content_calls
from airflow_provider_vectorbackup.weaviate.calls import Call
from airflow_provider_vectorbackup.weaviate.content_answers import FoundObject, Near, Permissions

PARSERS: dict[str, Callable[[Any], object]] = {
    "class": content_answers.parse_class,
    "aliases": content_answers.parse_alias_targets,
    "objects": content_answers.parse_objects,
    "object": content_answers.parse_object,
    "counts": partial(content_answers.parse_counts, count=2),
    "nearest": partial(content_answers.parse_nearest, count=2),
    "permissions": content_answers.parse_permissions,
    "roles": content_answers.parse_role_names,
    "shards": content_answers.parse_shard_nodes,
    "members": content_answers.parse_members,
}
KNOWN_NAMES = """
    aliases alias class objects id vector vectors properties data errors message Aggregate Get t0 t1 q0 q1 meta count
    _additional distance roles permissions action collections collection name nodes shards statistics raft
    latestConfiguration address title
"""
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e9, 1e9) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KNOWN_NAMES.split()), inner, min_size=1, max_size=5)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@given(json_values)
def test_any_json_is_read_or_refused(parse: Callable[[Any], object], data: Any) -> None:
    with contextlib.suppress(UnexpectedAnswer, Rejected):
        assert parse(data) is not None


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@pytest.mark.parametrize("data", [None, "text", 7, [7], [None]])
def test_what_no_such_server_answers(parse: Callable[[Any], object], data: Any) -> None:
    with pytest.raises(UnexpectedAnswer, match="belongs"):
        parse(data)


class TestObject:
    def test_with_an_unnamed_vector(self) -> None:
        data = {"class": "Car", "id": "i", "properties": {"name": "a"}, "vector": [1, 0.5], "vectorWeights": None}
        assert content_answers.parse_object(data) == FoundObject("i", {"name": "a"}, {"": [1, 0.5]})

    def test_with_named_vectors(self) -> None:
        data = {"id": "i", "properties": None, "vectors": {"title": [0.5], "rows": [[1.0, 2.0]], "none": []}}
        assert content_answers.parse_object(data) == FoundObject("i", {}, {"title": [0.5], "rows": [[1.0, 2.0]]})

    @pytest.mark.parametrize("vectors", [None, {}])
    def test_without_vectors(self, vectors: Any) -> None:
        data = {"id": "i", "properties": {}, "vector": None, "vectors": vectors}
        assert content_answers.parse_object(data).vectors == {}

    @pytest.mark.parametrize(
        "fields",
        [
            {"vector": "[1, 2]"},
            {"vector": {"0": 1}},
            {"vector": ["1"]},
            {"vector": [None]},
            {"vector": [[1], 2]},
            {"vector": [1, [2]]},
            {"vector": [[1], ["2"]]},
            {"vectors": [0.5]},
            {"vectors": {"title": 0.5}},
            {"vectors": {"title": None}},
            {"vectors": {"title": {"0": 1}}},
            {"properties": ["a"]},
            {"properties": "a"},
        ],
    )
    def test_of_another_shape(self, fields: dict[str, Any]) -> None:
        with pytest.raises(UnexpectedAnswer):
            content_answers.parse_object({"id": "i", "properties": {}} | fields)
        with pytest.raises(UnexpectedAnswer):
            content_answers.parse_objects({"objects": [{"id": "a"}, {"id": "i", "properties": {}} | fields]})

    def test_list(self) -> None:
        data = {"deprecations": [], "objects": [{"id": "a"}, {"id": "b"}], "totalResults": 2}
        assert [found.object_id for found in content_answers.parse_objects(data)] == ["a", "b"]
        assert content_answers.parse_objects({"objects": None}) == ()


def counted(data: Any, tenants: int = 3) -> tuple[int | None, ...]:
    return content_calls.count_objects("Car", [f"t{number}" for number in range(tenants)]).parse(data)


def not_active(tenant: str, field: str) -> dict[str, Any]:
    return {"message": f"explorer: list class: search: tenant not active: '{tenant}'", "path": ["Aggregate", field]}


class TestCounts:
    def test_in_the_order_of_the_tenants(self) -> None:
        data = {"t2": [{"meta": {"count": 7}}], "t0": [{"meta": {"count": 5}}], "t1": [{"meta": {"count": 0}}]}
        assert counted({"data": {"Aggregate": data}}) == (5, 0, 7)

    def test_inactive_tenants_have_none(self) -> None:
        data = {"t0": [{"meta": {"count": 5}}], "t1": None, "t2": None}
        errors = [not_active("b", "t1"), not_active("c", "t2")]
        assert counted({"data": {"Aggregate": data}, "errors": errors}) == (5, None, None)

    def test_all_inactive(self) -> None:
        assert counted({"data": {"Aggregate": None}, "errors": [not_active("a", "t0")]}) == (None, None, None)

    def test_a_whole_number_that_comes_as_a_float(self) -> None:
        assert counted({"data": {"Aggregate": {"t0": [{"meta": {"count": 5.0}}]}}}, 1) == (5,)

    @pytest.mark.parametrize(
        "told",
        [
            5,
            "5",
            {"meta": {"count": 5}},
            [],
            [5],
            [{}],
            [{"meta": None}],
            [{"meta": {}}],
            [{"meta": {"count": None}}],
            [{"meta": {"count": "5"}}],
        ],
    )
    def test_of_another_shape(self, told: Any) -> None:
        with pytest.raises(UnexpectedAnswer):
            counted({"data": {"Aggregate": {"t0": told}}}, 1)

    @pytest.mark.parametrize("data", [{"data": [1]}, {"data": {"Aggregate": 5}}, {"errors": {"a": 1}}, {"errors": [5]}])
    def test_answer_of_another_shape(self, data: Any) -> None:
        with pytest.raises(UnexpectedAnswer):
            counted(data)


def near(object_id: str, distance: Any) -> dict[str, Any]:
    return {"_additional": {"id": object_id, "distance": distance}}


def nearest(data: Any, queries: int = 2) -> tuple[tuple[Near, ...], ...]:
    return content_calls.find_nearest("Car", "", [("", [0.5])] * queries, 10).parse(data)


class TestNearest:
    def test_in_the_order_of_the_queries(self) -> None:
        data = {"q1": [], "q0": [near("a", 0), near("b", 0.5)]}
        assert nearest({"data": {"Get": data}}) == ((Near("a", 0.0), Near("b", 0.5)), ())

    @pytest.mark.parametrize("told", [{}, "a", [5], [{}], [near("a", None)], [near("a", "0.5")], [{"_additional": 5}]])
    def test_of_another_shape(self, told: Any) -> None:
        with pytest.raises(UnexpectedAnswer):
            nearest({"data": {"Get": {"q0": told or 5}}})


ASKED: dict[str, Call[Any]] = {
    "counts": content_calls.count_objects("Car", ["Europe"]),
    "searches": content_calls.find_nearest("Car", "Europe", [("", [0.5])], 10),
}


@pytest.mark.parametrize("call", ASKED.values(), ids=ASKED)
class TestErrorsOfQueries:
    @pytest.mark.parametrize("data", [None, {}, {"Aggregate": {"t0": None}}])
    def test_other_errors_are_refusals(self, call: Call[Any], data: Any) -> None:
        message = 'Cannot query field "Car" on type "AggregateObjectsObj"'
        errors = [not_active("Asia", "t0"), {"message": message}]
        with pytest.raises(Rejected) as caught:
            call.parse({"data": data, "errors": errors})
        assert type(caught.value) is Rejected
        assert message in caught.value.message

    def test_lack_of_a_permission(self, call: Call[Any]) -> None:
        message = "rbac: authorization, forbidden action: user 'u' has insufficient permissions to read_data"
        with pytest.raises(Forbidden, match="insufficient permissions") as caught:
            call.parse({"data": None, "errors": [{"message": message}]})
        assert "read_data" in caught.value.hint
        assert caught.value.status_code == 403


def permissions(*given: dict[str, Any]) -> Permissions:
    return content_answers.parse_permissions({"username": "u", "roles": [{"name": "r", "permissions": list(given)}]})


NAMES = ("Car", "CarPart", "Bus")


class TestPermissions:
    @pytest.mark.parametrize("data", [{}, {"roles": None}, {"roles": []}])
    def test_where_roles_do_not_decide_nothing_lacks(self, data: dict[str, Any]) -> None:
        assert content_answers.parse_permissions(data).lacks("read_data", NAMES) == ()

    @pytest.mark.parametrize(
        ("pattern", "lacking"),
        [("*", ()), ("Car", ("CarPart", "Bus")), ("Car*", ("Bus",)), ("Bu?", ("Car", "CarPart")), ("car", NAMES)],
    )
    def test_patterns_name_collections(self, pattern: str, lacking: tuple[str, ...]) -> None:
        held = permissions({"action": "read_data", "data": {"collection": pattern, "tenant": "*", "object": "*"}})
        assert held.lacks("read_data", NAMES) == lacking
        assert held.lacks("create_data", NAMES) == NAMES

    def test_roles_add_up(self) -> None:
        roles = [
            {"name": "one", "permissions": [{"action": "read_data", "data": {"collection": "Car"}}]},
            {"name": "two", "permissions": [{"action": "read_data", "data": {"collection": "Bus"}}]},
            {"name": "three", "permissions": None},
        ]
        assert content_answers.parse_permissions({"roles": roles}).lacks("read_data", NAMES) == ("CarPart",)

    def test_permission_for_no_collection_is_for_all(self) -> None:
        held = permissions({"action": "read_cluster"}, {"action": "read_roles", "roles": {"role": "*", "scope": "all"}})
        assert held.lacks("read_cluster", NAMES) == ()
        assert held.lacks("read_roles", NAMES) == ()

    @pytest.mark.parametrize("data", [{"roles": "admin"}, {"roles": ["admin"]}, {"roles": [{"permissions": [5]}]}])
    def test_of_another_shape(self, data: Any) -> None:
        with pytest.raises(UnexpectedAnswer):
            content_answers.parse_permissions(data)


class TestCluster:
    def test_shards(self) -> None:
        data = {
            "nodes": [
                {"name": "w1", "shards": [{"class": "Car", "name": "a"}, {"class": "Bus", "name": "b"}]},
                {"name": "w2", "shards": [{"class": "Car", "name": "a"}, {"class": "Car", "name": "c"}]},
                {"name": "w3", "shards": None},
            ]
        }
        assert content_answers.parse_shard_nodes(data) == {"Car": {"w1", "w2"}, "Bus": {"w1"}}

    def test_members_are_told_by_each_and_counted_once(self) -> None:
        members = [{"address": "10.0.0.1:8300", "id": "w1"}, {"address": "10.0.0.2:8300", "id": "w2"}]
        told = [{"raft": {"latestConfiguration": members}}, {"raft": {"latestConfiguration": members}}, {"raft": None}]
        found = content_answers.parse_members({"statistics": told})
        assert found == {("w1", "10.0.0.1:8300"), ("w2", "10.0.0.2:8300")}

    def test_aliases_and_roles(self) -> None:
        assert content_answers.parse_alias_targets({"aliases": [{"alias": "Auto", "class": "Car"}]}) == {"Auto": "Car"}
        assert content_answers.parse_alias_targets({"aliases": None}) == {}
        assert content_answers.parse_role_names([{"name": "admin"}, {"name": "viewer"}]) == ("admin", "viewer")
