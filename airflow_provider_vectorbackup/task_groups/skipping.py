"""Steps of a group that are taken or not as an earlier one decides, at run time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_vectorbackup.compat import AirflowSkipException


def only_if(task_id: str, key: str) -> Callable[[Any], None]:
    """Return a task's ``pre_execute``, which skips it unless another task's XCom says otherwise.

    :param task_id: of the other task.
    :param key: of its XCom, a flag.
    """

    def decide(context: Any) -> None:
        if not context["ti"].xcom_pull(task_ids=task_id, key=key):
            raise AirflowSkipException(f"Not to be done, says {task_id} ({key}).")

    return decide
