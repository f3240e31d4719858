"""Back up to S3 every night, copy the backup to another provider, and verify it there.

1. `back_up` makes a backup of the server, where the server writes: S3, say.
2. `copy` copies it, with those of its bases that are not there yet, to a location of another provider. Bytes pass
   through the worker in bounded memory, each is hashed on its way, and no file is written. Weaviate sees the copy once
   it is whole. A task that was killed goes on where it was when it is tried again.
3. `verify` reads the copy there to its last byte, without a server, and compares it with the checksums of the copy.
4. `restore`, if the form names a server for it, restores the copy into that one: a server whose own bucket and path are
   those of the target location. Without one, as on scheduled runs, this is skipped.

A provider that fails, an account that is closed, a bucket that somebody empties: the copy is there all the same, and
any Weaviate that has the other backend enabled restores from it. The id stays what it is.

It needs a connection of type `weaviate_backup` with a location for the backend, and one connection for each end of the
copy, whose id stands before the @ of its location: one that may read the source, and one that may list, read, write and
delete in the target. To share a large copy among several workers, take the task group `copy_backup` from
`airflow_provider_vectorbackup.task_groups` in place of the operator.

`make demo` runs this Dag.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_vectorbackup.operators import (
    WeaviateCopyBackupOperator,
    WeaviateCreateBackupOperator,
    WeaviateRestoreBackupOperator,
    WeaviateVerifyBackupOperator,
)

TARGET = "gs://google_cloud_default@backups/weaviate"
"""Put your own here: also s3://aws_default@bucket/path, azure://wasb_default@container/path, file:///dir."""

BACKUP_ID = "{{ ti.xcom_pull(task_ids='back_up', key='backup_id') }}"
SOURCE = "{{ ti.xcom_pull(task_ids='back_up', key='location') }}"

PARAMS = {
    "weaviate_conn_id": Param(
        "weaviate_default",
        type="string",
        minLength=1,
        title="Weaviate connection",
        description="The server to back up. The connection must hold a location for the backend.",
        section="Where",
    ),
    "backend": Param(
        None,
        type=["null", "string"],
        enum=[None, "s3", "gcs", "azure", "filesystem"],
        values_display={
            "null": "The connection's default",
            "s3": "Amazon S3, or compatible",
            "gcs": "Google Cloud Storage",
            "azure": "Azure Blob Storage",
            "filesystem": "A directory of the server (one node only)",
        },
        title="Backend",
        description="Where the server writes.",
        section="Where",
    ),
    "target": Param(
        TARGET,
        type="string",
        minLength=1,
        title="Copied to",
        description="A location of any provider; the copy gets the same id there.",
        section="Where",
    ),
    "incremental_base": Param(
        "full",
        type="string",
        enum=["full", "latest"],
        values_display={"full": "Full backup", "latest": "Only what changed since the newest finished backup"},
        title="Full or incremental",
        description="Of an incremental one, all bases that the target lacks are copied with it.",
        section="How",
    ),
    "max_mib_per_second": Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        title="At most so many MiB a second",
        description="Nothing given: as fast as it goes.",
        section="How",
    ),
    "restore_conn_id": Param(
        None,
        type=["null", "string"],
        title="Then restore it into this server",
        description="A Weaviate connection whose server reads the target location. Nothing given: don't.",
        section="Proof",
    ),
    "restore_backend": Param(
        None,
        type=["null", "string"],
        enum=[None, "s3", "gcs", "azure", "filesystem"],
        values_display={
            "null": "The connection's default",
            "s3": "Amazon S3, or compatible",
            "gcs": "Google Cloud Storage",
            "azure": "Azure Blob Storage",
            "filesystem": "A directory of the server",
        },
        title="Backend of that server",
        description="What it calls the target's provider.",
        section="Proof",
    ),
}

with DAG(
    dag_id="vectorbackup_cross_provider_copy",
    description="Back up nightly, copy to another provider, verify there",
    doc_md=__doc__,
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # A retry of the copy moves only what is left.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=2)},
    params=PARAMS,
    tags=["weaviate", "backup", "copy"],
) as dag:
    back_up = WeaviateCreateBackupOperator(
        task_id="back_up",
        weaviate_conn_id="{{ params.weaviate_conn_id }}",
        backend="{{ params.backend }}",
        incremental_base_backup_id="{{ '' if params.incremental_base == 'full' else params.incremental_base }}",
        deferrable=True,
        timeout=timedelta(hours=12),
    )

    # [START howto_operator_copy_backup]
    copy = WeaviateCopyBackupOperator(
        task_id="copy",
        backup_id=BACKUP_ID,
        source=SOURCE,
        target="{{ params.target }}",
        max_mib_per_second="{{ params.max_mib_per_second }}",
        execution_timeout=timedelta(hours=12),
    )
    # [END howto_operator_copy_backup]

    verify = WeaviateVerifyBackupOperator(
        task_id="verify",
        location="{{ params.target }}",
        backup_id=BACKUP_ID,
        level="deep",
        execution_timeout=timedelta(hours=12),
    )

    @task.short_circuit
    def is_restore_wanted(params: dict[str, Any] | None = None) -> bool:
        """Skip the restore unless the form names a server."""
        return bool((params or {}).get("restore_conn_id"))

    restore = WeaviateRestoreBackupOperator(
        task_id="restore",
        weaviate_conn_id="{{ params.restore_conn_id }}",
        backend="{{ params.restore_backend }}",
        location="{{ params.target }}",
        backup_id=BACKUP_ID,
        deferrable=True,
        timeout=timedelta(hours=12),
    )

    back_up >> copy >> verify >> is_restore_wanted() >> restore
