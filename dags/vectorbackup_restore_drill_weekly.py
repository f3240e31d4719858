"""Prove once a week that a backup can be restored: by restoring it.

1. `pick` picks a backup: the newest, a random one, or one by its id. It must have content records beside it, which
   `WeaviateCreateBackupOperator` stores with `content_record=True`: without them, nobody could say months later whether
   what was restored is right.
2. `restore` restores it into a scratch cluster. That may have other node names, but not fewer nodes.
3. `compare` compares with the records: counts, a sample of objects with all their vectors, what searches near them
   find; and it writes one object to each collection, and deletes it.
4. `clean_up` deletes what was restored, and nothing else, also after a failure.
5. `report` returns whether the backup is recoverable, how old its data is, and how long recovery takes, and keeps that
   beside the backup.

The scratch cluster only has to reach the place where the backups lie: it is told to read there. Never give it a cluster
that somebody uses: if it has a collection of the same name, the drill fails before anything is restored.

It needs a connection of type `weaviate_backup` for the scratch cluster, and one for the storage.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from airflow_provider_vectorbackup.task_groups import restore_drill

LOCATION = "s3://aws_default@backups/weaviate"
"""Where your backups lie: put your own here."""

PARAMS = {
    "location": Param(
        LOCATION,
        type="string",
        minLength=1,
        title="Location",
        description="Where the backups lie.",
        section="Which backup",
    ),
    "pick": Param(
        "latest",
        type="string",
        pattern="^[a-z0-9_-]+$",
        examples=["latest", "random"],
        title="Backup",
        description="latest, random (another one each week), or an id.",
        section="Which backup",
    ),
    "id_prefix": Param(
        None,
        type=["null", "string"],
        title="Only ids that begin with",
        description="Where several schedules share the location.",
        section="Which backup",
    ),
    "scratch_conn_id": Param(
        "weaviate_scratch",
        type="string",
        minLength=1,
        title="Scratch cluster: Weaviate connection",
        description="It must not have the collections of the backup, and is left as it was.",
        section="Where",
    ),
}

with DAG(
    dag_id="vectorbackup_restore_drill_weekly",
    description="Restore a backup into a scratch cluster, compare it, measure the recovery time",
    doc_md=__doc__,
    schedule="0 6 * * 6",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 1, "retry_delay": timedelta(minutes=5)},
    params=PARAMS,
    tags=["weaviate", "backup", "drill"],
) as dag:
    # [START howto_task_group_restore_drill]
    restore_drill(
        location="{{ params.location }}",
        scratch_conn_id="{{ params.scratch_conn_id }}",
        pick="{{ params.pick }}",
        id_prefix="{{ params.id_prefix }}",
        deferrable=True,
        timeout=timedelta(hours=12),
    )
    # [END howto_task_group_restore_drill]
