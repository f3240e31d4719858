"""What a task does when it is killed on its worker: it unwinds, and cancels what it has begun on the server."""

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


class UnwindsWhenKilled:
    """For operators: when Airflow kills the task, whatever it has open is closed, as on an error."""

    task_id: str

    _executing_thread: int | None = None

    @contextmanager
    def unwinding(self) -> Iterator[None]:
        """Do in there what is to be unwound."""
        self._executing_thread = threading.get_ident()
        try:
            yield
        except TaskKilled:
            self._executing_thread = None
            self.after_kill()
            raise AirflowException(f"Task {self.task_id!r} was killed.") from None
        finally:
            self._executing_thread = None

    def after_kill(self) -> None:
        """Do what is left to do when all is closed."""

    def on_kill(self) -> None:
        """Unwind, and do what is left to do, for as long as Airflow lets it."""
        if self._executing_thread == threading.get_ident():
            # Called from a signal handler, in the midst of anything.
            again = threading.Timer(_INSISTENCE_SECONDS, self._insist)
            again.daemon = True
            again.start()
            raise TaskKilled
        # The task has left already: its execution_timeout has passed.
        self.after_kill()

    def _insist(self) -> None:
        """Signal once more if the task goes on: an exception that is raised in a finalizer is lost."""
        if thread := self._executing_thread:
            signal.pthread_kill(thread, signal.SIGTERM)


class CancelsWhenKilled(UnwindsWhenKilled):
    """For operators: cancels what this try has begun, or attached to, when Airflow kills the task."""

    kind: OperationKind
    wait_for_completion: bool
    cancel_on_kill: bool
    hook: WeaviateBackupHook
    log: Any

    _followed: FollowedOperation | None = None

    @contextmanager
    def cancelable(self, memory: Memory) -> Iterator[FollowedOperation]:
        """Yield a memory that takes note of what is begun; cancel that if the task is killed in there."""
        self._followed = FollowedOperation(memory, self.kind)
        with self.unwinding():
            yield self._followed

    def after_kill(self) -> None:
        """Cancel what this task started on the server, and look what became of it."""
        from airflow_provider_vectorbackup.actions.cancel import cancel_killed

        started = self._followed.release() if self._followed else None
        if started and self.cancel_on_kill and self.wait_for_completion:
            with self.hook.open_client() as client:
                cancel_killed(client, started, self.log.warning)
