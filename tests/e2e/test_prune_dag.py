"""The example Dag of retention, run by Airflow on a real store; with an approval: `test_scheduler.py`."""

from __future__ import annotations

import pytest

from tests.e2e.copy_lab import BigBackup
from tests.e2e.migration_lab import example, shown
from tests.e2e.prune_lab import CONN, etags, ids_of, without_waiting
from tests.e2e.running import run
from tests.e2e.traps_lab import connect
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings

RETENTION, PATH = "vectorbackup_retention", "prune-dag"
LOCATION = f"s3://{CONN}@{BUCKET}/{PATH}"
RULES = dict.fromkeys(("keep_daily", "keep_weekly", "keep_monthly")) | {"keep_last": 1, "max_delete_fraction": 1}
BACKUPS = [BigBackup(name, files=1, file_bytes=1000, made=made) for made, name in enumerate(("one", "two", "newest"))]


@pytest.fixture(scope="module", autouse=True)
def filled(minio: S3Settings, airflow_db: object) -> None:
    connect(CONN, **minio.airflow_connection)
    for backup in BACKUPS:
        backup.put(minio, PATH)


def test_dag_tells_what_it_would_delete_and_deletes_it_when_told_to() -> None:
    before = etags(LOCATION)
    conf = RULES | {"location": LOCATION}
    dry = run(example(RETENTION), conf)
    assert dry.state == "success", shown(dry.tasks)
    assert dry.tasks == {
        "prune_backups.plan": "success",
        "prune_backups.approve": "skipped",
        "prune_backups.prune": "skipped",
    }
    assert dry.values["prune_backups.plan"]["deleted"] == ["two", "one"]
    assert etags(LOCATION) == before
    with without_waiting():
        done = run(example(RETENTION), conf | {"dry_run": False})
    assert done.state == "success", shown(done.tasks)
    assert done.tasks["prune_backups.approve"] == "skipped"
    assert done.values["prune_backups.prune"]["deleted"] == ["two", "one"]
    assert ids_of(etags(LOCATION)) == {"newest"}
