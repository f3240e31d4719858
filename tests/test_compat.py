from __future__ import annotations

from airflow_provider_vectorbackup.actions.memory import NoMemory
from airflow_provider_vectorbackup.compat import memory_of
from tests.actions.conftest import TaskMemory


def test_memory_is_airflows_task_state_store() -> None:
    store = TaskMemory()
    memory = memory_of({"task_state_store": store})
    memory.set("backup", {"attempts": 1})
    assert store.kept == {"backup": '{"attempts": 1}'}
    assert memory.get("backup") == {"attempts": 1}
    memory.delete("backup")
    assert memory.get("backup") is None


def test_without_a_store_nothing_is_kept() -> None:
    memory = memory_of({})
    assert isinstance(memory, NoMemory)
    memory.set("backup", {"attempts": 1})
    memory.delete("backup")
    assert memory.get("backup") is None
