"""How the steps of a group learn what an earlier one has found out, at run time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.sdk import BaseOperator

from airflow_provider_vectorbackup.compat import AirflowSkipException


def pulled(task: BaseOperator, key: str, *, as_json: bool = False) -> str:
    """Return a template for an XCom of a task.

    Unlike ``task.output``, it makes no dependency: a trigger rule then looks at the steps before alone.
    """
    return f"{{{{ ti.xcom_pull(task_ids='{task.task_id}', key='{key}'){' | tojson' if as_json else ''} }}}}"


def only_if(task: BaseOperator, key: str) -> Callable[[Any], None]:
    """Return a step's ``pre_execute``, which skips it unless another task's XCom says otherwise.

    :param key: of that XCom, a flag.
    """
    task_id = task.task_id

    def decide(context: Any) -> None:
        if not context["ti"].xcom_pull(task_ids=task_id, key=key):
            raise AirflowSkipException(f"Not to be done, says {task_id} ({key}).")

    return decide
