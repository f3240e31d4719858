"""What a roll-back deletes: what restores have brought, and nothing that somebody else has made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.memory import NoMemory
from airflow_provider_vectorbackup.exceptions import (
    BrokenDescriptor,
    OperationFailed,
    Rejected,
    ServerFault,
    ServerNotReady,
)
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.conftest import TaskMemory
from tests.actions.copies import Killed
from tests.actions.restore_lab import ALL, RESTORE, KilledMemory, Lab

NOTHING: dict[str, Any] = {"backup_id": "x1", "collections": [], "aliases": [], "kept": []}


@pytest.fixture
def lab(client: WeaviateClient, weaviate_stand_in: WeaviateStandIn, tmp_path: Path) -> Lab:
    """With a collection and an alias that were there before."""
    found = Lab(weaviate_stand_in, client, tmp_path)
    weaviate_stand_in.add_collection("Other")
    weaviate_stand_in.aliases["Mine"] = "Other"
    return found


def assert_as_before(lab: Lab, *others: str) -> None:
    """Nothing is left of the restore, on record neither, and nothing else is gone."""
    assert set(lab.server.collections) == {"Other", *others}
    assert lab.server.aliases == {"Mine": "Other"}
    assert lab.storage.contents() == {}


def test_of_a_whole_restore(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.restore()
    assert lab.roll_back() == NOTHING | {"collections": [*ALL]}
    assert_as_before(lab)
    for name in ALL:
        assert f"Deleting collection {name}, which the restore of 'x1' has brought." in caplog.text


def test_second_one_does_nothing(lab: Lab) -> None:
    lab.restore()
    lab.roll_back()
    for name in ALL:
        lab.server.add_collection(name)
    lab.server.requests.clear()
    assert lab.roll_back() == NOTHING
    assert lab.server.requests == []
    assert_as_before(lab, *ALL)


def test_where_nothing_was_ever_restored(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    lab.server.add_collection("Article")
    assert lab.roll_back() == NOTHING
    assert_as_before(lab, "Article")
    assert "No restore of 'x1' into this cluster is on record: nothing is deleted." in caplog.text


def test_of_some_collections(lab: Lab) -> None:
    """One of the backup that was not restored is somebody's own."""
    lab.server.add_collection("Product")
    lab.restore(include=("A*",))
    assert lab.roll_back() == NOTHING | {"collections": ["Article", "Author"]}
    assert_as_before(lab, "Product")


def test_of_what_is_there_still(lab: Lab) -> None:
    lab.restore()
    del lab.server.collections["Author"]
    assert lab.roll_back()["collections"] == ["Article", "Product"]
    assert lab.deleted == ["/schema/Article", "/schema/Product"]
    assert_as_before(lab)


def test_of_a_failed_restore(lab: Lab) -> None:
    operation = lab.begin()
    lab.server.finish("FAILED", "disk full")
    lab.server.add_collection("Article")
    with pytest.raises(OperationFailed):
        lab.finish(operation)
    assert lab.roll_back() == NOTHING | {"collections": ["Article"]}
    assert_as_before(lab)


def test_of_several_tries(lab: Lab) -> None:
    operation = lab.begin()
    lab.server.finish("FAILED", "disk full")
    lab.server.add_collection("Product")
    with pytest.raises(OperationFailed):
        lab.finish(operation)
    lab.restore()
    assert lab.roll_back()["collections"] == [*ALL]
    assert_as_before(lab)


def test_makes_room_for_another_restore(lab: Lab) -> None:
    lab.restore()
    lab.roll_back()
    assert lab.restore()["collections"] == [*ALL]


