"""What users' tests can do with the stand-in's objects; that it serves them as real servers do is in tests/contract."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.testing.model import Collection
from airflow_provider_vectorbackup.weaviate import content_answers
from tests.testing.test_stand_in import ask, create

FIRST, SECOND = (f"{number:08x}-0000-4000-8000-000000000000" for number in (1, 2))
COUNT = "{ Aggregate { t0: Article { meta { count } } } }"


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn) -> WeaviateStandIn:
    """A server with two objects."""
    weaviate_stand_in.add_collection("Article")
    objects = [{"id": name, "properties": {"title": name[:8]}, "vector": [1.0, 0.0]} for name in (FIRST, SECOND)]
    weaviate_stand_in.add_objects("Article", objects)
    return weaviate_stand_in


def listed(server: WeaviateStandIn, collection: str = "Article", **params: Any) -> list[str]:
    query = "&".join(f"{name}={value}" for name, value in params.items())
    answer = ask(server, "GET", f"/objects?class={collection}&{query}").json()
    return [told["id"] for told in answer["objects"]]


def message(server: WeaviateStandIn, query: str) -> str:
    refusal = ask(server, "POST", "/graphql", {"query": query})
    assert refusal.status_code == 422
    told: str = refusal.json()["error"][0]["message"]
    return told


def restore(server: WeaviateStandIn, backup_id: str = "x1") -> None:
    server.collections.clear()
    assert ask(server, "POST", f"/backups/s3/{backup_id}/restore", {}).status_code == 200
    server.finish()


class TestAddObjects:
    def test_ids_that_are_not_given_are_made_up(self, server: WeaviateStandIn) -> None:
        (made,) = server.add_objects("Article", [{"vector": [0.5, 0.5]}])
        told = ask(server, "GET", f"/objects/Article/{made}?include=vector").json()
        assert (told["properties"], told["vector"]) == ({}, [0.5, 0.5])

    def test_what_is_given_can_be_changed_afterwards(self, server: WeaviateStandIn) -> None:
        properties = {"title": "before"}
        server.add_objects("Article", [{"id": FIRST, "properties": properties}])
        properties["title"] = "after"
        assert ask(server, "GET", f"/objects/Article/{FIRST}").json()["properties"] == {"title": "before"}

    def test_of_a_tenant_active_or_not(self, server: WeaviateStandIn) -> None:
        server.add_collection("Shop", {"a": "HOT", "b": "COLD"})
        for tenant in ("a", "b"):
            server.add_objects("Shop", [{"id": FIRST}], tenant)
        assert listed(server, "Shop", tenant="a") == [FIRST]
        assert server.collections["Shop"].objects["b"].keys() == {FIRST}

    @pytest.mark.parametrize(
        ("collection", "tenant"), [("Nope", ""), ("Shop", "nobody"), ("Shop", ""), ("Article", "a")]
    )
    def test_where_there_is_no_such_place(self, server: WeaviateStandIn, collection: str, tenant: str) -> None:
        server.add_collection("Shop", {"a": "HOT"})
        with pytest.raises(KeyError):
            server.add_objects(collection, [{}], tenant)


class TestConfiguration:
    def test_is_told_as_it_was_given(self, server: WeaviateStandIn) -> None:
        vectors = {"front": {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}}
        server.add_collection("Photo", {"a": "HOT"}, vectorConfig=vectors, replicationConfig={"asyncEnabled": True})
        told = ask(server, "GET", "/schema/Photo").json()
        assert told == ask(server, "GET", "/schema").json()["classes"][-1]
        assert told == {
            "class": "Photo",
            "properties": None,
            "vectorConfig": vectors,
            "multiTenancyConfig": {"enabled": True},
            "replicationConfig": {"factor": 1, "asyncEnabled": True},
        }


class TestRequests:
    def test_ids_in_capitals(self, server: WeaviateStandIn) -> None:
        name = "ABCDEF01-0000-4000-8000-000000000000"
        assert ask(server, "POST", "/objects", {"class": "Article", "id": name}).json()["id"] == name.lower()
        assert ask(server, "GET", f"/objects/Article/{name}").status_code == 200
        assert listed(server, after=SECOND.upper(), limit=5) == [name.lower()]

    def test_what_is_no_id(self, server: WeaviateStandIn) -> None:
        refusal = ask(server, "POST", "/objects", {"class": "Article", "id": "x"})
        assert (refusal.status_code, refusal.json()["code"]) == (422, 601)
        assert ask(server, "GET", "/objects/Article/x").json()["message"] == 'id in path must be of type uuid: "x"'

    def test_collection_is_not_made_on_the_way(self, server: WeaviateStandIn) -> None:
        assert ask(server, "POST", "/objects", {"class": "Nope", "id": FIRST}).status_code == 422
        assert "Nope" not in server.collections

    def test_batch_writes_over_and_tells_what_failed(self, server: WeaviateStandIn) -> None:
        objects = [
            {"class": "Article", "id": FIRST, "properties": {"title": "new"}},
            {"class": "Article", "id": SECOND, "tenant": "a"},
            {"class": "Nope", "id": SECOND},
        ]
        outcomes = ask(server, "POST", "/batch/objects", {"objects": objects}).json()
        assert [outcome["result"]["status"] for outcome in outcomes] == ["SUCCESS", "FAILED", "FAILED"]
        assert ask(server, "GET", f"/objects/Article/{FIRST}").json()["properties"] == {"title": "new"}
        assert ask(server, "POST", "/batch/objects", {"objects": []}).status_code == 422

    def test_pages(self, server: WeaviateStandIn) -> None:
        server.add_objects("Article", [{} for _ in range(20)])
        assert len(listed(server)) == 10
        assert listed(server, after="", limit=0) == []
        for params in ("limit=x", f"after={FIRST}", f"after={FIRST}&limit=-1"):
            assert ask(server, "GET", f"/objects?class=Article&{params}").status_code == 422


class TestQueries:
    def test_zero_vector_is_near_to_nothing(self, server: WeaviateStandIn) -> None:
        server.add_objects("Article", [{"vector": [0, 0]}])
        query = "{ Get { Article(nearVector: {vector: [1, 0]}, limit: 9) { _additional { distance id } } } }"
        (found,) = ask(server, "POST", "/graphql", {"query": query}).json()["data"]["Get"].values()
        assert [one["_additional"]["distance"] for one in found] == [0.0, 0.0, 1.0]

    @pytest.mark.parametrize(
        "query",
        [
            "",
            "query Q { Aggregate { Article { meta { count } } } }",
            "{ Aggregate { Article { meta { count } } }",
            "{ Aggregate { Article { meta { count } } } } }",
            "{ Aggregate { Article { title { count } } } }",
            '{ Aggregate { Article(where: { path: ["title"] }) { meta { count } } } }',
            "{ Aggregate { Article(tenant: nobody) { meta { count } } } }",
            "{ Get { Article { title } } }",
            "{ Explore { meta } }",
            "{ 1 }",
        ],
    )
    def test_other_ones_are_refused(self, server: WeaviateStandIn, query: str) -> None:
        assert "The stand-in " in message(server, query)

    def test_without_a_schema(self, server: WeaviateStandIn) -> None:
        server.collections.clear()
        assert "no schema is present" in message(server, COUNT)


class TestBackups:
    def test_holds_what_there_is_at_its_end(self, server: WeaviateStandIn) -> None:
        create(server)
        server.add_objects("Article", [{}])
        server.aliases["News"] = "Article"
        server.finish()
        server.add_objects("Article", [{}])
        server.collections["Article"].config["description"] = "changed"
        server.aliases.clear()
        restore(server)
        assert len(listed(server)) == 3
        assert "description" not in ask(server, "GET", "/schema/News").json()

    def test_collection_that_is_deleted_meanwhile(self, server: WeaviateStandIn) -> None:
        create(server)
        server.collections.clear()
        server.finish()
        restore(server)
        assert listed(server) == [FIRST, SECOND]

    def test_can_be_restored_again_and_again(self, server: WeaviateStandIn) -> None:
        server.add_backup("x1", ["Article", "Empty"])
        for _ in range(2):
            restore(server)
            assert (listed(server), listed(server, "Empty")) == ([FIRST, SECOND], [])
            server.collections["Article"].objects_of("").clear()

    def test_old_servers_leave_out_the_objects_of_inactive_tenants(self, server: WeaviateStandIn) -> None:
        server.version = "1.36.9"
        server.add_collection("Shop", {"a": "HOT", "b": "COLD"})
        for tenant in ("a", "b"):
            server.add_objects("Shop", [{"id": FIRST}], tenant)
        create(server)
        server.finish()
        restore(server)
        assert server.collections["Shop"].objects.keys() == {"a"}

    def test_what_a_restore_brings_can_be_damaged(self, server: WeaviateStandIn) -> None:
        def lose(brought: dict[str, Collection]) -> None:
            del brought["Author"]
            del brought["Article"].objects[""][FIRST]

        server.add_collection("Author")
        server.add_backup("x1", ["Article", "Author"])
        server.after_restore = lose
        restore(server)
        assert set(server.collections) == {"Article"}
        assert listed(server) == [SECOND]
        server.after_restore = None
        restore(server)
        assert listed(server) == [FIRST, SECOND]


class TestPermissions:
    def permissions(self, server: WeaviateStandIn) -> content_answers.Permissions:
        told = ask(server, "GET", "/users/own-info", Authorization="Bearer k")
        return content_answers.parse_permissions(told.json())

    def test_without_roles(self, server: WeaviateStandIn) -> None:
        server.api_keys.add("k")
        assert self.permissions(server).granted is None

    def test_with_roles(self, server: WeaviateStandIn) -> None:
        server.api_keys.add("k")
        server.roles = {
            "reader": [{"action": "read_data", "data": {"collection": "Art*", "tenant": "*", "object": "*"}}],
            "other": [{"action": "read_cluster"}],
        }
        server.own_roles = ["reader"]
        assert self.permissions(server).lacks("read_data", ["Article", "Secret"]) == ("Secret",)
        told = ask(server, "GET", "/authz/roles", Authorization="Bearer k").json()
        assert content_answers.parse_role_names(told) == ("reader", "other")

    def test_without_keys_the_caller_is_nobody(self, server: WeaviateStandIn) -> None:
        assert ask(server, "GET", "/users/own-info").status_code == 401


class TestCluster:
    def members(self, server: WeaviateStandIn) -> frozenset[tuple[str, str]]:
        return content_answers.parse_members(ask(server, "GET", "/cluster/statistics").json())

    def test_two_servers_are_two_clusters_unless_told_otherwise(self, server: WeaviateStandIn) -> None:
        server.nodes["node2"] = "HEALTHY"
        with WeaviateStandIn() as other:
            assert [name for name, _ in sorted(self.members(server))] == ["node1", "node2"]
            assert self.members(server).isdisjoint(self.members(other))
            other.cluster_id = server.cluster_id
            assert self.members(other) < self.members(server)

    def test_shards_lie_on_all_nodes_unless_told_otherwise(self, server: WeaviateStandIn) -> None:
        server.nodes["node2"] = "HEALTHY"
        server.add_collection("Shop", {"a": "HOT", "b": "COLD"})
        server.holders["Shop"] = {"node2"}
        told = content_answers.parse_shard_nodes(ask(server, "GET", "/nodes?output=verbose").json())
        assert told == {"Article": {"node1", "node2"}, "Shop": {"node2"}}
        assert [node["shards"] for node in ask(server, "GET", "/nodes").json()["nodes"]] == [None, None]

    def test_inactive_tenants_have_no_shards_to_tell_of(self, server: WeaviateStandIn) -> None:
        server.add_collection("Shop", {"b": "COLD"})
        told = content_answers.parse_shard_nodes(ask(server, "GET", "/nodes?output=verbose").json())
        assert set(told) == {"Article"}
