"""Copies that several workers share, in Dag runs: one is lost, nothing is to be done, or is only to be told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_vectorbackup.backups.copies import balanced_shares
from airflow_provider_vectorbackup.compat import AirflowException
from airflow_provider_vectorbackup.operators import WeaviateVerifyBackupOperator
from airflow_provider_vectorbackup.task_groups import copy_backup
from tests.e2e.copy_lab import (
    MIB,
    OTHER_S3,
    BigBackup,
    Places,
    connected,
    copy_task,
    digests,
    kill_once,
    noted_bytes,
    opened,
)
from tests.e2e.running import START, DagRunResult, output, run
from tests.operators.contexts import TaskRun
from tests.services.object_stores import AzureSettings, GCSSettings, S3Settings

SOURCE, TARGET = "shared-source", "shared-target"
BACKUP = BigBackup("shared", files=3, file_bytes=52 * MIB)
PART_BYTES = 16 * MIB
TASKS = ("copy_backup.plan", "copy_backup.move", "copy_backup.finish", "verify")
LOST = 1
"""The share whose worker is lost."""


@dataclass
class Workers:
    """What the workers of a run are seen to do: shares and what came of them, in order.

    :ivar noted: bytes that the lost one had written down.
    """

    places: Places
    log: Path
    began: list[int] = field(default_factory=list)
    ended: dict[int, dict[str, int]] = field(default_factory=dict)
    noted: int = 0

    def __deepcopy__(self, memo: object) -> Workers:
        """Stay the one: Airflow copies the default arguments of tasks, deeply."""
        return self

    def begin(self, context: Any) -> None:
        """Lose the first worker that takes a certain share, as its machine would: by SIGKILL, in the midst."""
        task, ti = context["task"], context["ti"]
        if not ti.task_id.endswith(".move"):
            return
        self.began.append(task.share)
        if task.share != LOST or self.began.count(LOST) > 1:
            return
        names = ("source", "target", "backup_id", "share", "plan")
        killed = {name: getattr(task, name) for name in names} | {"threads": 1, "max_mib_per_second": 4}
        others = self._noted()
        run_of = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
        kill_once(lambda: self._noted() > others, self.log, killed, run_of)
        self.noted = self._noted() - others
        raise AirflowException("The worker is lost.")

    def end(self, context: Any, result: Any) -> None:
        """Put down what came of a share."""
        if context["ti"].task_id.endswith(".move"):
            self.ended[context["task"].share] = result

    def _noted(self) -> int:
        return noted_bytes(self.places.uri("s3", TARGET, OTHER_S3), BACKUP, PART_BYTES)


@pytest.fixture(scope="module")
def places(services_folder: Path, minio: S3Settings, airflow_db: Path) -> Iterator[Places]:
    with connected(Places(minio, GCSSettings(""), AzureSettings("", "", ""), services_folder)) as found:
        BACKUP.put(minio, SOURCE)
        yield found


@pytest.fixture
def workers(places: Places, services_folder: Path) -> Workers:
    return Workers(places, services_folder / "shared.log")


def _run(workers: Workers, target: str = TARGET, **options: Any) -> DagRunResult:
    """Copy with three workers, and verify what they copied; each task has a second try."""

    # Functions: Airflow makes copies of default_args, and a method's would be of what it belongs to.
    def begin(context: Any) -> None:
        workers.begin(context)

    def end(context: Any, result: Any) -> None:
        workers.end(context, result)

    watched = {"retries": 1, "retry_delay": 0, "pre_execute": begin, "post_execute": end}
    source, copied_to = workers.places.uri("s3", SOURCE), workers.places.uri("s3", target, OTHER_S3)
    with DAG("copy_shared", schedule=None, start_date=START) as dag:
        group = copy_backup(source=source, target=copied_to, workers=3, default_args=watched, **options)
        if not options.get("dry_run"):
            finish: Any = dag.get_task("copy_backup.finish")
            verify = WeaviateVerifyBackupOperator(
                task_id="verify",
                location=output(finish, "location"),
                backup_id=output(finish, "backup_id"),
                level="deep",
            )
            group >> verify
    return run(dag)


def test_lost_worker_repeats_its_own_share(workers: Workers) -> None:
    result = _run(workers)
    assert result.state == "success", result.tasks
    assert sorted(workers.began) == [0, LOST, LOST, 2]
    chunks = sorted(key for key in BACKUP.objects if "/chunk-" in key)
    sizes = [len(BACKUP.objects[key]) for key in chunks]
    shares = [sum(sizes[index] for index in given) for given in balanced_shares(sizes, 3)]
    skipped = [workers.noted if share == LOST else 0 for share in range(3)]
    assert PART_BYTES <= workers.noted < shares[LOST]
    for share in range(3):
        moved, there = workers.ended[share]["bytes_moved"], workers.ended[share]["bytes_skipped"]
        assert (moved, there) == (shares[share] - skipped[share], skipped[share])
    finish = result.values["copy_backup.finish"]
    assert (finish["copied"], finish["dry_run"], finish["method"]) == ([BACKUP.backup_id], False, "streamed")
    assert (finish["bytes_moved"], finish["bytes_skipped"]) == (BACKUP.size_bytes - workers.noted, workers.noted)
    assert finish["objects"] == len(BACKUP.objects)
    assert finish["manifests"] == [f"{BACKUP.own}manifest.json"]
    verify = result.values["verify"]
    assert (verify["is_whole"], verify["damage"], verify["warnings"], verify["unchecked"]) == (True, [], [], "")
    assert _names(workers, TARGET) == BACKUP.objects.keys() | {f"{BACKUP.own}manifest.json"}
    assert digests(workers.places.uri("s3", TARGET)) == digests(workers.places.uri("s3", SOURCE))


def test_run_with_nothing_to_do(workers: Workers) -> None:
    before = _names(workers, TARGET)
    result = _run(workers)
    assert (result.state, workers.began) == ("success", [])
    assert result.tasks == dict.fromkeys(TASKS, "success") | {"copy_backup.move": "skipped"}
    finish = result.values["copy_backup.finish"]
    assert (finish["copied"], finish["skipped"]) == ([], [BACKUP.backup_id])
    assert (finish["objects"], finish["bytes_moved"], finish["bytes_skipped"]) == (0, 0, BACKUP.size_bytes)
    assert _untimed(finish) == _of_one_task(workers, TARGET)
    assert _names(workers, TARGET) == before


def test_dry_run_writes_nothing(workers: Workers) -> None:
    result = _run(workers, "shared-dry", dry_run=True)
    assert (result.state, workers.began) == ("success", [])
    assert result.tasks["copy_backup.move"] == "skipped"
    finish = result.values["copy_backup.finish"]
    assert (finish["dry_run"], finish["copied"]) == (True, [BACKUP.backup_id])
    assert (finish["objects"], finish["bytes_moved"]) == (len(BACKUP.objects), BACKUP.size_bytes)
    assert _untimed(finish) == _of_one_task(workers, "shared-dry", dry_run=True)
    assert _names(workers, "shared-dry") == set()
    with opened(workers.places.uri("s3", SOURCE)) as store:
        assert {stored.key for stored in store.list_objects()} == BACKUP.objects.keys()


def _of_one_task(workers: Workers, target: str, **options: Any) -> dict[str, Any]:
    """Return what a single task returns."""
    source, copied_to = workers.places.uri("s3", SOURCE), workers.places.uri("s3", target, OTHER_S3)
    return _untimed(copy_task(source, copied_to, BACKUP.backup_id, **options).execute(TaskRun().context))


def _untimed(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in {"seconds", "rate_bytes_per_second"}}


def _names(workers: Workers, prefix: str) -> set[str]:
    """Return all that lies in a place, ours included."""
    with opened(workers.places.uri("s3", prefix)) as store:
        return {stored.key for stored in store.list_objects()}
