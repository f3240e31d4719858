"""Runs a whole Airflow (`airflow standalone`: scheduler, triggerer, dag processor, API server) on 127.0.0.1."""

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.airflow_api import AirflowApi
from tests.services.loopback import ADDRESS, free_ports, session
from tests.services.process import ServiceProcess, running

_READY_SECONDS = 180.0
_PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
_USER = "admin"


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
    argv = [sys.executable, "-m", "airflow", "standalone"]
    process = ServiceProcess("airflow", argv, workdir / "airflow.log", settings | dict(env or {}), cwd=home)
    with running(process, lambda: _is_healthy(url), _READY_SECONDS), AirflowApi(url, _USER, password) as api:
        yield Airflow(url, _USER, password, home, process.log_path, process.pid, api)


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
    }


def _is_healthy(url: str) -> bool:
    with session() as direct:
        answer = direct.get(f"{url}/api/v2/monitor/health", timeout=5)
    return answer.ok and all(answer.json()[part]["status"] == "healthy" for part in _PARTS)
