"""Bring what one Weaviate cluster has to another, and prove that it arrived. Triggered by hand, with a form.

1. `preflight` looks at both clusters and at both ends of storage, and fails, before anything is written anywhere, with
   all that is in the way: collections and aliases that the target has already, nodes, versions, modules, permissions,
   places that cannot be read. The plan stands in its log.
2. `back_up` backs up the source, which goes on serving. Just before and just after, what it holds is recorded: counts,
   and a sample of objects with their vectors and their neighbours.
3. `copy` copies the backup to where the target reads, whatever provider that is; left out where both use one place.
4. `verify` reads the copy to its last byte, without a server.
5. `approve` shows the plan and waits for somebody to approve it ("Required Actions"); no answer within a day is a no.
6. `restore` restores into the target, `compare` compares it with the records and writes one object to each collection
   and deletes it. What cannot be the same, since it was written to meanwhile, is not expected.
7. `roll_back`, if the form says so, deletes what was restored if one of these two fails; nothing else, ever.
8. `report` says what became of it, and how to go on.

The source is only read. A task that failed can be cleared: it goes on where it was.

**A short cut-over**: run it with "prepare only" some time before, which leaves a full backup ready in the target's
place. Then stop writing to the source, and run it again, incremental on the newest one, "nothing is written meanwhile":
only what changed since then is backed up and copied, and all must be equal.

**Pull production to a laptop**: give a target connection to a server on the laptop whose backend is `filesystem`, and
its directory as the target's location.

It needs a connection of type `weaviate_backup` for each cluster, with a location for its backend, and connections for
the storage that these name.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_vectorbackup.task_groups import migrate_environment

COLLECTIONS = ["Airport", "Barley", "Car", "Article*"]
"""What the form proposes: names and wildcards. Put your own here."""

BACKENDS: dict[str, Any] = {
    "type": ["null", "string"],
    "enum": [None, "s3", "gcs", "azure", "filesystem"],
    "values_display": {
        "null": "The connection's default",
        "s3": "Amazon S3, or compatible",
        "gcs": "Google Cloud Storage",
        "azure": "Azure Blob Storage",
        "filesystem": "A directory of the server (one node only)",
    },
}

PARAMS = {
    "source": Param(
        "weaviate_default",
        type="string",
        minLength=1,
        title="From: Weaviate connection",
        description="The cluster that is migrated. It is only read.",
        section="From and to",
    ),
    "source_backend": Param(
        None, title="From: backend", description="Where it backs up to.", section="From and to", **BACKENDS
    ),
    "target": Param(
        "weaviate_target",
        type="string",
        minLength=1,
        title="To: Weaviate connection",
        description="The cluster that takes over. It must not have the collections yet.",
        section="From and to",
    ),
    "target_backend": Param(
        None, title="To: backend", description="Where it restores from.", section="From and to", **BACKENDS
    ),
    "target_location": Param(
        None,
        type=["null", "string"],
        title="To: location",
        description="Where the backup is copied to, like gs://google_cloud_default@bucket/path. Nothing given: the "
        "location in the connection.",
        section="From and to",
    ),
    "include": Param(
        [],
        type=["array", "null"],
        items={"type": "string", "minLength": 1},
        examples=COLLECTIONS,
        title="Only these collections",
        description="Nothing chosen: all.",
        section="What",
    ),
    "exclude": Param(
        [],
        type=["array", "null"],
        items={"type": "string", "minLength": 1},
        examples=COLLECTIONS,
        title="All but these collections",
        description="Not together with the list above.",
        section="What",
    ),
    "users_and_roles": Param(
        None,
        type=["null", "string"],
        enum=[None, "all"],
        values_display={"null": "Leave the target's as they are", "all": "Replace the target's by the source's"},
        title="Database users and roles",
        section="What",
    ),
    "inactive_tenants": Param(
        "warn",
        type="string",
        enum=["warn", "fail", "activate"],
        values_display={
            "warn": "Don't compare their content, with a warning in the log",
            "fail": "Fail before anything is restored",
            "activate": "Activate them a hundred at a time, and put them back",
        },
        title="Inactive tenants",
        description="Weaviate 1.37 and later migrates them; what they hold can be read only while they are active.",
        section="What",
    ),
    "dry_run": Param(
        default=True,
        type="boolean",
        title="Dry run",
        description="Only look whether it can be done, and show the plan.",
        section="How",
    ),
    "prepare_only": Param(
        default=False,
        type="boolean",
        title="Prepare only",
        description="Back up, copy and verify, and leave the target cluster alone.",
        section="How",
    ),
    "incremental_base": Param(
        "full",
        type="string",
        enum=["full", "latest"],
        values_display={"full": "Full backup", "latest": "Only what changed since the newest finished backup"},
        title="Full or incremental",
        description="Incremental needs Weaviate 1.37 or later on both sides.",
        section="How",
    ),
    "strict": Param(
        default=False,
        type="boolean",
        title="Nothing is written meanwhile",
        description="You have stopped writing to the source: then all must be equal.",
        section="How",
    ),
    "approval": Param(
        default=True,
        type="boolean",
        title="Ask before the target is changed",
        section="How",
    ),
    "rollback": Param(
        default=False,
        type="boolean",
        title="Roll back on failure",
        description="Delete from the target what was restored, if the restore or the comparison fails.",
        section="How",
    ),
}

with DAG(
    dag_id="vectorbackup_environment_migration",
    description="Bring what one Weaviate cluster has to another, and prove it",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 1, "retry_delay": timedelta(minutes=2)},
    params=PARAMS,
    tags=["weaviate", "backup", "migration"],
) as dag:
    # [START howto_task_group_migrate_environment]
    migrate_environment(
        source="{{ params.source }}",
        target="{{ params.target }}",
        source_backend="{{ params.source_backend }}",
        target_backend="{{ params.target_backend }}",
        target_location="{{ params.target_location }}",
        include="{{ params.include | tojson }}",
        exclude="{{ params.exclude | tojson }}",
        roles_options="{{ params.users_and_roles }}",
        users_options="{{ params.users_and_roles }}",
        inactive_tenants="{{ params.inactive_tenants }}",
        incremental_base="{{ '' if params.incremental_base == 'full' else params.incremental_base }}",
        strict="{{ params.strict }}",
        dry_run="{{ params.dry_run }}",
        prepare_only="{{ params.prepare_only }}",
        approval="{{ params.approval }}",
        approval_timeout=timedelta(days=1),
        rollback="{{ params.rollback }}",
        deferrable=True,
        timeout=timedelta(hours=12),
    )
    # [END howto_task_group_migrate_environment]
