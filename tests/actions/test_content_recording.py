"""What a record tells of a server, and what it takes to make it. Tenants: test_content_recording_tenants.py."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.backups.content import SampleSize
from airflow_provider_vectorbackup.exceptions import Forbidden, ObjectNotFound, ServerFault
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.content_lab import AFTER, BEFORE, Lab, some_objects

LIST, QUERY = "/objects", "/graphql"
NAMED = ("title", "body")


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn) -> WeaviateStandIn:
    """One with a collection."""
    weaviate_stand_in.add_collection("Car")
    return weaviate_stand_in


@pytest.fixture
def lab(server: WeaviateStandIn, client: WeaviateClient, tmp_path: Path) -> Lab:
    return Lab(server, client, tmp_path)


def test_what_is_told_of_it(lab: Lab, server: WeaviateStandIn) -> None:
    server.add_collection("Shop", {"a": "HOT", "b": "HOT"}, vectorConfig={"title": {"vectorizer": {"none": {}}}})
    server.add_objects("Car", some_objects(70))
    server.add_objects("Shop", some_objects(3, title=4), tenant="a")
    result = lab.record()
    summary = result.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["uri"] == lab.place(BEFORE).uri
    assert summary["schema_digests"] == {name: found.schema_digest for name, found in lab.recorded().items()}
    told = {key: value for key, value in summary.items() if key not in ("uri", "taken_at", "schema_digests")}
    assert told == {
        "collections": 2,
        "tenants": 2,
        "objects": 73,
        "sampled": 53,
        "searches": 13,
        "uncounted": 0,
    }
    assert [(t.tenant, t.count) for t in lab.recorded()["Shop"].tenants] == [("a", 3), ("b", 0)]


def test_only_of_the_collections_that_are_meant(lab: Lab, server: WeaviateStandIn) -> None:
    server.add_collection("Bus")
    server.aliases |= {"Auto": "Car", "Coach": "Bus"}
    lab.record(collections=("Car",))
    assert list(lab.recorded()) == ["Car"]
    assert server.sent("GET", "/schema/Bus") == []
    lab.server.aliases.clear()
    assert lab.differences() == ["Alias Auto of Car is not there"]


def test_server_without_aliases_is_not_asked_for_them(lab: Lab, server: WeaviateStandIn) -> None:
    server.version = "1.32.3"
    lab.record()
    assert lab.differences() == []
    assert server.sent("GET", "/aliases") == []


def test_collection_that_is_deleted_meanwhile_is_left_out(
    lab: Lab, server: WeaviateStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    server.add_collection("Bus")
    server.fail_next("GET", "/schema/Bus", status=404, body=b"")
    lab.record()
    assert list(lab.recorded()) == ["Car"]
    assert "Collection Bus was deleted meanwhile" in caplog.text


class TestSample:
    @pytest.mark.parametrize(("there", "sampled"), [(0, 0), (1, 1), (49, 49), (50, 50), (51, 50), (400, 50)])
    def test_is_of_as_many_objects_as_are_wanted_or_there(
        self, lab: Lab, server: WeaviateStandIn, there: int, sampled: int
    ) -> None:
        server.add_objects("Car", some_objects(there))
        assert lab.record().sampled == sampled
        found = lab.sampled()
        assert len(set(found)) == sampled
        assert {object_id for _, object_id in found} <= server.collections["Car"].objects_of("").keys()

    def test_is_of_the_wanted_size(self, lab: Lab, server: WeaviateStandIn) -> None:
        server.add_objects("Car", some_objects(100))
        result = lab.record(sample=SampleSize(objects=12, searches=3, nearest=4))
        assert (result.sampled, result.searches) == (12, 3)
        (tenant,) = lab.recorded()["Car"].tenants
        assert [len(answer.found) for answer in tenant.answers] == [4, 4, 4]

    @pytest.mark.parametrize("first", [1, 2**40, 2**128 - 500])
    def test_is_full_where_ids_are_not_spread(self, lab: Lab, server: WeaviateStandIn, first: int) -> None:
        server.add_objects("Car", ({"id": str(uuid.UUID(int=first + number))} for number in range(400)))
        assert lab.record().sampled == 50
        assert lab.differences() == []

    def test_comes_from_all_over_the_ids(self, lab: Lab, server: WeaviateStandIn) -> None:
        server.add_objects("Car", some_objects(3000))
        lab.record()
        quarters = [sum(int(found[0], 16) // 4 == quarter for _, found in lab.sampled()) for quarter in range(4)]
        assert min(quarters) >= 10

    def test_costs_no_more_where_there_is_more(self, lab: Lab, server: WeaviateStandIn) -> None:
        costs = []
        for size in (300, 3000):
            server.add_objects("Car", some_objects(size, size))
            seen = len(server.requests)
            lab.record()
            costs.append(len(server.requests) - seen)
        assert costs[0] == costs[1] < 20

    def test_has_all_named_vectors_and_searches_by_each(self, lab: Lab, server: WeaviateStandIn) -> None:
        server.add_collection("Shop", vectorConfig={name: {"vectorizer": {"none": {}}} for name in NAMED})
        server.add_objects("Shop", some_objects(40, title=3, body=5))
        result = lab.record(collections=("Shop",))
        assert (result.sampled, result.searches) == (40, 20)
        (tenant,) = lab.recorded()["Shop"].tenants
        assert {tuple(found.vectors) for found in tenant.objects} == {("body", "title")}
        assert sorted(answer.vector for answer in tenant.answers) == ["body"] * 10 + ["title"] * 10
        assert lab.differences() == []

    def test_multi_vectors_are_kept_and_not_searched(self, lab: Lab, server: WeaviateStandIn) -> None:
        server.add_objects("Car", [{"vector": [[0.5, 1.0], [0.25, 2.0]]}])
        assert (lab.record().sampled, lab.record().searches) == (1, 0)
        (tenant,) = lab.recorded()["Car"].tenants
        assert tenant.objects[0].vectors[""].wire == [[0.5, 1.0], [0.25, 2.0]]
        assert lab.differences() == []


class TestLaterRecord:
    def test_is_of_the_same_objects_even_if_others_were_written(self, lab: Lab, server: WeaviateStandIn) -> None:
        server.add_objects("Car", some_objects(80))
        lab.record()
        server.add_objects("Car", some_objects(500, 2))
        server.requests.clear()
        result = lab.record(AFTER)
        assert lab.sampled("Car", AFTER) == lab.sampled("Car", BEFORE)
        assert (result.objects, result.sampled, result.searches) == (580, 50, 10)
        assert server.sent("GET", LIST) == []
        searched = [
            [(a.object_id, a.vector) for a in lab.recorded(moment)["Car"].tenants[0].answers]
            for moment in (BEFORE, AFTER)
        ]
        assert searched[0] == searched[1]

    def test_lacks_what_was_deleted(self, lab: Lab, server: WeaviateStandIn) -> None:
        ids = server.add_objects("Car", some_objects(20))
        lab.record()
        del server.collections["Car"].objects_of("")[min(ids)]
        assert lab.record(AFTER).sampled == 19
        assert lab.sampled("Car", AFTER) == [("", object_id) for object_id in sorted(ids) if object_id != min(ids)]

    def test_takes_the_sizes_of_the_earlier(self, lab: Lab, server: WeaviateStandIn) -> None:
        server.add_objects("Car", some_objects(80))
        lab.record(sample=SampleSize(objects=7, searches=2, nearest=3))
        server.add_collection("New")
        server.add_objects("New", some_objects(80))
        result = lab.record(AFTER, sample=SampleSize())
        assert (result.sampled, result.searches) == (14, 4)

    def test_looks_anew_only_at_collections_that_were_not_there(self, lab: Lab, server: WeaviateStandIn) -> None:
        server.add_collection("Moth")
        server.add_objects("Moth", some_objects(60))
        lab.record()
        for name in ("Ant", "Fly", "Wasp"):
            server.add_collection(name)
            server.add_objects(name, some_objects(5))
        del server.collections["Car"]
        server.add_objects("Moth", some_objects(200, 2))
        lab.record(AFTER)
        found = {name: (content.count, len(lab.sampled(name, AFTER))) for name, content in lab.recorded(AFTER).items()}
        assert found == {"Ant": (5, 5), "Fly": (5, 5), "Moth": (260, 50), "Wasp": (5, 5)}
        assert lab.sampled("Moth", AFTER) == lab.sampled("Moth", BEFORE)

    def test_of_an_earlier_that_is_not_there(self, lab: Lab, server: WeaviateStandIn) -> None:
        with pytest.raises(ObjectNotFound, match=r"content-before\.jsonl\.gz"):
            lab.record(AFTER)
        assert server.sent("POST", ".*") == []


class TestRefused:
    def test_searches_are_left_out_with_a_warning(
        self, lab: Lab, server: WeaviateStandIn, caplog: pytest.LogCaptureFixture
    ) -> None:
        """To this collection no vector of any length fits all others, so that none can be searched for."""
        server.add_objects("Car", [{"vector": [1.0, 2.0]}, {"vector": [1.0, 2.0, 3.0]}])
        result = lab.record()
        assert (result.sampled, result.searches) == (2, 0)
        assert "Searches in Car" in caplog.text
        assert "vector lengths don't match" in caplog.text
        comparison = lab.compare()
        assert (comparison.differences, comparison.sampled, comparison.recall) == ([], 2, None)

    @pytest.mark.parametrize("counts_come_first", [True, False])
    def test_lack_of_a_permission_is_no_warning(
        self, lab: Lab, server: WeaviateStandIn, counts_come_first: bool
    ) -> None:
        server.add_objects("Car", some_objects(2))
        message = "rbac: authorization, forbidden action: user 'u' has insufficient permissions to read_data"
        if counts_come_first:
            server.delay_next("POST", QUERY, 0)
        server.fail_next("POST", QUERY, status=200, body={"errors": [{"message": message}]})
        with pytest.raises(Forbidden, match="read_data"):
            lab.record()
        assert len(server.sent("POST", QUERY)) == 1 + counts_come_first

    @pytest.mark.parametrize(("method", "path"), [("GET", LIST), ("POST", QUERY), ("GET", "/schema/Car")])
    def test_nothing_is_stored_of_a_server_that_breaks_off(
        self, lab: Lab, server: WeaviateStandIn, method: str, path: str
    ) -> None:
        server.add_objects("Car", some_objects(60))
        server.fail_next(method, path, status=500)
        with pytest.raises(ServerFault):
            lab.record()
        assert list(lab.store.list_objects()) == []

    @pytest.mark.parametrize(("method", "path"), [("GET", LIST), ("POST", QUERY), ("GET", "/schema/Car")])
    def test_passing_faults_are_waited_out(self, lab: Lab, server: WeaviateStandIn, method: str, path: str) -> None:
        server.add_objects("Car", some_objects(60))
        server.fail_next(method, path, status=503)
        server.drop_next(method, path)
        assert lab.record().sampled == 50
