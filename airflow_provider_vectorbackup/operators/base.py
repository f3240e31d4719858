"""What the operators that start something on the server share: begin, wait or defer, and one way to end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.sdk import BaseOperator

from airflow_provider_vectorbackup.backups.ids import require_legal_id
from airflow_provider_vectorbackup.backups.operation import Operation, summary_of
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind
from airflow_provider_vectorbackup.compat import AirflowFailException, AirflowSkipException
from airflow_provider_vectorbackup.exceptions import NothingToRestore, VectorBackupError
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook
from airflow_provider_vectorbackup.operators import arguments

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vectorbackup.backups.outcome import Outcome
    from airflow_provider_vectorbackup.backups.polling import Watch
    from airflow_provider_vectorbackup.triggers.weaviate import WeaviateBackupTrigger, WeaviateRestoreTrigger
    from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

DAY_SECONDS = 24 * 3600.0
_DEFERRAL_MARGIN = timedelta(minutes=30)


def default_deferrable() -> bool:
    """Return Airflow's setting ``[operators] default_deferrable``."""
    return conf.getboolean("operators", "default_deferrable", fallback=False)


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Turn our errors into Airflow's: what can't pass by itself fails at once, the rest is left to retries."""
    try:
        yield
    except NothingToRestore as error:
        raise AirflowSkipException(str(error)) from error
    except VectorBackupError as error:
        if error.retryable:
            raise
        raise AirflowFailException(str(error)) from error


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


class WeaviateOperationOperator(OnServer, BaseOperator):
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
    :param timeout: how long to wait for the end, in seconds or as a timedelta.
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

    def begin(self, client: WeaviateClient, context: Context) -> Operation:
        """Start the operation, or attach to it if an earlier try did."""
        raise NotImplementedError

    def end(self, context: Context, outcome: Outcome) -> dict[str, Any]:
        """Return the task's result, for both ways of waiting."""
        raise NotImplementedError

    def trigger_class(self) -> type[WeaviateBackupTrigger | WeaviateRestoreTrigger]:
        """Return the trigger that waits for this operation."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        """Start the operation (or attach to it), then return at once, defer, or wait."""
        with airflow_errors():
            interval, timeout = self._durations()
            with self.hook.open_client() as client:
                operation = self.begin(client, context)
            context["ti"].xcom_push(key="backup_id", value=operation.address.backup_id)
            if not self.wait_for_completion:
                return summary_of(operation, None)
            now = time.time()
            if self.deferrable:
                self._defer(operation, now, now + timeout, interval)
            return self.end(context, self._wait(operation, now, now + timeout, interval))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """End the task with what the trigger found."""
        from airflow_provider_vectorbackup.backups.outcome import Outcome

        with airflow_errors():
            return self.end(context, Outcome.from_json(event))

    def _durations(self) -> tuple[float, float]:
        return arguments.seconds("poll_interval", self.poll_interval), arguments.seconds("timeout", self.timeout)

    def _defer(self, operation: Operation, since: float, deadline: float, interval: float) -> None:
        trigger = self.trigger_class()(
            weaviate_conn_id=self.weaviate_conn_id,
            operation=operation.to_json(),
            since=since,
            deadline=deadline,
            poll_interval=interval,
        )
        # The trigger ends by itself at the deadline, saying what is known; Airflow's own time-out is a safety net.
        timeout = timedelta(seconds=deadline - since) + _DEFERRAL_MARGIN
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timeout)

    def _wait(self, operation: Operation, since: float, deadline: float, interval: float) -> Outcome:
        from airflow_provider_vectorbackup.actions.waiting import wait
        from airflow_provider_vectorbackup.backups.outcome import Outcome
        from airflow_provider_vectorbackup.backups.polling import Watch

        watch: Watch = Watch(operation.kind, operation.address, since=since, deadline=deadline, poll_interval=interval)
        try:
            with self.hook.open_client() as client:
                return Outcome(operation, wait(client, watch, self.log.info))
        except VectorBackupError as error:
            return Outcome(operation, error=error)
