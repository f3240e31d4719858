"""Tasks that find the server busy: it does one backup and one restore at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.exceptions import OperationInProgress
from airflow_provider_vectorbackup.operators import WeaviateCreateBackupOperator
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.triggers.weaviate import WeaviateSlotTrigger
from tests.meanwhile import started_when
from tests.operators.contexts import Log, TaskRun, Trigger, fire, trigger_of

CREATE = "/backups/s3"


def create(backup_id: str = "x1", **fields: Any) -> WeaviateCreateBackupOperator:
    return WeaviateCreateBackupOperator(task_id="backup", backup_id=backup_id, poll_interval=0.01, **fields)


@pytest.fixture
def busy(server: WeaviateStandIn) -> WeaviateStandIn:
    server.running_polls = None
    create("other", wait_for_completion=False).execute(TaskRun().context)
    server.running_polls = 1
    return server


def slot_trigger(task: Callable[[], object]) -> WeaviateSlotTrigger:
    trigger = trigger_of(task, "execute_again")
    assert isinstance(trigger, WeaviateSlotTrigger)
    return trigger


def test_waits_on_the_worker(busy: WeaviateStandIn, run: TaskRun, log: Log) -> None:
    ending = started_when(lambda: len(busy.sent("GET", "/backups/s3/other")) > 2, "looks at the other", busy.finish)
    result = create().execute(run.context)
    ending.join()
    assert (result["backup_id"], result["status"], result["attempts"]) == ("x1", "SUCCESS", 1)
    assert log().count("The server is busy with another backup 'other'; waiting until it has ended.") == 1


def test_waits_on_the_triggerer(busy: WeaviateStandIn, run: TaskRun) -> None:
    operator = create(deferrable=True)
    trigger = slot_trigger(lambda: operator.execute(run.context))
    path, fields = trigger.serialize()
    assert path.endswith(".WeaviateSlotTrigger")
    busy.finish()

    async def events() -> list[Any]:
        rebuilt = WeaviateSlotTrigger(**json.loads(json.dumps(fields)))
        return [event.payload async for event in rebuilt.run()]

    (event,) = asyncio.run(events())
    following = trigger_of(lambda: operator.execute_again(run.context, event))
    result = operator.execute_complete(run.context, fire(cast("Trigger", following)).to_json())
    assert (result["backup_id"], result["status"]) == ("x1", "SUCCESS")


def test_one_deadline_for_all_rounds(busy: WeaviateStandIn, run: TaskRun) -> None:
    operator = create(deferrable=True, slot_timeout=100)
    first = slot_trigger(lambda: operator.execute(run.context)).slot
    second = slot_trigger(lambda: operator.execute_again(run.context, first)).slot
    assert (second["deadline"], second["rounds"]) == (first["deadline"], 2)


@pytest.mark.parametrize("deferrable", [False, True])
def test_not_at_all(busy: WeaviateStandIn, run: TaskRun, *, deferrable: bool) -> None:
    with pytest.raises(OperationInProgress, match="backup other already in progress"):
        create(slot_timeout=0, deferrable=deferrable).execute(run.context)
    assert len(busy.sent("POST", CREATE)) == 2


def test_not_for_ever(busy: WeaviateStandIn, run: TaskRun) -> None:
    with pytest.raises(OperationInProgress, match=r"backup other already in progress.*waited for 0 s \(slot_timeout\)"):
        create(slot_timeout=0.3).execute(run.context)


def test_negative_time(run: TaskRun, server: WeaviateStandIn) -> None:
    with pytest.raises(AirflowFailException, match="slot_timeout is -1"):
        create(slot_timeout=-1).execute(run.context)
    assert server.requests == []


def test_tenants_are_not_left_active_meanwhile(busy: WeaviateStandIn, run: TaskRun) -> None:
    busy.version = "1.36.0"
    busy.add_collection("Shop", {"a": "COLD"})
    slot_trigger(lambda: create(deferrable=True, inactive_tenants="activate").execute(run.context))
    assert busy.collections["Shop"].tenants == {"a": "COLD"}
