"""Back up a Weaviate server every night, and by hand with a form.

One task: it checks the server, starts the backup under an id that belongs to this Dag run alone, and waits for its end
on the triggerer, where a wait occupies no worker. A retry follows the backup that an earlier try started; only if that
one failed does it start another, under the same id with `-a2`, `-a3`, … at its end. While the server is busy with
somebody else's backup, the task waits. Whoever marks the task as failed or clears it cancels the backup on the server.

**Scheduled runs** take the defaults of the form. There is no catch-up: a backup of yesterday can't be made today. At
most one run is active, because a server makes one backup at a time.

**By hand** ("Trigger"), the form asks for the same values. What its lists propose is fixed when this file is parsed, so
put your own collections into `COLLECTIONS`; wildcards such as `Article*` are allowed, the server's schema decides what
they mean when the task runs.

**Templates** render to text. Lists are therefore passed with `| tojson`, which the operators read back; a choice that
is left empty renders as `None`, which they take as "not given". (With `render_template_as_native_obj=True` on the Dag,
lists would need no `tojson`; but then a connection id like `12` would arrive as a number.)

It needs one connection, of type `weaviate_backup`: by default `weaviate_default`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from airflow_provider_vectorbackup.operators import WeaviateCreateBackupOperator

COLLECTIONS = ["Airport", "Barley", "Car", "Article*"]
"""What the form proposes: names and wildcards. Put your own here."""

# [START howto_params_scheduled_backup]
PARAMS = {
    "weaviate_conn_id": Param(
        "weaviate_default",
        type="string",
        minLength=1,
        title="Weaviate connection",
        description="Of type weaviate_backup, or of Airflow's own type weaviate.",
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
        description="Where the server writes; its module must be enabled there.",
        section="Where",
    ),
    "include": Param(
        [],
        type=["array", "null"],
        items={"type": "string", "minLength": 1},
        examples=COLLECTIONS,
        title="Only these collections",
        description="Nothing chosen: all. Fails if one is not there.",
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
    "inactive_tenants": Param(
        "warn",
        type="string",
        enum=["warn", "fail", "activate"],
        values_display={
            "warn": "Leave them out, with a warning in the log",
            "fail": "Fail before anything is started",
            "activate": "Activate them, and put them back afterwards",
        },
        title="Tenants that the backup would leave out",
        description="Offloaded ones; on servers before 1.37 inactive ones too.",
        section="What",
    ),
    "incremental_base": Param(
        "full",
        type="string",
        enum=["full", "latest"],
        values_display={"full": "Full backup", "latest": "Only what changed since the newest finished backup"},
        title="Full or incremental",
        description="Incremental needs Weaviate 1.37 or later. To restore it, all its bases must still be there.",
        section="How",
    ),
    "compression": Param(
        None,
        type=["null", "string"],
        enum=[None, "BestSpeed", "BestCompression", "ZstdDefaultCompression", "ZstdBestSpeed", "NoCompression"],
        values_display={
            "null": "The server's default (gzip)",
            "BestSpeed": "gzip, fastest",
            "BestCompression": "gzip, smallest",
            "ZstdDefaultCompression": "zstd",
            "ZstdBestSpeed": "zstd, fastest",
            "NoCompression": "None",
        },
        title="Compression",
        description="An incremental backup must use its base's family: gzip, zstd or none.",
        section="How",
    ),
    "cpu_percentage": Param(
        50,
        type="integer",
        minimum=1,
        maximum=80,
        title="CPU that the server may use, in %",
        section="How",
    ),
}
# [END howto_params_scheduled_backup]

with DAG(
    dag_id="vectorbackup_scheduled_backup",
    description="Back up a Weaviate server every night",
    doc_md=__doc__,
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params=PARAMS,
    tags=["weaviate", "backup"],
) as dag:
    # [START howto_operator_create_backup]
    WeaviateCreateBackupOperator(
        task_id="back_up",
        weaviate_conn_id="{{ params.weaviate_conn_id }}",
        backend="{{ params.backend }}",
        include="{{ params.include | tojson }}",
        exclude="{{ params.exclude | tojson }}",
        inactive_tenants="{{ params.inactive_tenants }}",
        incremental_base_backup_id="{{ '' if params.incremental_base == 'full' else params.incremental_base }}",
        compression="{{ params.compression }}",
        cpu_percentage="{{ params.cpu_percentage }}",
        deferrable=True,
        timeout=timedelta(hours=12),
    )
    # [END howto_operator_create_backup]
