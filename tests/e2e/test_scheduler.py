"""A whole Airflow: scheduler, triggerer, database, and connections made in its UI, not in the environment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import DAGS_FOLDER
from tests.e2e.conftest import PREFIX, Lab
from tests.e2e.copy_lab import BigBackup
from tests.e2e.test_prune_dag import RETENTION, RULES
from tests.services import dataset
from tests.services.airflow import Airflow, airflow_standalone
from tests.services.fixtures import BUCKET
from tests.services.process import wait_until

DAG = "vectorbackup_backup_and_restore"
NIGHTLY = "vectorbackup_scheduled_backup"
VERIFY = "vectorbackup_verify_nightly"
FRESHNESS = "vectorbackup_freshness_alert"
MIGRATION = "vectorbackup_environment_migration"
LOCATION = f"s3://aws_default@{BUCKET}/{PREFIX}"


@pytest.fixture(scope="module")
def airflow(lab: Lab, services_folder: Path) -> Iterator[Airflow]:
    with airflow_standalone(services_folder / "whole", dags_folder=DAGS_FOLDER) as airflow:
        for conn_id, node in (
            ("weaviate_default", lab.source),
            ("weaviate_restore_target", lab.target),
            ("weaviate_target", lab.target),
        ):
            connection = {
                "connection_id": conn_id,
                "conn_type": "weaviate_backup",
                "host": node.host,
                "port": node.port,
                "extra": f'{{"default_backend": "s3", "s3_location": "{LOCATION}", "http_secure": false}}',
            }
            airflow.api.call("POST", "/connections", connection)
        store = lab.s3.airflow_connection
        store |= {"connection_id": "aws_default", "extra": json.dumps(store["extra"])}
        airflow.api.call("POST", "/connections", store)
        yield airflow


def test_connection_form_has_our_fields(airflow: Airflow) -> None:
    headers = {"Authorization": f"Bearer {airflow.api.token()}"}
    forms = requests.get(f"{airflow.url}/ui/connections/hook_meta", headers=headers, timeout=30).json()
    ours = next(form for form in forms if form["connection_type"] == "weaviate_backup")
    assert ours["hook_name"] == "Weaviate Backup"
    assert {"default_backend", "s3_location", "token", "verify_tls"} <= set(ours["extra_fields"])
    assert ours["extra_fields"]["token"]["schema"]["format"] == "password"
    assert ours["standard_fields"]["host"]["placeholder"] == "weaviate.example.com"


def test_provider_is_listed(airflow: Airflow) -> None:
    providers = airflow.api.call("GET", "/providers", limit=1000)["providers"]
    assert "airflow-provider-vectorbackup" in {provider["package_name"] for provider in providers}


def test_backup_and_restore_through_the_scheduler(airflow: Airflow, lab: Lab) -> None:
    dataset.drop(lab.target.url)
    airflow.api.wait_for_dag(DAG)
    airflow.api.unpause(DAG)
    run_id = airflow.api.trigger(DAG, {"collections": ["Air*", "Car"]})
    states: list[tuple[str, str]] = []
    ended = airflow.api.wait_for_run(DAG, run_id, 240, lambda task, state: states.append((task, state)))
    log = airflow.api.task_log(DAG, run_id, "back_up")
    assert ended == "success", log
    assert dataset.count(lab.target.url) == {
        label: count for label, count in lab.counts.items() if not label.startswith("Barley")
    }
    result = airflow.api.xcom(DAG, run_id, "back_up")
    assert result["collections"] == ["Airport", "Car"]
    assert airflow.api.xcom(DAG, run_id, "back_up", key="backup_id") == result["backup_id"]
    # The log that the user opens: the start, and one line for each change of status that was seen; none for each poll.
    assert f"Backup '{result['backup_id']}' of 2 collection(s) (Airport, Car) started: {result['uri']}" in log
    lines = re.findall(rf"Backup '{result['backup_id']}' on s3: (\w+) after [\d.]+ s", log)
    assert lines in (["SUCCESS"], ["STARTED", "SUCCESS"])


def test_scheduled_backup_from_its_form(airflow: Airflow, lab: Lab) -> None:
    """As somebody presses Trigger and picks collections in the form."""
    airflow.api.wait_for_dag(NIGHTLY)
    airflow.api.unpause(NIGHTLY)
    run_id = airflow.api.trigger(NIGHTLY, {"include": ["Barley"]})
    assert airflow.api.wait_for_run(NIGHTLY, run_id, 240) == "success"
    task = airflow.api.task_instances(NIGHTLY, run_id)[0]["task_id"]
    assert airflow.api.xcom(NIGHTLY, run_id, task)["collections"] == ["Barley"]


def test_verification_of_the_newest_backup(airflow: Airflow, lab: Lab) -> None:
    backup_id = newest(airflow)
    airflow.api.wait_for_dag(VERIFY)
    airflow.api.unpause(VERIFY)
    run_id = airflow.api.trigger(VERIFY, {"location": LOCATION})
    ended = airflow.api.wait_for_run(VERIFY, run_id, 240)
    log = airflow.api.task_log(VERIFY, run_id, "verify")
    assert ended == "success", log
    report = airflow.api.xcom(VERIFY, run_id, "verify")
    assert (report["backup_id"], report["level"], report["is_whole"]) == (backup_id, "deep", True)
    assert f"{LOCATION}/{backup_id}: whole, by a deep look at {report['objects']} objects" in log
    assert "_vectorbackup/verify-deep.json" in lab.objects(backup_id)


def test_alert_when_backups_are_too_old(airflow: Airflow) -> None:
    backup_id = newest(airflow)
    airflow.api.wait_for_dag(FRESHNESS)
    airflow.api.unpause(FRESHNESS)
    task = "is_there_a_fresh_backup"
    fresh = airflow.api.trigger(FRESHNESS, {"location": LOCATION, "collections": ["Barley"]})
    assert airflow.api.wait_for_run(FRESHNESS, fresh, 240) == "success"
    assert airflow.api.xcom(FRESHNESS, fresh, task)["backup_id"] == backup_id
    stale = airflow.api.trigger(FRESHNESS, {"location": LOCATION, "max_age_hours": 0.0001})
    assert airflow.api.wait_for_run(FRESHNESS, stale, 240) == "failed"
    log = airflow.api.task_log(FRESHNESS, stale, task)
    assert re.search(rf"BACKUPS STOPPED: {LOCATION}: The newest whole backup, {backup_id}, is [\d:]+ old", log), log


@pytest.mark.parametrize("answer", ["Reject", "Approve"])
def test_migration_waits_for_approval(airflow: Airflow, lab: Lab, answer: str) -> None:
    """Whoever is asked sees the plan; a no leaves the target as it is."""
    dataset.drop(lab.target.url)
    airflow.api.wait_for_dag(MIGRATION)
    airflow.api.unpause(MIGRATION)
    run_id = airflow.api.trigger(MIGRATION, {"include": ["Barley"], "dry_run": False})
    asked = question(airflow, MIGRATION, run_id, "migrate.approve")
    assert (asked["subject"], asked["defaults"]) == ("Restore into weaviate_target?", ["Reject"])
    assert "| Collections | 1: Barley |" in asked["body"]
    assert "| Copied | no, both clusters use one place |" in asked["body"]
    assert dataset.count(lab.target.url) == {}
    give(airflow, MIGRATION, run_id, "migrate.approve", answer)
    assert airflow.api.wait_for_run(MIGRATION, run_id, 240) == "success"
    report = airflow.api.xcom(MIGRATION, run_id, "migrate.report")
    assert report["outcome"] == {"Reject": "rejected", "Approve": "migrated"}[answer]
    assert dataset.count(lab.target.url) == ({} if answer == "Reject" else {"Barley": lab.counts["Barley"]})


@pytest.mark.parametrize("answer", ["Reject", "Approve"])
def test_prune_waits_for_approval(airflow: Airflow, lab: Lab, answer: str) -> None:
    """Whoever is asked sees the plan; a no leaves all backups where they are."""
    path = f"approved-{answer.lower()}"
    for made, name in enumerate(("old", "newest")):
        BigBackup(name, files=1, file_bytes=1000, made=made).put(lab.s3, path)
    airflow.api.wait_for_dag(RETENTION)
    airflow.api.unpause(RETENTION)
    conf = RULES | {"location": f"s3://aws_default@{BUCKET}/{path}", "dry_run": False, "approval": True}
    run_id = airflow.api.trigger(RETENTION, conf)
    asked = question(airflow, RETENTION, run_id, "prune_backups.approve")
    assert (asked["subject"], asked["defaults"]) == ("Delete these backups?", ["Reject"])
    assert re.search(r"\| delete \| old \(2026-01-10 01:41 UTC, [^|]+ \| no rule keeps it \|", asked["body"])
    give(airflow, RETENTION, run_id, "prune_backups.approve", answer)
    assert airflow.api.wait_for_run(RETENTION, run_id, 240) == "success"
    states = {task["task_id"]: task["state"] for task in airflow.api.task_instances(RETENTION, run_id)}
    assert states["prune_backups.prune"] == ("skipped" if answer == "Reject" else "success")
    with lab.s3.client() as client:
        found = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{path}/")["Contents"]
    left = {entry["Key"].split("/")[1] for entry in found}
    assert left == ({"old", "newest"} if answer == "Reject" else {"newest"})


def question(airflow: Airflow, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
    """Wait until a task asks somebody; return what it asks."""
    asked = dict[str, Any]()

    def is_asked() -> bool:
        tasks = {task["task_id"]: task["state"] for task in airflow.api.task_instances(dag_id, run_id)}
        assert "failed" not in tasks.values(), tasks
        if tasks.get(task_id) in ("awaiting_input", "deferred"):
            asked.update(airflow.api.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/{_asking(task_id)}"))
        return bool(asked)

    wait_until(is_asked, 240, "the question", 0.5)
    return asked


def give(airflow: Airflow, dag_id: str, run_id: str, task_id: str, answer: str) -> None:
    """Answer what a task has asked."""
    asked_at = datetime.now(UTC)
    # An answer that comes before the scheduler has seen that the worker is done counts as a failed try.
    wait_until(lambda: scheduler_seen_at(airflow) > asked_at, 60, "the scheduler", 0.5)
    body = {"chosen_options": [answer], "params_input": {}}
    airflow.api.call("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}/{_asking(task_id)}", body)


def _asking(task_id: str) -> str:
    return f"taskInstances/{task_id}/-1/hitlDetails"


def scheduler_seen_at(airflow: Airflow) -> datetime:
    """Return when the scheduler was last heard of."""
    return datetime.fromisoformat(airflow.api.call("GET", "/monitor/health")["scheduler"]["latest_scheduler_heartbeat"])


def newest(airflow: Airflow) -> str:
    """Return the id of the last backup of the scheduled Dag: it makes one by its schedule too, one after the other."""

    def runs() -> list[dict[str, Any]]:
        return list(airflow.api.call("GET", f"/dags/{NIGHTLY}/dagRuns", order_by="-start_date")["dag_runs"])

    def are_over() -> bool:
        found = runs()
        kinds = {run["run_type"] for run in found}
        return kinds == {"manual", "scheduled"} and all(run["state"] == "success" for run in found)

    wait_until(are_over, 240, f"the runs of {NIGHTLY}", 1.0)
    run_id = runs()[0]["dag_run_id"]
    task = airflow.api.task_instances(NIGHTLY, run_id)[0]["task_id"]
    return str(airflow.api.xcom(NIGHTLY, run_id, task)["backup_id"])
