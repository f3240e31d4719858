"""What one task run remembers over its tries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol, Self

from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.exceptions import OperationTimedOut


class Memory(Protocol):
    """A small store of JSON values that outlives a try of the task (Airflow's task state store)."""

    def get(self, key: str) -> Any:
        """Return the value, or None."""

    def set(self, key: str, value: Any) -> None:
        """Keep a JSON-serialisable value."""

    def delete(self, key: str) -> None:
        """Forget a value; one that is not there is no error."""


class NoMemory:
    """Remembers nothing: what an Airflow without a task state store has."""

    def get(self, key: str) -> Any:
        """Return None."""

    def set(self, key: str, value: Any) -> None:
        """Keep nothing."""

    def delete(self, key: str) -> None:
        """Forget nothing."""


class Stage(StrEnum):
    """How far an operation of this task run has come, as far as its tries have seen."""

    SENT = "sent"
    """The request goes out, or went and its answer was not seen."""
    ACCEPTED = "accepted"
    """The server answered that it has begun."""
    REFUSED = "refused"
    """The server answered no: nothing runs under that id for us."""
    SPENT = "spent"
    """It was seen to end as FAILED or CANCELED, and stays so whatever the server says later."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """The operation that a task run started last; kept *before* the request is sent.

    :param before: what the server (``status``) and the storage (``started_at``) said of the last restore of this
        backup before the request, to tell that one from ours.
    """

    operation: Operation
    stage: Stage
    before: Mapping[str, str | None] | None = None

    @property
    def may_run(self) -> bool:
        """Whether the operation may be running or finished on the server."""
        return self.stage in (Stage.SENT, Stage.ACCEPTED)

    def as_ended(self, outcome: Outcome) -> Self:
        """Return it after its wait has ended.

        What was seen to fail is spent. After a time-out that was told, whoever clears the task wants to wait on.
        """
        if outcome.status is not None and outcome.status.status.is_spent:
            return replace(self, stage=Stage.SPENT)
        if isinstance(outcome.error, OperationTimedOut):
            return replace(self, operation=replace(self.operation, deadline=0.0))
        return self

    def keep(self, memory: Memory, **changes: Any) -> Self:
        """Keep it, with changes, and return it."""
        changed = replace(self, **changes)
        memory.set(
            changed.operation.kind.value,
            {
                "operation": changed.operation.to_json(),
                "stage": changed.stage.value,
                "before": dict(changed.before) if changed.before is not None else None,
            },
        )
        return changed


def recall(memory: Memory, kind: OperationKind) -> Remembered | None:
    """Return what earlier tries of this task run left."""
    data = memory.get(kind.value)
    return _remembered(data) if data else None


def _remembered(data: Mapping[str, Any]) -> Remembered:
    return Remembered(Operation.from_json(data["operation"]), Stage(data["stage"]), data["before"])


class FollowedOperation:
    """A memory that also knows what this try has begun (or attached to): what is to be canceled if it is killed."""

    def __init__(self, memory: Memory, kind: OperationKind) -> None:
        self._memory = memory
        self._kind = kind
        self.started: Remembered | None = None

    def get(self, key: str) -> Any:
        """Return what the memory holds."""
        return self._memory.get(key)

    def set(self, key: str, value: Any) -> None:
        """Keep it, and take note of what is about to be started."""
        self._memory.set(key, value)
        if key == self._kind.value:
            noted = _remembered(value)
            self.started = noted if noted.may_run else None

    def delete(self, key: str) -> None:
        """Forget it."""
        self._memory.delete(key)
        if key == self._kind.value:
            self.started = None

    def follow(self, operation: Operation) -> Operation:
        """Take note of an operation that was found or accepted, and return it."""
        self.started = Remembered(operation, Stage.ACCEPTED)
        return operation

    def release(self) -> Remembered | None:
        """Return what was started, and answer for it no longer."""
        started, self.started = self.started, None
        return started


def forget(memory: Memory, kind: OperationKind) -> None:
    """Forget it: the next try starts anew."""
    memory.delete(kind.value)
