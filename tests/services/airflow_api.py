"""The few calls of Airflow's REST API (v2) that tests, demo and benchmarks make."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from tests.services import loopback
from tests.services.process import wait_until

_TIMEOUT_SECONDS = 30.0
_POLL_SECONDS = 0.5
_FINISHED = ("success", "failed")

OnChange = Callable[[str, str], None]


class AirflowApi:
    """Logged in at its first call. Every call raises requests.HTTPError if Airflow refuses it."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self._url = url
        self._login = {"username": username, "password": password}
        self._session = loopback.session()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._session.close()

    def token(self) -> str:
        """Get a bearer token, for other clients."""
        answer = self._session.post(f"{self._url}/auth/token", json=self._login, timeout=_TIMEOUT_SECONDS)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def call(self, method: str, path: str, body: object = None, **query: str | int | bool) -> Any:
        """Make one call and return its JSON answer; `path` is what follows /api/v2."""
        if "Authorization" not in self._session.headers:
            self._session.headers["Authorization"] = f"Bearer {self.token()}"
        url = f"{self._url}/api/v2{path}"
        answer = self._session.request(method, url, json=body, params=query, timeout=_TIMEOUT_SECONDS)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def wait_for_dag(self, dag_id: str, deadline_seconds: float = 60.0) -> None:
        """Wait until Airflow has parsed the Dag; raises TimeoutError, with Airflow's import errors."""
        try:
            wait_until(lambda: self._has(dag_id), deadline_seconds, f"Dag {dag_id}", _POLL_SECONDS)
        except TimeoutError as error:
            broken = [entry["stack_trace"] for entry in self.call("GET", "/importErrors")["import_errors"]]
            raise TimeoutError("\n".join([str(error), *broken])) from error

    def unpause(self, dag_id: str) -> None:
        """Let its runs be scheduled: new Dags are paused."""
        self.call("PATCH", f"/dags/{quote(dag_id)}", {"is_paused": False})

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run and return its id."""
        body = {"logical_date": None, "conf": dict(conf or {})}
        return str(self.call("POST", f"/dags/{quote(dag_id)}/dagRuns", body)["dag_run_id"])

    def dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """As Airflow describes it; `state` is queued, running, success or failed."""
        return dict(self.call("GET", _run(dag_id, run_id)))

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """As Airflow describes them, in no particular order; mapped ones carry `map_index` >= 0."""
        return list(self.call("GET", f"{_run(dag_id, run_id)}/taskInstances", limit=1000)["task_instances"])

    def mark_failed(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Mark a task of a run as failed, as a user does in the UI; one that runs is ended."""
        self.call("PATCH", f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}", {"new_state": "failed"})

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear a task of a run, in whatever state it is, so that it runs anew; one that runs is ended before."""
        body = {"dry_run": False, "only_failed": False, "dag_run_id": run_id, "task_ids": [task_id]}
        self.call("POST", f"/dags/{quote(dag_id)}/clearTaskInstances", body)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return what the task pushed, as Python data."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        return self.call("GET", path, map_index=map_index, stringify=False)["value"]

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log of one attempt, a line an event, errors with their type and text."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        return "\n".join(
            _line(entry) for entry in self.call("GET", path, map_index=map_index, full_content=True)["content"]
        )

    def wait_for_run(self, dag_id: str, run_id: str, deadline_seconds: float, on_change: OnChange | None = None) -> str:
        """Return the run's final state, success or failed; raise TimeoutError, with the tasks' states.

        `on_change(task, state)` is called for each task instance that is in another state than at the last look, with
        `task` as task_id or task_id[map_index].
        """
        deadline = time.monotonic() + deadline_seconds
        seen: dict[str, str] = {}
        while True:
            # The run first: when it is over, its tasks' states are final too.
            state = str(self.dag_run(dag_id, run_id)["state"])
            self._tell_changes(dag_id, run_id, seen, on_change)
            if state in _FINISHED:
                return state
            if time.monotonic() > deadline:
                raise TimeoutError(f"{dag_id} {run_id} is {state} after {deadline_seconds:g} s; tasks: {seen}")
            time.sleep(_POLL_SECONDS)

    def _tell_changes(self, dag_id: str, run_id: str, seen: dict[str, str], on_change: OnChange | None) -> None:
        for instance in self.task_instances(dag_id, run_id):
            index = instance["map_index"]
            task = instance["task_id"] if index < 0 else f"{instance['task_id']}[{index}]"
            state = instance["state"] or "none"
            if seen.get(task) != state:
                seen[task] = state
                if on_change:
                    on_change(task, state)

    def _has(self, dag_id: str) -> bool:
        dags = self.call("GET", "/dags", dag_id_pattern=dag_id, limit=1000)["dags"]
        return any(dag["dag_id"] == dag_id for dag in dags)


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _line(entry: Any) -> str:
    """Airflow gives plain strings for some log lines, and objects with an `event` for others."""
    if not isinstance(entry, dict):
        return str(entry)
    errors = [f"{error['exc_type']}: {error['exc_value']}" for error in entry.get("error_detail") or []]
    return " | ".join([str(entry.get("event", "")), *errors])
