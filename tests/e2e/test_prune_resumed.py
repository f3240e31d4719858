"""Prunes that are killed in the midst: the next try finishes what they have begun, and nobody else does meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.copy_lab import BigBackup, opened
from tests.e2e.prune_lab import CONN, etags, ids_of, kill_once, prune, without_waiting
from tests.e2e.traps_lab import connect
from tests.operators.contexts import TaskRun
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings

PATH, LINE_CONN = "prune-resumed", "prune_line"
LOCATION = f"s3://{CONN}@{BUCKET}/{PATH}"
BACKUPS = [BigBackup(name, files=1, file_bytes=1000, made=made) for made, name in enumerate(("one", "two", "newest"))]
RUN: dict[str, Any] = {"task_id": "prune", "run_id": "scheduled__2026-11-22"}


@pytest.fixture(scope="module")
def line(minio: S3Settings, airflow_db: Path) -> Iterator[FaultProxy]:
    """To the store, for the tasks that are killed."""
    with fault_proxy(int(minio.endpoint.rpartition(":")[2])) as line:
        connect(CONN, **minio.airflow_connection)
        extra = minio.airflow_connection["extra"] | {"endpoint_url": f"http://127.0.0.1:{line.port}"}
        connect(LINE_CONN, **minio.airflow_connection | {"extra": extra})
        yield line


def test_killed_prune_goes_on_when_it_runs_again(minio: S3Settings, line: FaultProxy, services_folder: Path) -> None:
    log, behind = services_folder / "prune-resumed.log", LOCATION.replace(CONN, LINE_CONN)
    for backup in BACKUPS:
        backup.put(minio, PATH)
    before = etags(LOCATION)

    with opened(LOCATION) as store:

        def is_hidden() -> bool:
            return ids_of(stored.key for stored in store.list_objects()) == {"newest"}

        kill_once(is_hidden, log, behind, RUN, settle_seconds=60)
    hidden = etags(LOCATION)
    assert before.keys() - hidden.keys() == {"one/backup_config.json", "two/backup_config.json"}

    with without_waiting():
        others = prune(LOCATION, TaskRun(run_id="manual__2026-11-22"))
    assert others["deleted"] == []
    assert others["spared"].keys() == {"one", "two"}
    assert "holds a lease on it (prune)" in others["spared"]["one"]

    line.mode = "hold:POST /"  # the deletion of what is hidden
    kill_once(lambda: line.held > 0, log, behind, RUN)
    line.mode = "down"
    assert etags(LOCATION).keys() == hidden.keys()

    with without_waiting():
        report = prune(LOCATION, TaskRun(**RUN))
        assert prune(LOCATION, TaskRun(**RUN))["deleted"] == []
    assert (set(report["deleted"]), report["spared"], report["failed"]) == ({"one", "two"}, {}, {})
    assert report["reasons"]["one"] == "its deletion had begun"
    assert etags(LOCATION) == {key: etag for key, etag in before.items() if key.startswith("newest/")}
