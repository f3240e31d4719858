"""Whether a collection takes writes: an object is written to it, read, and deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.tenants import InactiveTenants
from airflow_provider_vectorbackup.exceptions import Forbidden, ServerFault, Unauthenticated
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.content_lab import Lab, some_objects

WRITE, ONE = "/objects", "/objects/Car/[^/]+"
NONE: dict[str, Any] = {"vectorizer": {"none": {}}}
MODULE: dict[str, Any] = {"vectorizer": {"text2vec-openai": {"model": "ada", "vectorizeClassName": True}}}


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn) -> WeaviateStandIn:
    return weaviate_stand_in


@pytest.fixture
def lab(server: WeaviateStandIn, client: WeaviateClient, tmp_path: Path) -> Lab:
    return Lab(server, client, tmp_path)


@pytest.fixture
def car(server: WeaviateStandIn) -> str:
    """A collection with objects that have a vector each."""
    server.add_collection("Car")
    server.add_objects("Car", some_objects(5))
    return "Car"


def probe_of(server: WeaviateStandIn) -> dict[str, Any]:
    """Return what was written, once."""
    (seen,) = server.sent("POST", WRITE)
    return dict(seen.body)


def held(server: WeaviateStandIn) -> int:
    return sum(len(found) for each in server.collections.values() for found in each.objects.values())


def test_object_is_written_read_and_deleted(lab: Lab, server: WeaviateStandIn, car: str) -> None:
    lab.record()
    comparison = lab.compare()
    assert (comparison.written, comparison.differences, comparison.warnings) == (1, [], [])
    probe = probe_of(server)
    assert (probe["class"], probe["properties"], len(probe["vector"])) == (car, {}, 4)
    path = f"/objects/Car/{probe['id']}"
    asked = [seen.method for seen in server.requests if seen.path in (path, WRITE) and seen.method != "PUT"]
    assert asked[-5:] == ["DELETE", "POST", "GET", "DELETE", "GET"]
    assert held(server) == 5


def test_old_probe_of_a_killed_task_is_no_hindrance(lab: Lab, server: WeaviateStandIn, car: str) -> None:
    lab.record()
    lab.compare()
    probe = probe_of(server)
    server.add_objects(car, [probe])
    assert held(server) == 6
    lab.compare()
    comparison = lab.compare()
    assert (comparison.written, comparison.differences) == (1, [])
    assert held(server) == 5
    assert {seen.body["id"] for seen in server.sent("POST", WRITE)} == {probe["id"]}


def test_every_collection_has_one_of_its_own(lab: Lab, server: WeaviateStandIn, car: str) -> None:
    server.add_collection("Shop", {"cold": "COLD", "hot": "HOT", "warm": "HOT"}, vectorConfig={"title": NONE})
    server.add_objects("Shop", some_objects(2, title=3), tenant="warm")
    lab.record()
    assert lab.compare().written == 2
    ours, theirs = sorted((seen.body for seen in server.sent("POST", WRITE)), key=lambda body: str(body["class"]))
    assert ours["id"] != theirs["id"]
    assert (theirs["tenant"], list(theirs["vectors"])) == ("hot", ["title"])
    assert "tenant" not in ours
    assert held(server) == 7


def test_multi_vectors_are_written_as_such(lab: Lab, server: WeaviateStandIn, car: str) -> None:
    server.collections[car].objects.clear()
    server.add_objects(car, [{"vector": [[0.5, 1.0], [0.25, 2.0]]}])
    lab.record()
    assert lab.compare().written == 1
    assert probe_of(server)["vector"] == [[0.5, 1.0], [0.25, 2.0]]


def test_nothing_is_written_unless_it_is_wanted(lab: Lab, server: WeaviateStandIn, car: str) -> None:
    lab.record()
    assert lab.compare(probes_writes=False).written == 0
    assert server.sent("POST", WRITE) == []
    assert server.sent("DELETE", ".*") == []


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"vectorizer": "none"},
        {"vectorConfig": {"title": NONE, "body": NONE}},
        {"moduleConfig": {"generative-openai": {}}},
        {"properties": [{"name": "text", "moduleConfig": {"text2vec-openai": {"skip": True}}}]},
    ],
)
def test_empty_collection_takes_one_without_vectors(lab: Lab, server: WeaviateStandIn, config: dict[str, Any]) -> None:
    server.add_collection("Car", **config)
    lab.record()
    comparison = lab.compare()
    assert (comparison.written, comparison.warnings) == (1, [])
    assert probe_of(server).keys().isdisjoint({"vector", "vectors"})


@pytest.mark.parametrize(
    "config",
    [
        {"vectorizer": "text2vec-openai"},
        {"vectorConfig": {"title": MODULE}},
        {"vectorConfig": {"title": NONE, "body": MODULE}},
        {"vectorConfig": {"title": {"vectorizer": {"text2vec-transformers": {}}}}},
    ],
)
def test_module_is_not_asked_for_vectors(lab: Lab, server: WeaviateStandIn, config: dict[str, Any]) -> None:
    server.add_collection("Car", **config)
    lab.record()
    comparison = lab.compare()
    assert (comparison.written, comparison.differences) == (0, [])
    assert ["makes vectors by a module" in str(found) for found in comparison.warnings] == [True]
    assert server.sent("POST", WRITE) == []


def test_module_is_not_asked_where_there_are_vectors(lab: Lab, server: WeaviateStandIn) -> None:
    server.add_collection("Car", vectorConfig={"title": MODULE, "body": MODULE})
    server.add_objects("Car", some_objects(1, title=3, body=4))
    lab.record()
    assert lab.compare().written == 1
    assert {name: len(vector) for name, vector in probe_of(server)["vectors"].items()} == {"title": 3, "body": 4}


def test_collection_without_an_active_tenant_is_told(lab: Lab, server: WeaviateStandIn) -> None:
    server.add_collection("Shop", {"a": "COLD"})
    server.add_objects("Shop", some_objects(2), tenant="a")
    lab.record(inactive=InactiveTenants.ACTIVATE)
    comparison = lab.compare(inactive=InactiveTenants.ACTIVATE)
    assert (comparison.written, comparison.differences) == (0, [])
    assert list(map(str, comparison.warnings)) == ["Shop has no active tenant, so whether it takes writes is not known"]


@pytest.mark.usefixtures("car")
class TestRefused:
    def test_write_is_a_difference(self, lab: Lab, server: WeaviateStandIn) -> None:
        lab.record()
        message = "put object: store is read-only due to: disk usage too high"
        server.fail_next("POST", WRITE, status=422, body={"error": [{"message": message}]})
        comparison = lab.compare()
        (found,) = map(str, comparison.differences)
        assert found.startswith("Car does not take writes: ")
        assert message in found
        assert comparison.written == 0
        assert held(server) == 5

    def test_others_are_written_to_all_the_same(self, lab: Lab, server: WeaviateStandIn) -> None:
        server.add_collection("Shop")
        lab.record()
        server.fail_next("POST", WRITE, status=422)
        comparison = lab.compare()
        assert ([found.where for found in comparison.differences], comparison.written) == (["Car"], 1)

    def test_written_object_that_is_not_found_is_a_difference(self, lab: Lab, server: WeaviateStandIn) -> None:
        lab.record()
        server.fail_next("POST", WRITE, status=200, body={"id": "x"})
        (found,) = lab.differences()
        assert found.startswith("Car does not take writes: Weaviate answered 404")

    def test_object_that_is_not_deleted_is_a_difference(self, lab: Lab, server: WeaviateStandIn) -> None:
        lab.record()
        server.fail_next("DELETE", ONE, status=204, body=b"", times=2)
        (found,) = lab.differences()
        assert found == f"Car keeps the object {probe_of(server)['id']}, although it was deleted"

    @pytest.mark.parametrize("handled", [True, False])
    def test_fault_is_none_and_leaves_nothing(self, lab: Lab, server: WeaviateStandIn, handled: bool) -> None:
        lab.record()
        server.fail_next("POST", WRITE, status=500, handled=handled)
        with pytest.raises(ServerFault):
            lab.compare()
        assert held(server) == 5

    @pytest.mark.parametrize(("status", "kind"), [(401, Unauthenticated), (403, Forbidden)])
    def test_lack_of_a_permission_is_told_as_such(
        self, lab: Lab, server: WeaviateStandIn, status: int, kind: type[Exception]
    ) -> None:
        lab.record()
        server.fail_next("POST", WRITE, status=status)
        with pytest.raises(kind, match="create_data" if status == 403 else "API key"):
            lab.compare()
        assert held(server) == 5
