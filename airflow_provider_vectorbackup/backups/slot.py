"""A wait for the server's only slot: it does one backup and one restore at a time, and queues nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from airflow_provider_vectorbackup.backups.polling import Watch
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind
from airflow_provider_vectorbackup.exceptions import OperationInProgress

_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 15.0
_BACKOFF = 1.5
_MOST_BACKOFFS = 20


@dataclass(frozen=True, slots=True)
class SlotWait:
    """The state of such a wait; times are seconds since the epoch.

    :param deadline: when to give up.
    :param blocking_id: the backup id of the operation that holds the slot, where the server named it.
    :param rounds: how often it was found taken.
    """

    kind: OperationKind
    backend: str
    since: float
    deadline: float
    blocking_id: str | None = None
    rounds: int = 0

    def blocked(self, error: OperationInProgress, now: float) -> SlotWait:
        """Return the wait after the slot was found taken.

        :raises OperationInProgress: its deadline has passed.
        """
        if now >= self.deadline:
            waited = f" It was waited for {now - self.since:.0f} s (slot_timeout)." if self.rounds else ""
            told = OperationInProgress(f"{error.message}{waited}", hint=error.hint, backup_id=error.backup_id)
            told.blocking_id = error.blocking_id
            raise told from error
        return replace(self, blocking_id=error.blocking_id, rounds=self.rounds + 1)

    @property
    def news(self) -> str:
        """A line for the log."""
        other = f" {self.blocking_id!r}" if self.blocking_id else ""
        return f"The server is busy with another {self.kind.value}{other}; waiting until it has ended."

    def watch(self) -> Watch | None:
        """Return the wait for the end of the blocking operation, if it is known; any trouble ends it."""
        if self.blocking_id is None:
            return None
        address = BackupAddress(self.backend, self.blocking_id)
        return Watch(self.kind, address, self.since, self.deadline, _LONGEST_PAUSE_SECONDS, fault_tolerance=0.0)

    def pause(self, now: float) -> float:
        """Return how long to wait before the next request: a canceled restore holds the slot some 10 s longer."""
        longest = _FIRST_PAUSE_SECONDS * _BACKOFF ** min(max(self.rounds - 1, 0), _MOST_BACKOFFS)
        return max(0.0, min(longest, _LONGEST_PAUSE_SECONDS, self.deadline - now))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable form, for trigger arguments and events."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        return cls(**(dict(data) | {"kind": OperationKind(data["kind"])}))
