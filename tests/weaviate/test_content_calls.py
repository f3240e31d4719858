"""What is sent to see what a server holds, and what a refusal of it says. Answers: test_content_answers.py."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.exceptions import Forbidden, NotFound, Rejected, ServerFault
from airflow_provider_vectorbackup.weaviate import content_calls
from airflow_provider_vectorbackup.weaviate.calls import Call
from airflow_provider_vectorbackup.weaviate.endpoint import Retries
from airflow_provider_vectorbackup.weaviate.errors import HttpAnswer, error_of, no_answer, seconds_before_repeat

ID = "5d0cf2f5-0a3b-5d8e-8a55-7b8f2f6f4d0e"
STRING = r'"(?:[^"\\]|\\.)*"'

CALLS: dict[str, tuple[Call[Any], str]] = {
    "class": (content_calls.read_class("Car"), "read_collections"),
    "aliases": (content_calls.read_alias_targets(), "read_aliases"),
    "delete alias": (content_calls.delete_alias("Auto"), "delete_aliases"),
    "list": (content_calls.list_objects("Car", "", content_calls.FIRST_ID, 5), "read_data"),
    "object": (content_calls.read_object("Car", "", ID), "read_data"),
    "write": (content_calls.write_object("Car", "", ID, {}), "create_data"),
    "delete": (content_calls.delete_object("Car", "", ID), "delete_data"),
    "count": (content_calls.count_objects("Car", [""]), "read_data"),
    "nearest": (content_calls.find_nearest("Car", "", [("", [0.5])], 10), "read_data"),
    "roles": (content_calls.read_roles(), "read_roles"),
    "shards": (content_calls.read_shard_nodes(), "read_nodes (verbose)"),
    "members": (content_calls.read_members(), "read_cluster"),
}


def sent(call: Call[Any]) -> tuple[str, str, dict[str, str], Any]:
    return call.method, call.path, dict(call.params), call.body


def query_of(call: Call[Any]) -> str:
    """Return the text of a query, in which nothing but strings may hold what a user chose."""
    method, path, params, body = sent(call)
    assert (method, path, params, list(body)) == ("POST", "/graphql", {}, ["query"])
    return str(body["query"])


def strings_of(query: str) -> list[Any]:
    return [json.loads(text) for text in re.findall(STRING, query)]


class TestSent:
    def test_object_is_listed_after_another_id(self) -> None:
        params = {"class": "Car", "after": ID, "limit": "5", "include": "vector"}
        assert sent(content_calls.list_objects("Car", "", ID, 5)) == ("GET", "/objects", params, None)
        of_tenant = content_calls.list_objects("Car", "Europe", ID, 5)
        assert sent(of_tenant) == ("GET", "/objects", params | {"tenant": "Europe"}, None)

    def test_object_is_read_with_its_vectors(self) -> None:
        call = content_calls.read_object("Car", "", ID)
        assert sent(call) == ("GET", f"/objects/Car/{ID}", {"include": "vector"}, None)
        of_tenant = content_calls.read_object("Car", "Europe", ID)
        assert of_tenant.params == {"include": "vector", "tenant": "Europe"}

    def test_object_is_deleted(self) -> None:
        call = content_calls.delete_object("Car", "", ID)
        assert (sent(call), call.has_answer) == (("DELETE", f"/objects/Car/{ID}", {}, None), False)
        assert content_calls.delete_object("Car", "Europe", ID).params == {"tenant": "Europe"}

    @pytest.mark.parametrize(
        ("vectors", "fields"),
        [
            ({}, {}),
            ({"": [0.5, 1.0]}, {"vector": [0.5, 1.0]}),
            ({"title": [0.5], "body": [[1.0], [2.0]]}, {"vectors": {"title": [0.5], "body": [[1.0], [2.0]]}}),
            ({"": [0.5], "title": [1.0]}, {"vector": [0.5], "vectors": {"title": [1.0]}}),
        ],
    )
    def test_object_is_written_with_all_its_vectors(self, vectors: dict[str, Any], fields: dict[str, Any]) -> None:
        body = {"class": "Car", "id": ID, "properties": {}}
        assert sent(content_calls.write_object("Car", "", ID, vectors)) == ("POST", "/objects", {}, body | fields)
        of_tenant = content_calls.write_object("Car", "Europe", ID, vectors)
        assert of_tenant.body == body | {"tenant": "Europe"} | fields

    @pytest.mark.parametrize(
        ("call", "path"),
        [
            (content_calls.read_class("Car"), "/schema/Car"),
            (content_calls.read_alias_targets(), "/aliases"),
            (content_calls.read_own_permissions(), "/users/own-info"),
            (content_calls.read_roles(), "/authz/roles"),
            (content_calls.read_members(), "/cluster/statistics"),
        ],
    )
    def test_questions_of_a_path_alone(self, call: Call[Any], path: str) -> None:
        assert sent(call) == ("GET", path, {}, None)

    def test_shards_are_told_where_it_is_verbose(self) -> None:
        assert sent(content_calls.read_shard_nodes()) == ("GET", "/nodes", {"output": "verbose"}, None)

    def test_alias_is_deleted(self) -> None:
        call = content_calls.delete_alias("Auto")
        assert (sent(call), call.has_answer) == (("DELETE", "/aliases/Auto", {}, None), False)

    @pytest.mark.parametrize(("name", "quoted"), [("a/b", "a%2Fb"), ("a?b#c", "a%3Fb%23c"), ("é", "%C3%A9")])
    def test_a_name_is_one_part_of_the_path(self, name: str, quoted: str) -> None:
        assert content_calls.read_class(name).path == f"/schema/{quoted}"
        assert content_calls.delete_alias(name).path == f"/aliases/{quoted}"
        assert content_calls.read_object(name, "", name).path == f"/objects/{quoted}/{quoted}"
        assert content_calls.delete_object(name, "", name).path == f"/objects/{quoted}/{quoted}"


class TestQueries:
    def test_count_without_tenants(self) -> None:
        query = query_of(content_calls.count_objects("Car", [""]))
        assert query == "{ Aggregate { t0: Car { meta { count } } } }"

    def test_count_of_several_tenants(self) -> None:
        query = query_of(content_calls.count_objects("Car", ["Asia", "Europe"]))
        assert query == (
            '{ Aggregate { t0: Car(tenant: "Asia") { meta { count } } t1: Car(tenant: "Europe") { meta { count } } } }'
        )

    def test_nearest_to_the_unnamed_vector(self) -> None:
        query = query_of(content_calls.find_nearest("Car", "", [("", [0.5, -1e-07])], 10))
        assert query == (
            "{ Get { q0: Car(nearVector: { vector: [0.5, -1e-07] } limit: 10) { _additional { id distance } } } }"
        )

    def test_nearest_to_several_vectors_of_a_tenant(self) -> None:
        queries: list[tuple[str, Any]] = [("title", [0.5]), ("rows", [[1.0], [2.0]])]
        query = query_of(content_calls.find_nearest("Car", "Europe", queries, 3))
        end = '} limit: 3 tenant: "Europe") { _additional { id distance } }'
        first = f'q0: Car(nearVector: {{ vector: [0.5] targetVectors: ["title"] {end}'
        second = f'q1: Car(nearVector: {{ vector: [[1.0], [2.0]] targetVectors: ["rows"] {end}'
        assert query == f"{{ Get {{ {first} {second} }} }}"

    @given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=3))
    @example(['") { meta { count } } x: Bus(tenant: "'])
    @example(["\\", '"', "\n\r\t\0"])
    def test_tenants_are_escaped(self, tenants: list[str]) -> None:
        query = query_of(content_calls.count_objects("Car", tenants))
        assert strings_of(query) == tenants
        left = "".join(f't{number}: Car(tenant: "") {{ meta {{ count }} }} ' for number in range(len(tenants)))
        assert re.sub(STRING, '""', query) == f"{{ Aggregate {{ {left}}} }}"
        assert query.isascii()
        assert query.isprintable()

    @given(st.text(min_size=1, max_size=6), st.text(min_size=1, max_size=6))
    @example('"] } limit: 1) { x } y: Bus(a: ["', "\\")
    def test_names_of_vectors_are_escaped(self, vector: str, tenant: str) -> None:
        query = query_of(content_calls.find_nearest("Car", tenant, [(vector, [0.5])], 7))
        assert strings_of(query) == [vector, tenant]
        plain = query_of(content_calls.find_nearest("Car", "Europe", [("title", [0.5])], 7))
        assert re.sub(STRING, '""', query) == re.sub(STRING, '""', plain)


class TestRepeating:
    @pytest.mark.parametrize("name", sorted(CALLS.keys() - {"write"}))
    def test_what_only_asks_or_deletes_is_sent_again(self, name: str) -> None:
        call, _ = CALLS[name]
        lost = no_answer(call, "http://w", "read timed out", never_sent=False)
        busy = error_of(call, HttpAnswer(503, b""))
        assert (lost.may_have_started, busy.may_have_started) == (False, False)
        for error in (lost, busy):
            assert seconds_before_repeat(call, error, 1, Retries(first_wait=0.5)) is not None

    def test_written_object_is_not_sent_again(self) -> None:
        call, _ = CALLS["write"]
        lost = no_answer(call, "http://w", "read timed out", never_sent=False)
        busy = error_of(call, HttpAnswer(503, b""))
        assert (lost.may_have_started, busy.may_have_started) == (True, True)
        for error in (lost, busy):
            assert seconds_before_repeat(call, error, 1, Retries(first_wait=0.5)) is None

    def test_written_object_that_was_never_sent_is_sent_again(self) -> None:
        call, _ = CALLS["write"]
        unsent = no_answer(call, "http://w", "connection refused", never_sent=True)
        assert seconds_before_repeat(call, unsent, 1, Retries(first_wait=0.5)) is not None

    def test_what_is_wrong_with_a_query_is_not_asked_again(self) -> None:
        call, _ = CALLS["count"]
        for status in (422, 500):
            assert seconds_before_repeat(call, error_of(call, HttpAnswer(status, b"")), 1, Retries()) is None


class TestRefused:
    @pytest.mark.parametrize(("call", "permission"), CALLS.values(), ids=CALLS)
    def test_hint_names_the_permission_that_lacks(self, call: Call[Any], permission: str) -> None:
        body = {"error": [{"message": "rbac: authorization, forbidden action: user 'u' has insufficient permissions"}]}
        error = error_of(call, HttpAnswer(403, json.dumps(body).encode()))
        assert isinstance(error, Forbidden)
        assert f"the permission {permission} on" in error.hint
        assert "insufficient permissions" in error.message

    def test_object_that_is_not_there(self) -> None:
        call, _ = CALLS["object"]
        error = error_of(call, HttpAnswer(404, b""))
        assert isinstance(error, NotFound)
        assert f"/objects/Car/{ID}" in error.message

    @pytest.mark.parametrize(("status", "kind"), [(422, Rejected), (500, ServerFault)])
    def test_other_refusals_have_the_words_of_the_server(self, status: int, kind: type[Exception]) -> None:
        call, _ = CALLS["write"]
        error = error_of(call, HttpAnswer(status, b'{"error": [{"message": "vector lengths do not match"}]}'))
        assert type(error) is kind
        assert "vector lengths do not match" in str(error)
