"""Raise the alarm when backups stop: look every hour whether storage holds one that is whole and young enough.

Nobody notices a schedule that was paused, a task that succeeds without effect, or a bucket that somebody emptied, until
a restore is needed. This Dag asks the storage alone: a backup counts if it says SUCCESS, if every object of it and of
its bases is there, and if it began not longer ago than allowed. Else the task fails, with the age of the newest one
that counts and the reason why a newer one does not, and `alert` is called.

**Where the alarm goes:** `alert` writes to the task's log. Put a notifier of yours in its place, such as
`on_failure_callback=SlackNotifier(…)`.

It needs an Airflow connection that may list and read the storage, whose id stands before the @ of the location.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Context, Param

from airflow_provider_vectorbackup.sensors import WeaviateBackupFreshnessSensor

LOCATION = "s3://aws_default@backups/weaviate"
"""Put your own here: also gs://google_cloud_default@bucket/path, azure://wasb_default@container/path, file:///dir."""

PARAMS = {
    "location": Param(
        LOCATION,
        type="string",
        minLength=1,
        title="Location",
        description="Where the backups lie: what the server has as bucket and path.",
        section="What must be there",
    ),
    "max_age_hours": Param(
        26,
        type="number",
        exclusiveMinimum=0,
        title="Largest age, in hours",
        description="Of the newest whole backup, since it began. For nightly ones: a day, and as long as one takes.",
        section="What must be there",
    ),
    "collections": Param(
        [],
        type=["array", "null"],
        items={"type": "string", "minLength": 1},
        title="Collections",
        description="What it must hold at least. Nothing given: whatever there is.",
        section="What must be there",
    ),
    "id_prefix": Param(
        None,
        type=["null", "string"],
        title="Prefix of ids",
        description="Where several schedules share the location: what the ids of this one begin with.",
        section="What must be there",
    ),
}


def alert(context: Context) -> None:
    """Tell somebody; replace this by a notifier of yours."""
    logging.getLogger(__name__).error("BACKUPS STOPPED: %s", context.get("exception"))


with DAG(
    dag_id="vectorbackup_freshness_alert",
    description="Fail, and alert, when the newest whole backup is too old",
    doc_md=__doc__,
    schedule="15 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=2)},
    params=PARAMS,
    tags=["weaviate", "backup", "alert"],
) as dag:
    # [START howto_sensor_backup_freshness]
    WeaviateBackupFreshnessSensor(
        task_id="is_there_a_fresh_backup",
        location="{{ params.location }}",
        max_age="{{ params.max_age_hours * 3600 }}",
        collections="{{ params.collections | tojson }}",
        id_prefix="{{ params.id_prefix }}",
        wait=False,
        on_failure_callback=alert,
    )
    # [END howto_sensor_backup_freshness]
