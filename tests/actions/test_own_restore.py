"""A restore that is kept on record; how it is taken back is in test_roll_back.py."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.memory import Memory, NoMemory
from airflow_provider_vectorbackup.actions.obstacles import IfCollectionExists
from airflow_provider_vectorbackup.exceptions import (
    BrokenDescriptor,
    InvalidRequest,
    NothingToRestore,
    OperationCanceled,
    OperationFailed,
    OperationTimedOut,
    PreflightFailed,
    Rejected,
    ServerFault,
    Unreachable,
)
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.conftest import TaskMemory
from tests.actions.copies import At, Killed
from tests.actions.restore_lab import ALL, LOCATION, OWNER, RESTORE, KilledMemory, Lab


@pytest.fixture
def lab(client: WeaviateClient, weaviate_stand_in: WeaviateStandIn, tmp_path: Path) -> Lab:
    return Lab(weaviate_stand_in, client, tmp_path)


@pytest.fixture(params=["3.3", "3.1"])
def memory(request: pytest.FixtureRequest) -> Memory:
    """Airflow below 3.3 remembers nothing of a task's earlier tries; the record does."""
    return TaskMemory() if request.param == "3.3" else NoMemory()


class TestRecord:
    def test_is_written_before_the_restore_is_begun(self, lab: Lab) -> None:
        posts: list[int] = []
        lab.storage.after = lambda call: posts.append(len(lab.asked)) if call.name == "write" else None
        lab.server.aliases["Mine"] = "Other"
        lab.server.drop_next("POST", RESTORE)
        with pytest.raises(Unreachable):
            lab.begin()
        assert posts[0] == 0
        ledger = lab.ledger
        assert ledger is not None
        assert (ledger["owner"], ledger["cluster"]) == (OWNER, lab.server.url)
        assert (ledger["asked"], ledger["arrived"], ledger["aliases_before"]) == ([*ALL], [], ["Mine"])

    def test_of_a_restore_that_ended_well(self, lab: Lab) -> None:
        result = lab.restore()
        assert (result["status"], result["collections"]) == ("SUCCESS", [*ALL])
        ledger = lab.ledger
        assert ledger is not None
        assert (ledger["asked"], ledger["arrived"], ledger["remembered"]) == ([*ALL], [*ALL], None)

    def test_lies_beside_the_backup(self, lab: Lab) -> None:
        lab.restore()
        assert list(lab.storage.contents()) == [lab.key]
        assert set(lab.opened) == {LOCATION}

    def test_lies_where_the_server_is_told_to_read(self, lab: Lab) -> None:
        lab.server.add_backup("x1", ALL, path="team/a")
        lab.begin(path="team/a", include=ALL)
        assert {str(location) for location in lab.opened} == {f"{LOCATION}/team/a"}

    def test_is_none_of_a_restore_that_was_never_sent(self, lab: Lab) -> None:
        lab.server.add_collection("Author")
        with pytest.raises(PreflightFailed, match="In the way of the restore: collection Author"):
            lab.begin()
        assert lab.ledger is None

    def test_needs_a_location(self, lab: Lab) -> None:
        with pytest.raises(InvalidRequest, match="what is restored can't be kept on record"):
            lab.begin(location=None)
        assert lab.asked == []

    def test_that_can_not_be_read_stops_it(self, lab: Lab) -> None:
        lab.storage.put(lab.key, b"{")
        with pytest.raises(BrokenDescriptor, match=f"{lab.key} can't be read"):
            lab.begin()
        assert lab.asked == []

    def test_of_another_owner_stops_it(self, lab: Lab) -> None:
        lab.restore()
        lab.server.collections.clear()
        with pytest.raises(PreflightFailed, match=f"restored into this cluster already, by {OWNER}") as caught:
            lab.begin(owner="Dag other, run 7, restore")
        assert caught.value.hint == "Roll that back first."
        assert len(lab.asked) == 1
        lab.roll_back()
        assert lab.begin(NoMemory(), owner="Dag other, run 7, restore").collections == ALL

    def test_of_another_cluster_does_not(self, lab: Lab) -> None:
        lab.restore()
        lab.server.collections.clear()
        content = lab.storage.contents()[lab.key]
        lab.storage.delete([lab.key])
        lab.storage.put(lab.key.replace("restored-", "restored-0"), content)
        assert lab.begin(NoMemory(), owner="another").collections == ALL


