"""Delete, by rule, the backups that nobody needs any more. Daily; until you say otherwise, it only tells which.

1. `plan` reads what lies in the location, and tells in its log and its result what becomes of each backup, and why.
2. `approve`, if the form says so, shows the plan and waits for somebody to approve it ("Required Actions").
3. `prune` deletes what was in the plan, and is not needed by then.

A backup stays that one of the rules keeps, with all backups that an incremental one builds on. Only backups that can be
restored count, so that seven failed ones don't push out the last good one. The newest good one always stays; so does
what is in progress, young, being restored, copied or verified, locked by the storage, or not of Weaviate. If more than
half of all were to go, nothing does: somebody should look at the rules.

**To let it delete**, read the plan of some days, then set `DRY_RUN` below to False, or untick "dry run" in the form of
a single run.

It needs an Airflow connection that may list, read, write and delete in the storage; its id stands before the @ of the
location.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_vectorbackup.task_groups import prune_backups

LOCATION = "s3://aws_default@backups/weaviate"
"""Where your backups lie: put your own here."""

DRY_RUN = True
"""Whether scheduled runs only tell what they would delete."""

COUNT: dict[str, Any] = {"type": ["null", "integer"], "minimum": -1, "section": "What is kept"}

PARAMS = {
    "location": Param(
        LOCATION,
        type="string",
        minLength=1,
        title="Location",
        description="Where the backups lie.",
        section="Where",
    ),
    "id_prefix": Param(
        None,
        type=["null", "string"],
        title="Only ids that begin with",
        description="Where several schedules share the location; all others are kept.",
        section="Where",
    ),
    "keep_last": Param(None, title="The last", description="The newest so many.", **COUNT),
    "keep_within": Param(
        None,
        type=["null", "string"],
        examples=["30d", "8w", "1y6m"],
        title="All within",
        description="All that are not older than the newest by more than this, such as 30d, 8w or 1y6m.",
        section="What is kept",
    ),
    "keep_daily": Param(
        7, title="Daily", description="Of the last so many days with backups, the newest; -1 for all.", **COUNT
    ),
    "keep_weekly": Param(4, title="Weekly", description="Likewise weeks, from Monday on.", **COUNT),
    "keep_monthly": Param(12, title="Monthly", description="Likewise months.", **COUNT),
    "keep_yearly": Param(None, title="Yearly", description="Likewise years.", **COUNT),
    "timezone": Param(
        "UTC",
        type="string",
        minLength=1,
        examples=["UTC", "Europe/Berlin", "America/New_York"],
        title="Time zone",
        description="Whose days, weeks, months and years are meant.",
        section="What is kept",
    ),
    "pinned": Param(
        [],
        type="array",
        items={"type": "string"},
        title="Pinned",
        description="Ids that are kept, one a line.",
        section="What is kept",
    ),
    "max_delete_fraction": Param(
        0.5,
        type="number",
        minimum=0,
        maximum=1,
        title="The most that may go",
        description="If more of the finished backups would be deleted, from 0 to 1, nothing is.",
        section="How",
    ),
    "approval": Param(
        default=False,
        type="boolean",
        title="Ask before anything is deleted",
        section="How",
    ),
    "dry_run": Param(
        default=DRY_RUN,
        type="boolean",
        title="Dry run",
        description="Only tell what would be deleted.",
        section="How",
    ),
}

with DAG(
    dag_id="vectorbackup_retention",
    description="Delete, by rule, the backups that nobody needs any more; a dry run until you say otherwise",
    doc_md=__doc__,
    schedule="0 7 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params=PARAMS,
    tags=["weaviate", "backup", "retention"],
) as dag:
    # [START howto_task_group_prune_backups]
    prune_backups(
        location="{{ params.location }}",
        id_prefix="{{ params.id_prefix }}",
        keep_last="{{ params.keep_last }}",
        keep_within="{{ params.keep_within }}",
        keep_daily="{{ params.keep_daily }}",
        keep_weekly="{{ params.keep_weekly }}",
        keep_monthly="{{ params.keep_monthly }}",
        keep_yearly="{{ params.keep_yearly }}",
        timezone="{{ params.timezone }}",
        pinned="{{ params.pinned | tojson }}",
        max_delete_fraction="{{ params.max_delete_fraction }}",
        approval="{{ params.approval }}",
        approval_timeout=timedelta(hours=20),
        dry_run="{{ params.dry_run }}",
    )
    # [END howto_task_group_prune_backups]
