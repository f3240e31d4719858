"""Runs a whole Airflow (`airflow standalone`: scheduler, triggerer, dag processor, API server) on 127.0.0.1."""

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.services.airflow_api import AirflowApi
from tests.services.loopback import ADDRESS, free_ports, session
from tests.services.process import ServiceProcess, running, wait_until

_READY_SECONDS = 180.0
_KILL_SECONDS = 10.0
# Some of its parts take 12 s to end by themselves, and nothing that they would still write is looked at.
_GRACE_SECONDS = 4.0
_PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
_USER = "admin"


@dataclass(frozen=True)
class Triggerer:
    """What runs the triggers of a running Airflow. It can crash, and another one can take its place."""

    url: str
    standalone: ServiceProcess
    successor: ServiceProcess
    """The one that is started once Airflow's own has crashed."""

    def kill(self) -> None:
        """Let it crash, with all that it started: SIGKILL. Raises RuntimeError if there is none."""
        if self.successor.running:
            self.successor.kill()
            return
        parts = psutil.Process(self.standalone.pid).children()
        roots = [part for part in parts if _is_alive(part) and part.cmdline()[-1:] == ["triggerer"]]
        if not roots:
            raise RuntimeError("there is no triggerer to kill")
        doomed = [process for root in roots for process in (root, *root.children(recursive=True))]
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(lambda: not any(map(_is_alive, doomed)), _KILL_SECONDS, "end of the triggerer")

    def start(self) -> None:
        """Start another one with the same settings and wait until it beats; raises ServiceFailed."""
        since = datetime.now(UTC)
        self.successor.start(lambda: _last_beat(self.url) > since, _READY_SECONDS)


@dataclass(frozen=True)
class Airflow:
    """A running Airflow; `url` without a slash at the end, `api` logged in as the admin."""

    url: str
    username: str
    password: str
    home: Path
    log_path: Path
    pid: int
    api: AirflowApi
    triggerer: Triggerer


@contextmanager
def airflow_standalone(
    workdir: Path, *, dags_folder: Path, env: Mapping[str, str] | None = None, parallelism: int = 2
) -> Iterator[Airflow]:
    """Run it until all four parts are healthy, 15 to 60 s; stop it at the end.

    `env`: connections (AIRFLOW_CONN_<ID>) and further AIRFLOW__<SECTION>__<KEY> settings; it wins over ours. Home, log
    and SQLite database are in `workdir`. Raises ServiceFailed.
    """
    home = (workdir / "airflow").absolute()
    home.mkdir(parents=True, exist_ok=True)
    password = secrets.token_urlsafe(12)
    (home / "passwords.json").write_text(json.dumps({_USER: password}))
    port, worker_logs, trigger_logs = free_ports(3)
    url = f"http://{ADDRESS}:{port}"
    settings = _settings(home, port, dags_folder, parallelism) | {
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
    }
    settings |= env or {}
    argv = [sys.executable, "-m", "airflow"]
    process, successor = (
        ServiceProcess(name, [*argv, part], workdir / f"{name}.log", settings, cwd=home, grace_seconds=_GRACE_SECONDS)
        for name, part in (("airflow", "standalone"), ("triggerer", "triggerer"))
    )
    triggerer = Triggerer(url, process, successor)
    with running(process, lambda: _is_healthy(url), _READY_SECONDS), AirflowApi(url, _USER, password) as api:
        try:
            yield Airflow(url, _USER, password, home, process.log_path, process.pid, api, triggerer)
        finally:
            successor.stop()


def _settings(home: Path, port: int, dags_folder: Path, parallelism: int) -> dict[str, str]:
    url = f"http://{ADDRESS}:{port}"
    return {
        "AIRFLOW_HOME": str(home),
        # `standalone` starts its parts as `airflow …`.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "AIRFLOW__API__HOST": ADDRESS,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(32),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder.absolute()),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": str(parallelism),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{_USER}:admin",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        # How long an ended process can stay unseen. With the default, 5, Airflow may learn that a task has left its
        # worker only when the triggerer is done and the task runs again, which counts as a failed try.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    }


def _is_healthy(url: str) -> bool:
    health = _health(url)
    return all(health.get(part, {}).get("status") == "healthy" for part in _PARTS)


def _last_beat(url: str) -> datetime:
    beat = _health(url).get("triggerer", {}).get("latest_triggerer_heartbeat")
    return datetime.fromisoformat(beat) if beat else datetime.min.replace(tzinfo=UTC)


def _health(url: str) -> dict[str, Any]:
    """Return what Airflow says of its parts, nothing as long as it can't."""
    with session() as direct:
        answer = direct.get(f"{url}/api/v2/monitor/health", timeout=5)
    return dict(answer.json()) if answer.ok else {}


def _is_alive(process: psutil.Process) -> bool:
    """Tell whether it runs; standalone reaps none of its parts."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