class TestResult:
    def test_tells_how_long_it_took(self, lab: Lab) -> None:
        operation = lab.begin()
        lab.server.finish()
        began = time.time() - 90
        assert lab.finish(replace(operation, since=began))["seconds"] == pytest.approx(90, abs=10)

    def test_of_a_failure_is_an_error_as_ever(self, lab: Lab) -> None:
        operation = lab.begin()
        lab.server.finish("FAILED", "disk full")
        with pytest.raises(OperationFailed, match=r"disk full.*Not arrived: Article, Author, Product"):
            lab.finish(operation)


class TestAnotherTry:
    def test_after_success_has_nothing_to_do(self, lab: Lab, memory: Memory) -> None:
        operation = lab.begin(memory)
        lab.server.finish()
        lab.finish(operation, memory)
        with pytest.raises(NothingToRestore, match="All collections of 'x1' have arrived already"):
            lab.begin(memory)
        assert len(lab.asked) == 1

    def test_brings_back_what_was_deleted_since(self, lab: Lab) -> None:
        lab.restore()
        del lab.server.collections["Author"]
        lab.restore()
        assert lab.asked == [[*ALL], ["Author"]]
        assert set(lab.server.collections) == set(ALL)

    def test_attaches_to_the_running_one(self, lab: Lab, memory: Memory) -> None:
        lab.server.running_polls = None
        first = lab.begin(memory)
        again = lab.begin(memory)
        assert replace(again, attached_at=None) == first
        assert again.attached_at is not None
        assert len(lab.asked) == 1

    def test_takes_over_a_success_that_nobody_saw(self, lab: Lab, memory: Memory) -> None:
        """The collections that are there are its own work, and not in its way."""
        first = lab.begin(memory)
        lab.server.finish()
        again = lab.begin(memory)
        assert again == first
        assert lab.finish(again, memory)["status"] == "SUCCESS"
        assert len(lab.asked) == 1

    def test_waits_on_after_a_time_out(self, lab: Lab, memory: Memory) -> None:
        lab.server.running_polls = None
        first = lab.begin(memory)
        with pytest.raises(OperationTimedOut):
            lab.finish(first, memory, OperationTimedOut("It did not end."))
        again = lab.begin(memory)
        assert again.deadline > time.time() + 3600
        assert len(lab.asked) == 1

    def test_restores_what_a_failed_one_has_not_brought(self, lab: Lab, memory: Memory) -> None:
        operation = lab.begin(memory)
        lab.server.finish("FAILED", "disk full")
        lab.server.add_collection("Article")
        with pytest.raises(OperationFailed, match="Arrived: Article"):
            lab.finish(operation, memory)
        again = lab.begin(memory)
        assert again.collections == ("Author", "Product")
        lab.server.finish()
        assert lab.finish(again, memory)["collections"] == ["Author", "Product"]
        assert lab.asked == [[*ALL], ["Author", "Product"]]
        ledger = lab.ledger
        assert ledger is not None
        assert ledger["arrived"] == [*ALL]

    @pytest.mark.parametrize(("status", "error"), [("FAILED", "disk full"), ("CANCELED", "restore canceled by user")])
    def test_restores_the_rest_where_the_end_was_not_seen(
        self, lab: Lab, memory: Memory, status: str, error: str
    ) -> None:
        """The task was killed before the restore ended."""
        lab.begin(memory)
        lab.server.finish(status, error)
        lab.server.add_collection("Product")
        lab.begin(memory)
        assert lab.asked == [[*ALL], ["Article", "Author"]]

    def test_goes_on_until_all_is_there(self, lab: Lab) -> None:
        for name in ("Product", "Article"):
            operation = lab.begin()
            lab.server.finish("FAILED", "disk full")
            lab.server.add_collection(name)
            with pytest.raises(OperationFailed):
                lab.finish(operation)
        assert lab.restore()["collections"] == ["Author"]
        assert lab.asked == [[*ALL], ["Article", "Author"], ["Author"]]

    def test_after_a_refused_one_starts_anew(self, lab: Lab, memory: Memory) -> None:
        lab.server.fail_next("POST", RESTORE, status=422)
        with pytest.raises(Rejected):
            lab.begin(memory)
        assert lab.begin(memory).collections == ALL
        assert lab.asked == [[*ALL], [*ALL]]

    @pytest.mark.parametrize("earlier", [None, "SUCCESS", "FAILED"])
    def test_after_one_that_was_killed_before_it_sent_anything(self, lab: Lab, earlier: str | None) -> None:
        """A collection that somebody has made since is in the way, and not what that restore has brought."""
        if earlier:
            lab.server.add_restore("x1", earlier, error="disk full")
        with pytest.raises(Killed):
            lab.begin(KilledMemory())
        assert lab.asked == []
        lab.server.add_collection("Author")
        with pytest.raises(PreflightFailed, match="In the way of the restore: collection Author"):
            lab.begin()
        del lab.server.collections["Author"]
        assert lab.begin().collections == ALL

    def test_finds_one_whose_start_nobody_saw(self, lab: Lab, memory: Memory) -> None:
        lab.server.fail_next("POST", RESTORE, status=500, handled=True)
        lab.server.fail_next("GET", RESTORE, status=404)  # before
        lab.server.fail_next("GET", RESTORE, status=500, times=4)  # and when it wants to know
        with pytest.raises(ServerFault):
            lab.begin(memory)
        lab.server.clear_faults()
        assert lab.begin(memory).collections == ALL
        assert len(lab.asked) == 1


