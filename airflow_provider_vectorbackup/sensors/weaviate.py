"""Sensors: wait for a backup or a restore that something else started."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.compat import AirflowSensorTimeout, AirflowSkipException
from airflow_provider_vectorbackup.exceptions import OperationTimedOut
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.base import OnServer, default_deferrable
from airflow_provider_vectorbackup.operators.errors import airflow_errors

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vectorbackup.backups.outcome import Outcome
    from airflow_provider_vectorbackup.backups.polling import Watch
    from airflow_provider_vectorbackup.triggers.weaviate import WeaviateBackupTrigger, WeaviateRestoreTrigger


class _OperationSensor(OnServer, BaseSensorOperator):
    """Waits until an operation has succeeded; fails when it FAILED or was CANCELED.

    One that the server does not know is waited for, until the sensor's ``timeout``.

    Returns (XCom): see :func:`airflow_provider_vectorbackup.backups.operation.summary_of`.

    :param backup_id: the backup.
    :param weaviate_conn_id: the connection, of type ``weaviate_backup`` or ``weaviate``.
    :param backend: the backend; the connection's default if not given.
    :param bucket: the bucket, if the backup was made with one.
    :param path: the path, if the backup was made with one.
    :param location: where the backups lie as a worker reaches them; the connection's location if not given.
    :param deferrable: whether to wait on the triggerer instead of a worker.
    :param poke_interval: the longest time between two looks at the status.
    :param multiple_outputs: whether each key of the result is an XCom too, for ``sensor.output["uri"]``.
    """

    template_fields: Sequence[str] = ("weaviate_conn_id", "backend", "backup_id", "bucket", "path", "location")
    ui_color = "#f1ecd2"
    kind: ClassVar[OperationKind]

    def __init__(
        self,
        *,
        backup_id: str,
        weaviate_conn_id: str = WeaviateBackupHook.default_conn_name,
        backend: str | None = None,
        bucket: str | None = None,
        path: str | None = None,
        location: str | None = None,
        deferrable: bool | None = None,
        poke_interval: float | timedelta = 10.0,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, multiple_outputs=multiple_outputs, **kwargs)
        self.backup_id = backup_id
        self.weaviate_conn_id = weaviate_conn_id
        self.backend = backend
        self.bucket = bucket
        self.path = path
        self.location = location
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self._watch: Watch | None = None

    def trigger_class(self) -> type[WeaviateBackupTrigger | WeaviateRestoreTrigger]:
        """Return the trigger that waits for this operation."""
        raise NotImplementedError

    def execute(self, context: Context) -> Any:  # noqa: RET503  # defer() raises
        """Look once, then wait on the triggerer if the sensor is deferrable; else poke as any sensor does."""
        if not self.deferrable:
            return super().execute(context)
        seen = self.poke(context)
        if isinstance(seen, PokeReturnValue):
            return seen.xcom_value
        operation = self._operation()
        watch = self._watch_of(operation)
        trigger = self.trigger_class()(
            weaviate_conn_id=self.weaviate_conn_id,
            operation=replace(operation, since=watch.since, deadline=watch.deadline).to_json(),
            poll_interval=watch.poll_interval,
            wait_for_existence=True,
        )
        self.defer(trigger=trigger, method_name="execute_complete")

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look at the status once."""
        from airflow_provider_vectorbackup.actions.waiting import look
        from airflow_provider_vectorbackup.backups.outcome import Outcome
        from airflow_provider_vectorbackup.backups.polling import Ended, GaveUp

        with airflow_errors():
            operation = self._operation()
            with self.hook.open_client() as client:
                verdict = look(client, self._watch_of(operation))
            self._watch = verdict.watch
            if verdict.news:
                self.log.info(verdict.news)
            if isinstance(verdict.decision, Ended):
                return PokeReturnValue(is_done=True, xcom_value=self._end(Outcome(operation, verdict.decision.status)))
            if isinstance(verdict.decision, GaveUp) and not isinstance(verdict.decision.error, OperationTimedOut):
                raise verdict.decision.error
            return False

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """End the sensor with what the trigger found."""
        from airflow_provider_vectorbackup.actions.evidence import explained
        from airflow_provider_vectorbackup.backups.outcome import Outcome
        from airflow_provider_vectorbackup.hooks.storage import open_store

        outcome = Outcome.from_json(event)
        if isinstance(outcome.error, OperationTimedOut):
            with self.hook.open_client() as client:
                outcome = explained(client, open_store, outcome)
            raise (AirflowSkipException if self.soft_fail else AirflowSensorTimeout)(str(outcome.error))
        with airflow_errors():
            return self._end(outcome)

    def _end(self, outcome: Outcome) -> dict[str, Any]:
        """Return the result, for all ways of waiting."""
        from airflow_provider_vectorbackup.actions.observe import finish_observed

        with self.hook.open_client() as client:
            return finish_observed(client, outcome)

    def _operation(self) -> Operation:
        address = self.address(self.backup_id)
        location = self.hook.location(address.backend, arguments.text(self.location))
        return Operation(self.kind, address, location=location)

    def _watch_of(self, operation: Operation) -> Watch:
        """Return the wait as the last look left it; begin it at the first."""
        from airflow_provider_vectorbackup.backups.polling import Watch

        if self._watch is not None:
            return self._watch
        now = time.time()
        return Watch(
            self.kind,
            operation.address,
            since=now,
            deadline=now + arguments.seconds("timeout", self.timeout),
            poll_interval=arguments.seconds("poke_interval", self.poke_interval),
            wait_for_existence=True,
        )


class WeaviateBackupSensor(_OperationSensor):
    """Waits until a backup has succeeded, whoever started it."""

    kind = OperationKind.BACKUP

    def trigger_class(self) -> type[WeaviateBackupTrigger]:
        """Return the trigger that waits for a backup."""
        from airflow_provider_vectorbackup.triggers.weaviate import WeaviateBackupTrigger

        return WeaviateBackupTrigger


class WeaviateRestoreSensor(_OperationSensor):
    """Waits until a restore has succeeded, whoever started it.

    The server keeps the status of a backup's last restore for ever, and it travels with a copy of the backup: a sensor
    that looks before the restore has started may see an older one's.
    """

    kind = OperationKind.RESTORE

    def trigger_class(self) -> type[WeaviateRestoreTrigger]:
        """Return the trigger that waits for a restore."""
        from airflow_provider_vectorbackup.triggers.weaviate import WeaviateRestoreTrigger

        return WeaviateRestoreTrigger
