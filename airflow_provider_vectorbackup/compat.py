"""What differs between Airflow versions, all of it.

========================================  =====================
Task state store (survives retries)       from Airflow 3.3 on
``BaseTrigger.on_kill``                    from Airflow 3.3 on
Connection form from provider info        from Airflow 3.2 on
Exceptions in ``airflow.sdk.exceptions``   from Airflow 3.2 on
========================================  =====================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_vectorbackup.actions.memory import Memory, NoMemory

try:
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
    )
except ImportError:  # Airflow 3.1
    from airflow.exceptions import (  # type: ignore[no-redef, attr-defined]
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
    )

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "memory_of",
    "triggers_have_on_kill",
]


class _TaskMemory:
    """The task state store: one per Dag run, task and map index, shared by all tries."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def get(self, key: str) -> Any:
        return self._store.get(key)

    def set(self, key: str, value: Any) -> None:
        self._store.set(key, value)

    def delete(self, key: str) -> None:
        self._store.delete(key)


def memory_of(context: Mapping[str, Any]) -> Memory:
    """Return what this task run remembers over its tries; nothing below Airflow 3.3."""
    store = context.get("task_state_store")
    return NoMemory() if store is None else _TaskMemory(store)


def triggers_have_on_kill() -> bool:
    """Return whether the triggerer tells a trigger that its task was marked or cleared."""
    from airflow.triggers.base import BaseTrigger

    return hasattr(BaseTrigger, "on_kill")