class TestSomebodyElsesCollection:
    """Made while the restore ran."""

    @pytest.fixture(autouse=True)
    def failed(self, lab: Lab) -> None:
        operation = lab.begin()
        lab.server.add_collection("Author")
        lab.server.finish()
        with pytest.raises(OperationFailed, match="class name Author already exists") as caught:
            lab.finish(operation)
        assert "Arrived: Article, Product. Not arrived: Author." in caught.value.message

    def test_did_not_arrive(self, lab: Lab) -> None:
        ledger = lab.ledger
        assert ledger is not None
        assert (ledger["asked"], ledger["arrived"]) == ([*ALL], ["Article", "Product"])

    def test_is_in_the_way_of_the_next_try(self, lab: Lab) -> None:
        with pytest.raises(PreflightFailed, match=r"In the way of the restore: collection Author\."):
            lab.begin()
        assert len(lab.asked) == 1

    def test_may_be_left_out(self, lab: Lab) -> None:
        with pytest.raises(NothingToRestore):
            lab.begin(if_collection_exists=IfCollectionExists.SKIP)

    def test_makes_room_when_it_is_deleted(self, lab: Lab) -> None:
        del lab.server.collections["Author"]
        assert lab.restore()["collections"] == ["Author"]


def test_canceled_restore_is_kept_on_record_too(lab: Lab) -> None:
    operation = lab.begin()
    lab.server.finish("CANCELED", "restore canceled by user")
    lab.server.add_collection("Article")
    with pytest.raises(OperationCanceled, match="Arrived: Article"):
        lab.finish(operation)
    ledger = lab.ledger
    assert ledger is not None
    assert (ledger["arrived"], ledger["remembered"]) == (["Article"], None)


KILLS = [(1, "before"), (1, "after"), (2, "before"), (2, "after"), (3, "before"), (3, "after")]
"""Where a process ends: at which write of the record, and on which side of it."""


@pytest.mark.parametrize(("number", "side"), KILLS)
class TestKilled:
    @pytest.fixture(autouse=True)
    def killed(self, lab: Lab, memory: Memory, number: int, side: str) -> None:
        """The process ends; the server does not."""
        setattr(lab.storage, side, At(number, once=True))
        with pytest.raises(Killed):
            self.restored(lab, memory)
        setattr(lab.storage, side, lambda _: None)
        lab.server.finish()

    def restored(self, lab: Lab, memory: Memory) -> dict[str, Any]:
        operation = lab.begin(memory)
        lab.server.finish()
        return lab.finish(operation, memory)

    def test_next_try_ends_well(self, lab: Lab, memory: Memory) -> None:
        assert self.restored(lab, memory)["collections"] == [*ALL]
        assert set(lab.server.collections) == set(ALL)
        assert len(lab.asked) == 1
        with pytest.raises(NothingToRestore):
            lab.begin(memory)

    def test_roll_back_leaves_nothing(self, lab: Lab) -> None:
        lab.roll_back()
        assert lab.server.collections == {}
        assert lab.storage.contents() == {}
