"""Back up one Weaviate server and restore it into another.

1. `back_up` makes a backup of the source.
2. `verify` reads it from storage and proves that it can be restored, without a server. For that, the worker must reach
   the storage: the source's connection holds a location for the backend.
3. `wait_until_seen` makes sure that the target finds that backup, finished, in *its* storage: both servers must write
   to the same bucket and path, each by its own settings.
4. `restore` puts it into the target. Collections that are there already make it fail before anything is started, unless
   the form says otherwise.

The source serves reads and writes throughout. The tasks that wait do so on the triggerer, where a wait occupies no
worker.

It is started by hand ("Trigger"): the form asks for the two connections, both of type `weaviate_backup`. The first
task's XCom `backup_id` is what the others work on. Lists are passed with `| tojson`, because templates render to
text.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from airflow_provider_vectorbackup.operators import (
    WeaviateCreateBackupOperator,
    WeaviateRestoreBackupOperator,
    WeaviateVerifyBackupOperator,
)
from airflow_provider_vectorbackup.sensors import WeaviateBackupSensor

COLLECTIONS = ["Airport", "Barley", "Car", "Article*"]
"""What the form proposes: names and wildcards. Put your own here."""

BACKUP_ID = "{{ ti.xcom_pull(task_ids='back_up', key='backup_id') }}"
LOCATION = "{{ ti.xcom_pull(task_ids='back_up', key='location') }}"

PARAMS = {
    "source_conn_id": Param(
        "weaviate_default",
        type="string",
        minLength=1,
        title="Connection of the source",
        description="The server to back up.",
        section="Servers",
    ),
    "target_conn_id": Param(
        "weaviate_restore_target",
        type="string",
        minLength=1,
        title="Connection of the target",
        description="The server to restore into.",
        section="Servers",
    ),
    "backend": Param(
        None,
        type=["null", "string"],
        enum=[None, "s3", "gcs", "azure"],
        values_display={
            "null": "The connection's default",
            "s3": "Amazon S3, or compatible",
            "gcs": "Google Cloud Storage",
            "azure": "Azure Blob Storage",
        },
        title="Backend",
        description="Both servers must have its module enabled, with the same bucket and path.",
        section="Servers",
    ),
    "collections": Param(
        [],
        type=["array", "null"],
        items={"type": "string", "minLength": 1},
        examples=COLLECTIONS,
        title="Collections",
        description="Nothing chosen: all.",
        section="What",
    ),
    "verify": Param(
        "deep",
        type="string",
        enum=["quick", "deep"],
        values_display={
            "quick": "By one listing: everything is there",
            "deep": "By reading every byte: everything is whole",
        },
        title="How the backup is verified",
        section="What",
    ),
    "if_collection_exists": Param(
        "fail",
        type="string",
        enum=["fail", "skip", "replace"],
        values_display={
            "fail": "Fail before anything is started",
            "skip": "Restore only the others",
            "replace": "Delete it in the target, then restore",
        },
        title="If the target has such a collection already",
        section="What",
    ),
    "allow_replace": Param(
        default=False,
        type="boolean",
        title="Yes, delete collections of the target",
        description="Needed as well for the third choice above.",
        section="What",
    ),
}

with DAG(
    dag_id="vectorbackup_backup_and_restore",
    description="Back up one Weaviate server and restore it into another",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    max_active_runs=1,
    default_args={"retries": 1, "retry_delay": timedelta(seconds=30)},
    params=PARAMS,
    tags=["weaviate", "backup", "restore"],
) as dag:
    back_up = WeaviateCreateBackupOperator(
        task_id="back_up",
        weaviate_conn_id="{{ params.source_conn_id }}",
        backend="{{ params.backend }}",
        include="{{ params.collections | tojson }}",
        deferrable=True,
        timeout=timedelta(hours=12),
    )

    # [START howto_operator_verify_backup]
    verify = WeaviateVerifyBackupOperator(
        task_id="verify",
        location=LOCATION,
        backup_id=BACKUP_ID,
        level="{{ params.verify }}",
    )
    # [END howto_operator_verify_backup]

    # [START howto_sensor_backup]
    wait_until_seen = WeaviateBackupSensor(
        task_id="wait_until_seen",
        weaviate_conn_id="{{ params.target_conn_id }}",
        backend="{{ params.backend }}",
        backup_id=BACKUP_ID,
        deferrable=True,
        poke_interval=5,
        timeout=timedelta(minutes=5),
    )
    # [END howto_sensor_backup]

    # [START howto_operator_restore_backup]
    restore = WeaviateRestoreBackupOperator(
        task_id="restore",
        weaviate_conn_id="{{ params.target_conn_id }}",
        backend="{{ params.backend }}",
        backup_id=BACKUP_ID,
        if_collection_exists="{{ params.if_collection_exists }}",
        allow_replace="{{ params.allow_replace }}",
        deferrable=True,
        timeout=timedelta(hours=12),
    )
    # [END howto_operator_restore_backup]

    back_up >> verify >> wait_until_seen >> restore
