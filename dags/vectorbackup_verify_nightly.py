"""Verify the newest backup of a location every night, and any other one by hand.

One task reads the backup from storage, as a restore would, and fails with a list of what is wrong: a chunk that is
missing, cut off, swapped or changed, a base that somebody deleted, a backup that never ended. No server is asked, and
nothing is written but the report, which lies beside the backup, in its folder `_vectorbackup`.

`deep` reads every byte; on two cores it takes about as long as the network does. Where that is too much for each night,
let the nightly run be `quick`, which takes one listing, and copy this Dag for a weekly `deep` one.

It needs an Airflow connection that may read the storage (of type `aws`, `google_cloud_platform` or `wasb`), whose id
stands before the @ of the location. To store the report, it must be allowed to write there, too.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from airflow_provider_vectorbackup.operators import WeaviateVerifyBackupOperator

LOCATION = "s3://aws_default@backups/weaviate"
"""Put your own here: also gs://google_cloud_default@bucket/path, azure://wasb_default@container/path, file:///dir."""

PARAMS = {
    "location": Param(
        LOCATION,
        type="string",
        minLength=1,
        title="Location",
        description="Where the backups lie: what the server has as bucket and path.",
        section="Which backup",
    ),
    "backup_id": Param(
        "latest",
        type="string",
        pattern="^[a-z0-9_-]+$",
        title="Backup",
        description="Its id, or latest: the newest that says SUCCESS.",
        section="Which backup",
    ),
    "level": Param(
        "deep",
        type="string",
        enum=["quick", "deep"],
        values_display={
            "quick": "Quick: one listing, is everything there?",
            "deep": "Deep: every byte, is everything whole?",
        },
        title="How closely",
        section="How",
    ),
    "store_report": Param(
        default=True,
        type="boolean",
        title="Store the report beside the backup",
        section="How",
    ),
}

with DAG(
    dag_id="vectorbackup_verify_nightly",
    description="Verify, without a server, that the newest backup can be restored",
    doc_md=__doc__,
    schedule="30 4 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    max_active_runs=1,
    # Only what may pass is tried again: storage that is away. A damaged backup fails at once.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params=PARAMS,
    tags=["weaviate", "backup", "verify"],
) as dag:
    # [START howto_operator_verify_backup_nightly]
    WeaviateVerifyBackupOperator(
        task_id="verify",
        location="{{ params.location }}",
        backup_id="{{ params.backup_id }}",
        level="{{ params.level }}",
        store_report="{{ params.store_report }}",
        execution_timeout=timedelta(hours=6),
    )
    # [END howto_operator_verify_backup_nightly]
