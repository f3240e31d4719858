"""What the operators that start something on the server share: begin, wait or defer, and one way to end."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.sdk import BaseOperator

from airflow_provider_vectorbackup.actions.memory import FollowedOperation, Memory
from airflow_provider_vectorbackup.backups.ids import default_id, require_legal_id
from airflow_provider_vectorbackup.backups.operation import DAY_SECONDS, Operation, summary_of
from airflow_provider_vectorbackup.backups.slot import SlotWait
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind
from airflow_provider_vectorbackup.compat import memory_of, triggers_have_on_kill
from airflow_provider_vectorbackup.exceptions import OperationInProgress, VectorBackupError
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.errors import airflow_errors
from airflow_provider_vectorbackup.operators.killing import CancelsWhenKilled

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vectorbackup.backups.outcome import Outcome
    from airflow_provider_vectorbackup.triggers.weaviate import WeaviateBackupTrigger, WeaviateRestoreTrigger
    from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

_DEFERRAL_MARGIN = timedelta(minutes=30)


def default_deferrable() -> bool:
    """Return Airflow's setting ``[operators] default_deferrable``."""
    return conf.getboolean("operators", "default_deferrable", fallback=False)


def id_of_run(context: Context) -> str:
    """Return the id that is a task run's own, the same for every try."""
    ti = context["ti"]
    prefix = conf.get("vectorbackup", "id_prefix", fallback="")
    map_index = -1 if ti.map_index is None else ti.map_index
    return default_id(prefix, ti.dag_id, ti.task_id, ti.run_id, map_index)


def owner_of_run(context: Context) -> str:
    """Return whose leases a task run's are, in words, the same for every try."""
    ti = context["ti"]
    return f"Dag {ti.dag_id}, run {ti.run_id}, {ti.task_id} {ti.map_index}"


class OnServer:
    """What every task on a server can be told: which connection, and where the backup lies."""

    weaviate_conn_id: str
    backend: str | None
    bucket: str | None
    path: str | None

    @cached_property
    def hook(self) -> WeaviateBackupHook:
        """The hook for this task's connection."""
        return WeaviateBackupHook(self.weaviate_conn_id)

    def address(self, backup_id: str) -> BackupAddress:
        """Return where the server is asked for a backup.

        :raises InvalidRequest: there is no such backend, or the id is none.
        """
        return BackupAddress(
            self.hook.backend(arguments.text(self.backend)),
            require_legal_id(backup_id),
            bucket=arguments.text(self.bucket),
            path=arguments.text(self.path),
        )


