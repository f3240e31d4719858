"""Triggers: wait for a backup or a restore on the triggerer. They poll; they never move bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_vectorbackup.actions.cancel import KILL_SECONDS, cancel_killed_async
from airflow_provider_vectorbackup.actions.slot import wait_for_slot_async
from airflow_provider_vectorbackup.actions.tenants import put_back
from airflow_provider_vectorbackup.actions.waiting import wait_async
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.polling import watch_of
from airflow_provider_vectorbackup.backups.slot import SlotWait
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.exceptions import VectorBackupError
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook


class _Trigger(BaseTrigger):
    """A trigger that is rebuilt from the attributes that ``arguments`` names."""

    arguments: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that rebuild this trigger."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {n: getattr(self, n) for n in self.arguments}


class _OperationTrigger(_Trigger):
    """Waits until an operation has ended, and fires once.

    The event's payload is ``Outcome.to_json()``: the operation, and its final status or the error that ended the wait.

    :param weaviate_conn_id: the connection; secrets are read from it, never passed.
    :param operation: ``Operation.to_json()``, with the wait's absolute deadline: a restart changes nothing.
    :param poll_interval: the longest time between two polls, in seconds.
    :param wait_for_existence: whether an operation that is not there is waited for.
    :param cancel_on_kill: whether the operation is canceled when somebody marks or clears the task (Airflow 3.3).
    """

    kind: ClassVar[OperationKind]
    arguments = ("weaviate_conn_id", "operation", "poll_interval", "wait_for_existence", "cancel_on_kill")

    def __init__(
        self,
        *,
        weaviate_conn_id: str,
        operation: Mapping[str, Any],
        poll_interval: float,
        wait_for_existence: bool = False,
        cancel_on_kill: bool = False,
    ) -> None:
        super().__init__()
        self.weaviate_conn_id = weaviate_conn_id
        self.operation = dict(operation)
        self.poll_interval = poll_interval
        self.wait_for_existence = wait_for_existence
        self.cancel_on_kill = cancel_on_kill

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the end and fire."""
        operation = Operation.from_json(self.operation)
        watch = watch_of(operation, self.poll_interval, wait_for_existence=self.wait_for_existence)
        try:
            async with WeaviateBackupHook(self.weaviate_conn_id).shared_client() as client:
                outcome = Outcome(operation, await wait_async(client, watch, self.log.info))
        except VectorBackupError as error:
            outcome = Outcome(operation, error=error)
        yield TriggerEvent(outcome.to_json())  # type: ignore[no-untyped-call]  # Airflow's

    async def on_kill(self) -> None:
        """Cancel the operation and say what became of it: somebody marked or cleared the task."""
        if self.cancel_on_kill:
            await _carried_through(asyncio.create_task(self._cancel()))

    async def _cancel(self) -> None:
        hook, operation = WeaviateBackupHook(self.weaviate_conn_id), Operation.from_json(self.operation)
        try:
            async with hook.shared_client() as client:
                await cancel_killed_async(client, operation, self.log.warning)
            await asyncio.to_thread(_put_back, hook, operation)
        except VectorBackupError as error:
            self.log.warning("%s could not be canceled: %s", operation.name, error)


_cancellations: set[asyncio.Task[None]] = set()


async def _carried_through(cancellation: asyncio.Task[None]) -> None:
    """Wait for a cancellation to end, which nothing on the way here ends early.

    Airflow's triggerer (3.3) cancels ``on_kill`` itself, again at each of its rounds, a second apart.
    """
    _cancellations.add(cancellation)
    cancellation.add_done_callback(_cancellations.discard)
    deadline = time.monotonic() + KILL_SECONDS
    while not cancellation.done():
        try:
            await asyncio.shield(cancellation)
        except asyncio.CancelledError:
            if cancellation.done() or time.monotonic() > deadline:
                raise


def _put_back(hook: WeaviateBackupHook, operation: Operation) -> None:
    """Give tenants that were made active for a backup the activity they had."""
    if operation.reactivated:
        with hook.open_client() as client:
            put_back(client, operation.reactivated)


class WeaviateBackupTrigger(_OperationTrigger):
    """Waits until a backup has ended."""

    kind = OperationKind.BACKUP


class WeaviateRestoreTrigger(_OperationTrigger):
    """Waits until a restore has ended."""

    kind = OperationKind.RESTORE


class WeaviateSlotTrigger(_Trigger):
    """Waits until the server may have done with another operation, and fires once, with the wait's state.

    :param weaviate_conn_id: the connection.
    :param slot: ``SlotWait.to_json()``.
    """

    arguments = ("weaviate_conn_id", "slot")

    def __init__(self, *, weaviate_conn_id: str, slot: Mapping[str, Any]) -> None:
        super().__init__()
        self.weaviate_conn_id = weaviate_conn_id
        self.slot = dict(slot)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait and fire; what is wrong with the connection shows when the task tries again."""
        try:
            async with WeaviateBackupHook(self.weaviate_conn_id).shared_client() as client:
                await wait_for_slot_async(client, SlotWait.from_json(self.slot))
        except VectorBackupError as error:
            self.log.warning("The wait for the server's slot broke off: %s", error)
        yield TriggerEvent(self.slot)  # type: ignore[no-untyped-call]  # Airflow's
