"""What one task run remembers over its tries."""

from __future__ import annotations

from typing import Any, Protocol


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