class WeaviateOperationOperator(CancelsWhenKilled, OnServer, BaseOperator):
    """Starts an operation on the server and follows it to its end, on the worker or on the triggerer.

    :param weaviate_conn_id: the connection, of type ``weaviate_backup`` or ``weaviate``.
    :param backend: ``s3``, ``gcs``, ``azure`` or ``filesystem``; the connection's default if not given.
    :param bucket: another bucket (container) than the server's own setting.
    :param path: another path in the bucket; it replaces the server's own setting.
    :param location: where the backups lie as a worker reaches them, such as ``s3://aws_default@bucket/path``; the
        connection's location for the backend if not given.
    :param cpu_percentage: how much CPU the server may use, 1 to 80.
    :param wait_for_completion: whether to follow the operation to its end.
    :param deferrable: whether to wait on the triggerer instead of a worker.
    :param poll_interval: the longest time between two looks at the status, in seconds; the first ones are shorter.
    :param timeout: how long to wait for the end, in seconds or as a timedelta; from the start on, over all tries.
    :param slot_timeout: how long to wait until the server has done with another operation, in seconds or as a
        timedelta; 0 to fail at once.
    :param cancel_on_kill: whether the operation is canceled when this task is marked as failed or succeeded, cleared
        or killed while it runs. On the triggerer from Airflow 3.3 on.
    :param multiple_outputs: whether each key of the result is an XCom too, for ``backup.output["uri"]``.
    """

    kind: OperationKind

    def __init__(
        self,
        *,
        weaviate_conn_id: str = WeaviateBackupHook.default_conn_name,
        backend: str | None = None,
        bucket: str | None = None,
        path: str | None = None,
        location: str | None = None,
        cpu_percentage: int | str | None = None,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float | timedelta = 10.0,
        timeout: float | timedelta = DAY_SECONDS,
        slot_timeout: float | timedelta = 3600.0,
        cancel_on_kill: bool = True,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.weaviate_conn_id = weaviate_conn_id
        self.backend = backend
        self.bucket = bucket
        self.path = path
        self.location = location
        self.cpu_percentage = cpu_percentage
        self.wait_for_completion = wait_for_completion
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.slot_timeout = slot_timeout
        self.cancel_on_kill = cancel_on_kill

    def begin(self, client: WeaviateClient, context: Context, memory: Memory) -> Operation:
        """Start the operation, or attach to it if an earlier try did."""
        raise NotImplementedError

    def end(self, client: WeaviateClient, outcome: Outcome, memory: Memory) -> dict[str, Any]:
        """Return the task's result, for both ways of waiting."""
        raise NotImplementedError

    def trigger_class(self) -> type[WeaviateBackupTrigger | WeaviateRestoreTrigger]:
        """Return the trigger that waits for this operation."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        """Start the operation (or attach to it), then return at once, defer, or wait."""
        with self.cancelable(memory_of(context)) as followed, airflow_errors():
            now = time.time()
            deadline = now + arguments.seconds("slot_timeout", self.slot_timeout, or_zero=True)
            slot = SlotWait(self.kind, self.hook.backend(arguments.text(self.backend)), since=now, deadline=deadline)
            return self._run(context, slot, followed)

    def execute_again(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Try again to start the operation, after a wait for the server's only slot."""
        with self.cancelable(memory_of(context)) as followed, airflow_errors():
            return self._run(context, SlotWait.from_json(event), followed)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """End the task with what the trigger found."""
        from airflow_provider_vectorbackup.backups.outcome import Outcome

        outcome = Outcome.from_json(event)
        if outcome.is_of_killed_try(time.time()):
            self._tell_killed_try(outcome)
            return self.execute(context)
        with airflow_errors(), self.hook.open_client() as client:
            return self.end(client, outcome, memory_of(context))

    def _run(self, context: Context, slot: SlotWait, followed: FollowedOperation) -> dict[str, Any]:
        interval = arguments.seconds("poll_interval", self.poll_interval)
        while True:
            operation = self._begin(context, slot, followed)
            context["ti"].xcom_push(key="backup_id", value=operation.address.backup_id)
            if not self.wait_for_completion:
                return summary_of(operation, None)
            if self.deferrable:
                followed.release()
                self._defer(operation, interval)
            outcome = self._wait(operation, interval)
            followed.release()
            if not outcome.is_of_killed_try(time.time()):
                with self.hook.open_client() as client:
                    return self.end(client, outcome, memory_of(context))
            self._tell_killed_try(outcome)

    def _tell_killed_try(self, outcome: Outcome) -> None:
        self.log.warning(
            "%s was canceled as an earlier try of this task was killed. Starting anew.", outcome.operation.name
        )

    def _begin(self, context: Context, slot: SlotWait, followed: FollowedOperation) -> Operation:
        """Start the operation, or attach to it; wait on the worker, or defer, while the server is busy."""
        from airflow_provider_vectorbackup.actions.slot import wait_for_slot

        while True:
            try:
                with self.hook.open_client() as client:
                    return followed.follow(self.begin(client, context, followed))
            except OperationInProgress as error:
                slot = slot.blocked(error, time.time())
            if slot.rounds == 1:
                self.log.info("%s", slot.news)
            if self.deferrable:
                self._defer_to_slot(slot)
            with self.hook.open_client() as client:
                wait_for_slot(client, slot)

    def _defer(self, operation: Operation, interval: float) -> None:
        if self.cancel_on_kill and not triggers_have_on_kill():
            self.log.warning(
                "cancel_on_kill has no effect while this task is deferred: that takes Airflow 3.3. If it is marked as "
                "failed or cleared, %s runs on; cancel it with WeaviateCancelBackupOperator.",
                operation.name,
            )
        trigger = self.trigger_class()(
            weaviate_conn_id=self.weaviate_conn_id,
            operation=operation.to_json(),
            poll_interval=interval,
            cancel_on_kill=self.cancel_on_kill,
        )
        # The trigger ends by itself at the deadline, saying what is known; Airflow's own time-out is a safety net.
        timeout = timedelta(seconds=max(0.0, operation.deadline - time.time())) + _DEFERRAL_MARGIN
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timeout)

    def _defer_to_slot(self, slot: SlotWait) -> None:
        from airflow_provider_vectorbackup.triggers.weaviate import WeaviateSlotTrigger

        trigger = WeaviateSlotTrigger(weaviate_conn_id=self.weaviate_conn_id, slot=slot.to_json())
        timeout = timedelta(seconds=max(0.0, slot.deadline - time.time())) + _DEFERRAL_MARGIN
        self.defer(trigger=trigger, method_name="execute_again", timeout=timeout)

    def _wait(self, operation: Operation, interval: float) -> Outcome:
        from airflow_provider_vectorbackup.actions.waiting import wait
        from airflow_provider_vectorbackup.backups.outcome import Outcome
        from airflow_provider_vectorbackup.backups.polling import watch_of

        try:
            with self.hook.open_client() as client:
                return Outcome(operation, wait(client, watch_of(operation, interval), self.log.info))
        except VectorBackupError as error:
            return Outcome(operation, error=error)
