"""Restores on record where another one of the same backup comes between, or the process ends at any moment."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions.memory import NoMemory
from airflow_provider_vectorbackup.actions.own_restore import finish_own_restore
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.status import OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import (
    BrokenDescriptor,
    NothingToRestore,
    OperationFailed,
    OperationLost,
    Rejected,
)
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.testing.model import StoredRestore
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.features import Version
from tests.actions.conftest import TaskMemory
from tests.actions.copies import At, Killed
from tests.actions.restore_lab import ADDRESS, ALL, RESTORE, Lab
from tests.meanwhile import started_when

WRITES = 3
"""Of the record, from the intent to the end."""


@pytest.fixture
def lab(client: WeaviateClient, weaviate_stand_in: WeaviateStandIn, tmp_path: Path) -> Lab:
    return Lab(weaviate_stand_in, client, tmp_path)


def restored_by_another(lab: Lab) -> None:
    """Let somebody else restore the same backup, since."""
    key = lab.server.key("s3", "x1", {})
    lab.server.restores[key] = StoredRestore("TRANSFERRING")
    lab.server.restores[key].status = "SUCCESS"
    for name in ALL:
        lab.server.add_collection(name)


def test_what_another_one_brought_is_not_counted(lab: Lab) -> None:
    operation = lab.begin()
    lab.server.finish("FAILED", "disk full")
    restored_by_another(lab)
    with pytest.raises(OperationLost):
        lab.finish(operation)
    assert lab.ledger is not None
    assert lab.ledger["arrived"] == []
    assert lab.roll_back()["collections"] == []
    assert set(lab.server.collections) == set(ALL)


def test_what_another_one_brought_after_a_kill_is_not_deleted(lab: Lab) -> None:
    lab.begin()
    lab.server.finish("FAILED", "disk full")
    restored_by_another(lab)
    assert lab.roll_back() == {"backup_id": "x1", "collections": [], "aliases": [], "kept": [*ALL]}
    assert set(lab.server.collections) == set(ALL)


def test_another_one_that_runs_is_not_canceled(lab: Lab) -> None:
    lab.begin()
    lab.server.finish("FAILED", "disk full")
    lab.server.running_polls = None
    lab.client.send(calls.restore_backup(calls.RestoreRequest(ADDRESS, include=ALL), Version(1, 39, 2)))
    lab.roll_back()
    assert lab.server.sent("DELETE", RESTORE) == []


def test_server_that_can_not_cancel_is_waited_for(lab: Lab) -> None:
    lab.server.version, lab.server.running_polls = "1.35.0", None
    lab.begin()
    asked = len(lab.server.sent("GET", RESTORE))
    ending = started_when(
        lambda: len(lab.server.sent("GET", RESTORE)) > asked + 1, "a look at the restore", lab.server.finish
    )
    assert lab.roll_back()["collections"] == [*ALL]
    ending.join()
    assert lab.server.sent("DELETE", RESTORE) == []


def test_schema_that_can_not_be_read_hides_no_failure(lab: Lab) -> None:
    operation = lab.begin()
    lab.server.finish("FAILED", "disk full")
    lab.server.fail_next("GET", "/schema", status=500, times=100)
    seen = OperationStatus(OperationKind.RESTORE, Status.FAILED, "disk full")
    with pytest.raises(OperationFailed, match="disk full"):
        finish_own_restore(lab.client, Outcome(operation, seen), lab.own())


def test_refused_restore_keeps_nobody_else_from_restoring(lab: Lab) -> None:
    lab.server.fail_next("POST", RESTORE, status=422)
    with pytest.raises(Rejected):
        lab.begin()
    assert lab.begin(NoMemory(), owner="another").collections == ALL


def test_record_of_another_shape_is_told(lab: Lab) -> None:
    lab.restore()
    assert lab.ledger is not None
    lab.storage.put(lab.key, json.dumps(lab.ledger | {"remembered": 5}).encode())
    with pytest.raises(BrokenDescriptor, match="can't be read"):
        lab.roll_back()
    assert set(lab.server.collections) == set(ALL)


@pytest.mark.parametrize("memory", [TaskMemory, NoMemory])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, WRITES + 1))
@pytest.mark.parametrize("is_tried_again", [True, False])
def test_process_that_ends_at_any_write(
    lab: Lab, number: int, when: str, memory: type[TaskMemory | NoMemory], *, is_tried_again: bool
) -> None:
    """The next try restores what is missing, once; and a roll-back deletes all, whenever the process ended."""
    kept, moment = memory(), At(number, once=True)
    setattr(lab.storage, when, moment)
    with pytest.raises(Killed):
        whole(lab, kept)
    assert moment.was_reached
    lab.server.finish()
    setattr(lab.storage, when, lambda _: None)
    if is_tried_again:
        with suppress(NothingToRestore):
            whole(lab, kept)
        assert set(lab.server.collections) == set(ALL)
    assert len(lab.asked) <= 1
    lab.roll_back()
    assert lab.server.collections == {}


def whole(lab: Lab, memory: TaskMemory | NoMemory) -> None:
    operation = lab.begin(memory)
    lab.server.finish()
    lab.finish(operation, memory)
