"""What a task is given when Airflow runs it, without an Airflow that runs it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Protocol, cast

import pytest
from airflow.sdk import BaseOperator, Context
from airflow.triggers.base import BaseTrigger

from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.triggers.weaviate import WeaviateBackupTrigger, WeaviateRestoreTrigger
from tests.actions.conftest import TaskMemory
from tests.meanwhile import started_when

try:
    from airflow.sdk.exceptions import TaskDeferred
except ImportError:  # Airflow 3.1
    from airflow.exceptions import TaskDeferred  # type: ignore[no-redef]

__all__ = ["Log", "TaskRun", "Trigger", "deferred", "fire", "killed_when", "trigger_of"]

Log = Callable[[], str]
Trigger = WeaviateBackupTrigger | WeaviateRestoreTrigger


@dataclass
class TaskRun:
    """One task run; `xcoms` is what it pushed, `memory` what it keeps over its tries."""

    map_index: int | None = -1
    dag_id: str = "nightly"
    task_id: str = "backup"
    run_id: str = "manual__2026-11-22T03:00:00+00:00"
    xcoms: dict[str, Any] = field(default_factory=dict)
    memory: TaskMemory = field(default_factory=TaskMemory)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    @property
    def context(self) -> Context:
        started = datetime.now(UTC) - timedelta(minutes=1)
        fields = {"ti": self, "dag_run": SimpleNamespace(start_date=started), "task_state_store": self.memory}
        return cast("Context", fields)


class Killable(Protocol):
    def on_kill(self) -> None: ...


@contextmanager
def killed_when(ready: Callable[[], bool], operator: Killable) -> Iterator[None]:
    """Send this process SIGTERM, to be handled as Airflow's task runner does, once `ready()` is true."""
    before = signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    killer = started_when(ready, "what is to be killed", lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        yield
    finally:
        killer.join()
        signal.signal(signal.SIGTERM, before)


def trigger_of(task: Callable[[], object], method_name: str = "execute_complete") -> BaseTrigger:
    """Do what must defer; return the trigger."""
    with pytest.raises(TaskDeferred) as caught:
        task()
    assert caught.value.method_name == method_name
    trigger: BaseTrigger = caught.value.trigger
    return trigger


def deferred(operator: BaseOperator, run: TaskRun) -> Trigger:
    """Run an operator that must defer; return its trigger."""
    trigger = trigger_of(lambda: operator.execute(run.context))
    assert isinstance(trigger, Trigger)
    return trigger


def fire(trigger: Trigger) -> Outcome:
    """Run a trigger as the triggerer does, and send its only event through JSON."""

    async def events() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    (payload,) = asyncio.run(events())
    return Outcome.from_json(json.loads(json.dumps(payload)))
