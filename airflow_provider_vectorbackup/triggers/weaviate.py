"""Triggers: wait for a backup or a restore on the triggerer. They poll; they never move bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_vectorbackup.actions.waiting import wait_async
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.polling import Watch
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.exceptions import VectorBackupError
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook


class _OperationTrigger(BaseTrigger):
    """Waits until an operation has ended, and fires once.

    The event's payload is ``Outcome.to_json()``: the operation, and its final status or the error that ended the wait.

    :param weaviate_conn_id: the connection; secrets are read from it, never passed.
    :param operation: ``Operation.to_json()``.
    :param since: when the wait began, in seconds since the epoch.
    :param deadline: when to give up, in seconds since the epoch; absolute, so that a restart changes nothing.
    :param poll_interval: the longest time between two polls, in seconds.
    :param wait_for_existence: whether an operation that is not there is waited for.
    """

    kind: ClassVar[OperationKind]

    def __init__(
        self,
        *,
        weaviate_conn_id: str,
        operation: Mapping[str, Any],
        since: float,
        deadline: float,
        poll_interval: float,
        wait_for_existence: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.weaviate_conn_id = weaviate_conn_id
        self.operation = dict(operation)
        self.since = since
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.wait_for_existence = wait_for_existence

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that rebuild this trigger."""
        names = ("weaviate_conn_id", "operation", "since", "deadline", "poll_interval", "wait_for_existence")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the end and fire."""
        operation = Operation.from_json(self.operation)
        watch = Watch(
            self.kind,
            operation.address,
            since=self.since,
            deadline=self.deadline,
            poll_interval=self.poll_interval,
            wait_for_existence=self.wait_for_existence,
        )
        try:
            async with await WeaviateBackupHook(self.weaviate_conn_id).open_async_client() as client:
                outcome = Outcome(operation, await wait_async(client, watch, self.log.info))
        except VectorBackupError as error:
            outcome = Outcome(operation, error=error)
        yield TriggerEvent(outcome.to_json())  # type: ignore[no-untyped-call]  # Airflow's


class WeaviateBackupTrigger(_OperationTrigger):
    """Waits until a backup has ended."""

    kind = OperationKind.BACKUP


class WeaviateRestoreTrigger(_OperationTrigger):
    """Waits until a restore has ended."""

    kind = OperationKind.RESTORE
