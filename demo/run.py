"""Run the demo: ``python -m demo.run [--once]``, or ``make demo``.

Exit code 0: all went well; 1: something failed, or is not equal; 130: stopped from outside before the end.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import psutil

from demo import report
from demo.progress import Progress
from demo.stage import (
    COPY_LOCATION,
    SOURCE_CONN_ID,
    TARGET_CONN_ID,
    Servers,
    start_airflow,
    start_other_store,
    start_store,
    start_weaviate,
)
from tests.services import dataset
from tests.services.airflow import Airflow
from tests.services.binaries import WEAVIATE, ServiceUnavailable
from tests.services.process import ServiceFailed

DAG_ID = "vectorbackup_cross_provider_copy"
STEPS = (
    "An S3 server, and a stand-in of Google Cloud Storage",
    f"Two Weaviate servers, {WEAVIATE}",
    "Data for the source",
    "Airflow: scheduler, triggerer, Dag processor, UI",
    f"The Dag {DAG_ID}, run by the scheduler",
    "Source and target, compared",
)
QUERY = "Chicago Illinois airport"
INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_RUN_SECONDS = 300.0
_TAIL_LINES = 30


class DemoFailed(Exception):
    """The demo did not show what it should; the message says what, in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="demo", description="Back up one Weaviate and restore it into another.")
    parser.add_argument("--once", action="store_true", help="end by itself instead of leaving Airflow's UI up")
    once: bool = parser.parse_args(arguments).once
    for number in _SIGNALS:
        # Set in any case: a shell without a terminal has its background jobs ignore SIGINT.
        signal.signal(number, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="vectorbackup-demo-"))
    code, last_words = _play(folder, once)
    if code == 1:
        print(f"Logs and data are kept in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    print(last_words, flush=True)
    return code


def _play(folder: Path, once: bool) -> tuple[int, str]:
    """Do everything, and leave no process behind; return the exit code and the last line to print."""
    shown = False
    try:
        with ExitStack() as services:
            try:
                airflow = show(services, folder)
                shown = True
                if not once:
                    stay_up(airflow)
            finally:
                _be_undisturbed()
                print("\nStopping all services.", flush=True)
    except KeyboardInterrupt:
        return (0, "Stopped.") if shown else (INTERRUPTED, "Stopped before the end.")
    except (DemoFailed, ServiceFailed, ServiceUnavailable, dataset.LoadFailed, TimeoutError) as error:
        what, *details = str(error).splitlines()
        print("", *details, sep="\n")
        advice = f" {details[-1]}" if isinstance(error, ServiceUnavailable) else ""
        return 1, f"FAILED: {what.removesuffix(' Tried:')}{advice}"
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing is left running and the last line says so
        traceback.print_exc()
        return 1, f"FAILED: {type(error).__name__}: {error}"
    return 0, "OK: backed up, copied, verified, restored, and the same on both sides."


def show(services: ExitStack, folder: Path) -> Airflow:
    """Start everything, run the Dag, compare, print the summary; return the running Airflow.

    :raises DemoFailed: the run failed, or the target does not hold what the source does.
    """
    print("Airflow backs up a Weaviate to S3, copies the backup to Google Cloud Storage, verifies it there, and")
    print("restores it from there into a second, empty Weaviate, which knows nothing of S3: on 127.0.0.1 only, with")
    print(f"servers of its own, in {folder}. Ctrl-C stops all of it, at any time.")
    with Progress(STEPS) as progress:
        servers = _start_servers(services, folder, progress)
        progress.step()
        loaded = dataset.load(servers.source.url)
        progress.say(f"{sum(loaded.values()):,} objects: {', '.join(loaded)}")
        progress.step()
        progress.say("starting, which takes about half a minute")
        airflow = start_airflow(services, folder, servers)
        progress.say(f"up: {airflow.url}")
        progress.step()
        run_id = _run_dag(airflow, progress)
        progress.step()
        facts = _facts(airflow, run_id, servers, loaded)
    print(report.summary(facts))
    if found := report.problems(facts):
        raise DemoFailed(" ".join(found))
    print(f"\n  Airflow's UI   {airflow.url}/dags/{DAG_ID}/runs/{quote(run_id, safe=':')}")
    print(f"  Log in as      {airflow.username}, password {airflow.password}", flush=True)
    return airflow


def stay_up(airflow: Airflow) -> None:
    """Wait for Ctrl-C.

    :raises DemoFailed: Airflow ended by itself.
    """
    print("\nAll went well. Airflow stays up; Ctrl-C stops it and everything else.", flush=True)
    while psutil.pid_exists(airflow.pid) and psutil.Process(airflow.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(1.0)
    raise DemoFailed(f"Airflow ended by itself; its log: {airflow.log_path}")


def _start_servers(services: ExitStack, folder: Path, progress: Progress) -> Servers:
    progress.step()
    store, other = start_store(services, folder, progress), start_other_store(services, folder, progress)
    progress.say(f"{store.name} at {store.settings.url}")
    progress.say(f"fake-gcs-server at {other.url}")
    progress.step()
    source = start_weaviate(services, folder / "source", store.settings, progress)
    target = start_weaviate(services, folder / "target", other, progress)
    progress.say(f"source: {source.url}, writes to S3")
    progress.say(f"target: {target.url}, reads from Google Cloud Storage")
    if there := dataset.count(target.url):
        raise DemoFailed(f"The target is not empty: {there}")
    return Servers(store, other, source, target)


def _run_dag(airflow: Airflow, progress: Progress) -> str:
    """Trigger the Dag, follow its run to the end, and return its id.

    :raises DemoFailed: a task failed; the end of its log has been printed.
    """

    def tell(task: str, state: str) -> None:
        if state != "none":
            progress.say(f"{task:<16} {state}")

    api = airflow.api
    api.wait_for_dag(DAG_ID)
    api.unpause(DAG_ID)
    places = {"target": COPY_LOCATION, "restore_conn_id": TARGET_CONN_ID, "restore_backend": "gcs"}
    run_id = api.trigger(DAG_ID, {"weaviate_conn_id": SOURCE_CONN_ID, **places})
    state = api.wait_for_run(DAG_ID, run_id, _RUN_SECONDS, tell)
    if state == "success":
        return run_id
    failed = [task for task in api.task_instances(DAG_ID, run_id) if task["state"] == "failed"]
    for task in failed:
        lines = api.task_log(DAG_ID, run_id, task["task_id"], task["try_number"]).splitlines()[-_TAIL_LINES:]
        print(f"\n--- last lines of the log of task {task['task_id']}, try {task['try_number']}", *lines, sep="\n")
    raise DemoFailed(f"The Dag run failed, in {', '.join(task['task_id'] for task in failed) or 'no task of its own'}.")


def _facts(airflow: Airflow, run_id: str, servers: Servers, loaded: dict[str, int]) -> report.Facts:
    summary = airflow.api.xcom(DAG_ID, run_id, "back_up")
    tasks = sorted(airflow.api.task_instances(DAG_ID, run_id), key=lambda task: str(task["start_date"]))
    source, target = servers.source.url, servers.target.url
    return report.Facts(
        summary=summary,
        copied=airflow.api.xcom(DAG_ID, run_id, "copy"),
        verified=airflow.api.xcom(DAG_ID, run_id, "verify"),
        store=f"{servers.store.name}, {servers.store.settings.url}",
        stored=servers.store.stored(summary["backup_id"]),
        task_seconds={task["task_id"]: task["duration"] or 0.0 for task in tasks},
        loaded=loaded,
        source=dataset.count(source),
        target=dataset.count(target),
        query=QUERY,
        near_source=dataset.near(source, QUERY),
        near_target=dataset.near(target, QUERY),
    )


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does."""
    _be_undisturbed()
    raise KeyboardInterrupt(number)


def _be_undisturbed() -> None:
    """Let no further signal break off the clean-up."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
