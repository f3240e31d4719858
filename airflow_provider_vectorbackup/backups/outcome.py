"""How a wait ended, and what the task makes of it: one function for the synchronous and the deferred way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from airflow_provider_vectorbackup import exceptions
from airflow_provider_vectorbackup.backups.operation import Operation, summary_of
from airflow_provider_vectorbackup.backups.status import OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import OperationCanceled, OperationFailed, VectorBackupError

CANCELED_BY_USER = "restore canceled by user"

KILLED_TRY_SECONDS = 60.0
"""How long a cancellation by a killed try may take to show: it asks at once, the server is done some 10 s later."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Either the final status of an operation, or the error that ended the wait for it."""

    operation: Operation
    status: OperationStatus | None = None
    error: VectorBackupError | None = None

    def is_of_killed_try(self, now: float) -> bool:
        """Whether an operation that this try only attached to was canceled by an earlier try, as that was killed.

        :param now: seconds since the epoch.
        """
        attached_at, end = self.operation.attached_at, self.status
        if attached_at is None or end is None or end.status is not Status.CANCELED or is_damage(end):
            return False
        return now - attached_at <= KILLED_TRY_SECONDS

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable form: the payload of the trigger's event."""
        return {
            "operation": self.operation.to_json(),
            "status": self.status.to_json() if self.status else None,
            "error": _error_to_json(self.error) if self.error else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        status, error = data["status"], data["error"]
        return cls(
            Operation.from_json(data["operation"]),
            OperationStatus.from_json(status) if status else None,
            _error_from_json(error) if error else None,
        )


def conclude(outcome: Outcome) -> dict[str, Any]:
    """Return the task's result.

    :raises VectorBackupError: the operation did not end in success, or its end was not seen.
    """
    if outcome.error is not None:
        raise outcome.error
    if outcome.status is not None:
        require_success(outcome.operation, outcome.status)
    return summary_of(outcome.operation, outcome.status)


def require_success(operation: Operation, status: OperationStatus) -> None:
    """Raise unless the operation succeeded.

    :raises OperationFailed: it FAILED.
    :raises OperationCanceled: it was CANCELED, by somebody or, for a restore, mostly by damage in the backup.
    """
    backup_id, reason = operation.address.backup_id, status.error.rstrip(". ") or "the server gives no reason"
    if status.status is Status.FAILED:
        raise OperationFailed(f"{operation.name} failed: {reason}.", hint=_hint(operation), backup_id=backup_id)
    if is_damage(status):
        raise OperationCanceled(
            f"{operation.name} broke off, though nobody canceled it; mostly that means a missing or damaged chunk of "
            f"the backup. The server says CANCELED: {reason}.",
            hint="Verify the backup, or restore another one.",
            backup_id=backup_id,
        )
    if status.status is Status.CANCELED:
        raise OperationCanceled(f"{operation.name} was canceled: {reason}.", backup_id=backup_id)


def is_damage(end: OperationStatus) -> bool:
    """Whether a restore is CANCELED that nobody canceled."""
    is_canceled_restore = end.kind is OperationKind.RESTORE and end.status is Status.CANCELED
    return is_canceled_restore and end.error not in ("", CANCELED_BY_USER)


def _hint(operation: Operation) -> str:
    if operation.kind is OperationKind.BACKUP:
        return "Its id can't be used again; a retry starts a new backup under an id of its own."
    return "Other collections of the same request may have been restored: compare the schema before trying again."


def _error_to_json(error: VectorBackupError) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "backup_id": error.backup_id,
    }


def _error_from_json(data: Mapping[str, Any]) -> VectorBackupError:
    kind = getattr(exceptions, data["type"], VectorBackupError)
    error: VectorBackupError = kind(data["message"], hint=data["hint"], backup_id=data["backup_id"])
    return error
