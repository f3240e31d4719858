"""Two clusters that write their backups to one place, on real servers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from airflow_provider_vectorbackup.operators import WeaviateVerifyBackupOperator
from tests.e2e.migration_lab import preflight
from tests.e2e.traps_lab import LOCATION, PREFIX, SLOW_UPLOADS, Server, connect, on_worker, start
from tests.operators.contexts import TaskRun
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.services.process import wait_until
from tests.services.weaviate import weaviate_server


def test_trap_19_start_of_another_cluster_cancels_a_backup(
    new: Server, services_folder: Path, minio: S3Settings
) -> None:
    """Trap 19: a cluster that cleans up at its start marks what another one is writing; that one overwrites it."""
    new.fill()
    new.line.mode = SLOW_UPLOADS
    with ThreadPoolExecutor(1) as aside:
        task = start(aside, on_worker, new.create("marked", location=LOCATION))
        cleaning = {"ENABLE_CLEANUP_UNFINISHED_BACKUPS": "true"}
        store = minio.weaviate_env(BUCKET, PREFIX)
        with weaviate_server(services_folder / "cleaning", backups=[store], env=cleaning) as other:
            wait_until(lambda: new.bucket.read("marked/backup_config.json")["status"] == "CANCELED", 30, "the mark")
            assert new.status("marked") == "STARTED"
            new.line.mode = "ok"
            assert task.result()["status"] == "SUCCESS"
            extra = {"default_backend": "s3", "s3_location": LOCATION}
            connect("cleaning", conn_type="weaviate_backup", host=other.host, port=other.port, extra=extra)
            plan = preflight(new.conn_id, "cleaning", source_location=LOCATION)
    assert new.bucket.read("marked/backup_config.json")["status"] == "SUCCESS"
    verify = WeaviateVerifyBackupOperator(task_id="verify", location=LOCATION, backup_id="marked", level="deep")
    assert verify.execute(TaskRun().context)["is_whole"] is True
    assert not plan["is_copied"]
    (warning,) = plan["warnings"]
    assert "a start of one marks running backups of the other as CANCELED" in warning