class TestSomebodyElsesCollection:
    """Of a name that a restore was to bring."""

    def test_made_while_the_restore_ran(self, lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
        operation = lab.begin()
        lab.server.add_collection("Author")
        lab.server.finish()
        with pytest.raises(OperationFailed, match="class name Author already exists"):
            lab.finish(operation)
        assert lab.roll_back() == NOTHING | {"collections": ["Article", "Product"], "kept": ["Author"]}
        assert_as_before(lab, "Author")
        assert "Left alone, as somebody else has made them: Author" in caplog.text

    def test_made_while_a_restore_ran_whose_end_nobody_saw(self, lab: Lab) -> None:
        lab.begin(NoMemory())
        lab.server.add_collection("Author")
        lab.server.finish()
        assert lab.roll_back() == NOTHING | {"collections": ["Article", "Product"], "kept": ["Author"]}
        assert_as_before(lab, "Author")

    def test_made_after_a_failed_restore(self, lab: Lab) -> None:
        operation = lab.begin()
        lab.server.finish("FAILED", "disk full")
        with pytest.raises(OperationFailed):
            lab.finish(operation)
        lab.server.add_collection("Author")
        assert lab.roll_back() == NOTHING | {"kept": ["Author"]}
        assert_as_before(lab, "Author")

    def test_made_after_a_refused_request(self, lab: Lab) -> None:
        lab.server.fail_next("POST", RESTORE, status=422)
        with pytest.raises(Rejected):
            lab.begin()
        lab.server.add_collection("Author")
        assert lab.roll_back() == NOTHING
        assert_as_before(lab, "Author")

    @pytest.mark.parametrize("earlier", [None, "SUCCESS", "FAILED", "CANCELED"])
    def test_made_after_a_restore_that_was_killed_before_it_sent_anything(self, lab: Lab, earlier: str | None) -> None:
        if earlier:
            lab.server.add_restore("x1", earlier, error="disk full")
        with pytest.raises(Killed):
            lab.begin(KilledMemory())
        lab.server.add_collection("Author")
        assert lab.roll_back() == NOTHING | {"kept": ["Author"]}
        assert (lab.asked, lab.deleted) == ([], [])
        assert_as_before(lab, "Author")


class TestRunningRestore:
    def test_is_canceled_first(self, lab: Lab) -> None:
        lab.server.running_polls = None
        lab.begin()
        assert lab.roll_back() == NOTHING
        assert len(lab.server.sent("DELETE", RESTORE)) == 1
        assert lab.server.restores[lab.server.key("s3", "x1", {})].status == "CANCELED"
        assert_as_before(lab)

    def test_brings_nothing_after_that(self, lab: Lab) -> None:
        """A cancellation that comes too late shows CANCELED first, and SUCCESS a moment later."""
        lab.server.running_polls, lab.server.cancels_too_late = None, True
        lab.begin()
        assert lab.roll_back()["collections"] == [*ALL]
        assert_as_before(lab)

    def test_that_can_not_be_canceled_any_more_is_waited_for(self, lab: Lab) -> None:
        lab.server.running_polls = 2
        lab.begin()
        assert lab.roll_back()["collections"] == [*ALL]
        assert len(lab.server.sent("DELETE", RESTORE)) == 1
        assert_as_before(lab)

    def test_whose_start_nobody_saw(self, lab: Lab) -> None:
        lab.server.running_polls = None
        lab.server.fail_next("POST", RESTORE, status=500, handled=True)
        lab.server.fail_next("GET", RESTORE, status=404)  # before
        lab.server.fail_next("GET", RESTORE, status=500, times=4)  # and when it wants to know
        with pytest.raises(ServerFault):
            lab.begin(TaskMemory())
        lab.server.clear_faults()
        lab.server.finish()
        assert set(lab.server.collections) == {"Other", *ALL}
        assert lab.roll_back()["collections"] == [*ALL]
        assert_as_before(lab)


class TestAliases:
    @pytest.fixture(autouse=True)
    def aliases(self, lab: Lab) -> None:
        """The backup has one that is new, and one that is there."""
        lab.server.backup("x1").aliases |= {"Story": "Article", "Mine": "Author"}

    def test_that_came_are_deleted(self, lab: Lab) -> None:
        lab.restore()
        assert lab.server.aliases == {"Mine": "Other", "Story": "Article"}
        assert lab.roll_back() == NOTHING | {"collections": [*ALL], "aliases": ["Story"]}
        assert_as_before(lab)

    def test_that_were_there_before_stay(self, lab: Lab) -> None:
        """Also where the restore pointed them to what it brought."""
        lab.restore(overwrite_alias=True)
        assert lab.server.aliases == {"Mine": "Author", "Story": "Article"}
        assert lab.roll_back()["aliases"] == ["Story"]
        assert set(lab.server.aliases) == {"Mine"}

    def test_that_came_with_an_earlier_try_are_deleted(self, lab: Lab) -> None:
        operation = lab.begin()
        lab.server.finish("FAILED", "disk full")
        lab.server.add_collection("Article")
        lab.server.aliases["Story"] = "Article"
        with pytest.raises(OperationFailed):
            lab.finish(operation)
        lab.restore()
        assert lab.roll_back()["aliases"] == ["Story"]
        assert_as_before(lab)

    def test_of_somebody_elses_collection_stay(self, lab: Lab) -> None:
        lab.restore()
        lab.server.aliases["Theirs"] = "Other"
        assert lab.roll_back()["aliases"] == ["Story"]
        assert lab.server.aliases == {"Mine": "Other", "Theirs": "Other"}

    def test_old_server_is_not_asked_for_them(self, lab: Lab) -> None:
        lab.server.version = "1.31.9"
        lab.restore()
        assert lab.roll_back() == NOTHING | {"collections": [*ALL]}
        assert lab.server.sent("GET", "/aliases") == []


class TestInterrupted:
    def test_by_a_fault_goes_on_where_it_was(self, lab: Lab) -> None:
        lab.server.backup("x1").aliases["Story"] = "Article"
        lab.restore()
        lab.server.fail_next("DELETE", "/schema/Author", status=500)
        with pytest.raises(ServerFault):
            lab.roll_back()
        assert set(lab.server.collections) == {"Other", "Author", "Product"}
        assert lab.roll_back()["collections"] == ["Author", "Product"]
        assert_as_before(lab)

    def test_by_a_node_that_is_not_healthy_deletes_nothing(self, lab: Lab) -> None:
        lab.restore()
        lab.server.nodes["node1"] = "UNHEALTHY"
        with pytest.raises(ServerNotReady):
            lab.roll_back()
        assert lab.deleted == []
        lab.server.nodes["node1"] = "HEALTHY"
        assert lab.roll_back()["collections"] == [*ALL]

    def test_by_a_record_that_can_not_be_read_deletes_nothing(self, lab: Lab) -> None:
        lab.restore()
        lab.storage.put(lab.key, b"{")
        with pytest.raises(BrokenDescriptor, match=f"{lab.key} can't be read"):
            lab.roll_back()
        assert lab.deleted == []
