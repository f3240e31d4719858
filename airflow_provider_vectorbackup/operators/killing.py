"""What becomes of the operation on the server when the task that follows it is killed on its worker."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow_provider_vectorbackup.actions.memory import FollowedOperation, Memory
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.compat import AirflowException
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook

_INSISTENCE_SECONDS = 0.3


class TaskKilled(BaseException):
    """Unwinds a task that was told to end, whatever it is doing; no ``except Exception`` on the way holds it up."""


class CancelsWhenKilled:
    """For operators: cancels what this try has begun, or attached to, when Airflow kills the task."""

    kind: OperationKind
    task_id: str
    wait_for_completion: bool
    cancel_on_kill: bool
    hook: WeaviateBackupHook
    log: Any

    _executing_thread: int | None = None
    _followed: FollowedOperation | None = None

    @contextmanager
    def cancelable(self, memory: Memory) -> Iterator[FollowedOperation]:
        """Yield a memory that takes note of what is begun; cancel that if the task is killed in there."""
        self._followed = FollowedOperation(memory, self.kind)
        self._executing_thread = threading.get_ident()
        try:
            yield self._followed
        except TaskKilled:
            self._executing_thread = None
            self._cancel_followed()
            raise AirflowException(f"Task {self.task_id!r} was killed.") from None
        finally:
            self._executing_thread = None

    def on_kill(self) -> None:
        """Cancel what this task started on the server, and look what became of it, for as long as Airflow lets it."""
        if self._executing_thread == threading.get_ident():
            # Called from a signal handler, in the midst of anything: unwind first, cancel then.
            again = threading.Timer(_INSISTENCE_SECONDS, self._insist)
            again.daemon = True
            again.start()
            raise TaskKilled
        # The task has left already: its execution_timeout has passed.
        self._cancel_followed()

    def _insist(self) -> None:
        """Signal once more if the task goes on: an exception that is raised in a finalizer is lost."""
        if thread := self._executing_thread:
            signal.pthread_kill(thread, signal.SIGTERM)

    def _cancel_followed(self) -> None:
        from airflow_provider_vectorbackup.actions.cancel import cancel_killed

        started = self._followed.release() if self._followed else None
        if started and self.cancel_on_kill and self.wait_for_completion:
            with self.hook.open_client() as client:
                cancel_killed(client, started, self.log.warning)
