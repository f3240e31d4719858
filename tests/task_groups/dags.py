"""What Airflow makes of a Dag file: what the scheduler reads of it, what its tasks are told, what parsing it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from airflow.sdk import DAG

from airflow_provider_vectorbackup.compat import AirflowSkipException

try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # Airflow 3.1
    from airflow.serialization.serialized_objects import (  # type: ignore[attr-defined, assignment]
        SerializedDAG as DagSerialization,
    )

_HEAVY = ("requests", "aiohttp", "boto3", "botocore", "google.cloud.storage", "azure", "obstore")


class TaskInstance:
    """Of each XCom, it tells whose it is, but for those that are given: step and key -> value."""

    def __init__(self, **xcoms: Any) -> None:
        self.xcoms = xcoms

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        return self.xcoms.get(key, f"{key} of {task_ids}")


def scheduled(dag: DAG) -> dict[str, dict[str, Any]]:
    """Send a Dag to the scheduler, and return what that knows of its tasks."""
    sent = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    tasks: list[Any] = list(DagSerialization.from_dict(sent).tasks)
    return {
        task.task_id: {
            "after": set(task.upstream_task_ids),
            "rule": str(getattr(task.trigger_rule, "value", task.trigger_rule)),
            "is_setup": task.is_setup,
            "is_teardown": task.is_teardown,
        }
        for task in tasks
    }


def rendered(dag: DAG, task_id: str) -> Any:
    """Return a task as it is executed, with its templates filled in."""
    task = dag.get_task(task_id)
    task.render_template_fields({"ti": TaskInstance(), "params": {"chosen": "Art*"}})  # type: ignore[typeddict-item]
    return task


def skips(dag: DAG, task_id: str, **xcoms: Any) -> bool:
    """Whether a task is skipped as it is about to be executed, if XComs are these."""
    task: Any = dag.get_task(task_id)
    try:
        task._pre_execute_hook({"ti": TaskInstance(**xcoms)})
    except AirflowSkipException:
        return True
    return False


def loaded_by(code: str) -> set[str]:
    """Return which heavy modules a Dag file loads, those that Airflow loads for itself aside."""
    ours = f"""
import json, sys
from airflow.sdk import DAG
import airflow.providers.standard.operators.hitl
before = set(sys.modules)
{code}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    run = subprocess.run([sys.executable, "-c", ours], check=True, capture_output=True, text=True, timeout=120)
    loaded = json.loads(run.stdout.splitlines()[-1])
    assert "airflow_provider_vectorbackup.task_groups" in loaded
    return {name for name in loaded if name in _HEAVY or name.startswith(tuple(f"{heavy}." for heavy in _HEAVY))}
