"""Cancel a backup or a restore."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.base import OnServer
from airflow_provider_vectorbackup.operators.errors import airflow_errors

if TYPE_CHECKING:
    from airflow.sdk import Context


class WeaviateCancelBackupOperator(OnServer, BaseOperator):
    """Cancel a running backup or restore, and find out what became of it.

    The server's answer to a cancellation promises nothing: what had already ended stays as it is, and what is just
    ending may still succeed. So the result says what really happened, in ``status``: CANCELED, SUCCESS or FAILED.

    Returns (XCom): see :func:`airflow_provider_vectorbackup.backups.operation.summary_of`.

    :param backup_id: the backup.
    :param operation: ``backup``, or ``restore`` for the restore of that backup (Weaviate 1.36 and later).
    :param weaviate_conn_id: the connection, of type ``weaviate_backup`` or ``weaviate``.
    :param backend: the backend; the connection's default if not given.
    :param bucket: the bucket, if the backup was made with one.
    :param path: the path, if the backup was made with one.
    :param wait_for_completion: whether to wait until it has ended (at most some 10 s on a healthy server).
    :param poll_interval: the longest time between two looks at the status, in seconds.
    :param timeout: how long to wait for the end, in seconds or as a timedelta.
    :param multiple_outputs: whether each key of the result is an XCom too.
    """

    template_fields: Sequence[str] = ("weaviate_conn_id", "backend", "backup_id", "operation", "bucket", "path")
    ui_color = "#fbe3d6"

    def __init__(
        self,
        *,
        backup_id: str,
        operation: str = "backup",
        weaviate_conn_id: str = WeaviateBackupHook.default_conn_name,
        backend: str | None = None,
        bucket: str | None = None,
        path: str | None = None,
        wait_for_completion: bool = True,
        poll_interval: float | timedelta = 2.0,
        timeout: float | timedelta = 600.0,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.backup_id = backup_id
        self.operation = operation
        self.weaviate_conn_id = weaviate_conn_id
        self.backend = backend
        self.bucket = bucket
        self.path = path
        self.wait_for_completion = wait_for_completion
        self.poll_interval = poll_interval
        self.timeout = timeout

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask for cancellation, wait for the end, and say which end it was."""
        from airflow_provider_vectorbackup.actions.cancel import cancel
        from airflow_provider_vectorbackup.backups.polling import Watch

        with airflow_errors():
            kind = arguments.choice("operation", self.operation, OperationKind)
            now = time.time()
            watch = Watch(
                kind,
                self.address(self.backup_id),
                since=now,
                deadline=now + arguments.seconds("timeout", self.timeout),
                poll_interval=arguments.seconds("poll_interval", self.poll_interval),
            )
            with self.hook.open_client() as client:
                return cancel(client, watch, wait_for_end=self.wait_for_completion)
