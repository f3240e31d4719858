"""How this package declares itself to Airflow."""

from __future__ import annotations

from typing import Any

from airflow_provider_vectorbackup import __version__
from airflow_provider_vectorbackup.hooks import connection_form

_PACKAGE = "airflow_provider_vectorbackup"
_INTEGRATION = "Weaviate Backup"


def get_provider_info() -> dict[str, Any]:
    """Return the provider info (entry point ``apache_airflow_provider``)."""
    return {
        "package-name": "airflow-provider-vectorbackup",
        "name": "Vector Backup",
        "description": "Scheduled, verified, restorable backups of the Weaviate vector database.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://docs.weaviate.io/deploy/configuration/backups",
                "tags": ["service"],
            }
        ],
        "operators": _modules(
            "operators.create",
            "operators.restore",
            "operators.cancel",
            "operators.verify",
            "operators.copy",
            "operators.content",
            "operators.own_restore",
            "operators.migration",
            "operators.drill",
            "operators.reports",
            "operators.prune",
        ),
        "sensors": _modules("sensors.weaviate", "sensors.freshness"),
        "hooks": _modules("hooks.weaviate"),
        "triggers": _modules("triggers.weaviate"),
        "connection-types": [
            {
                "connection-type": "weaviate_backup",
                "hook-class-name": f"{_PACKAGE}.hooks.weaviate.WeaviateBackupHook",
                "hook-name": "Weaviate Backup",
                "ui-field-behaviour": connection_form.BEHAVIOUR,
                "conn-fields": connection_form.FIELDS,
            }
        ],
        "config": {
            "vectorbackup": {
                "description": "Settings of the Vector Backup provider.",
                "options": {
                    "id_prefix": {
                        "description": "What the default backup ids of this Airflow deployment begin with. Give each "
                        "deployment that backs up to the same place its own.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "prod",
                        "default": "",
                    },
                },
            }
        },
    }


def _modules(*names: str) -> list[dict[str, Any]]:
    return [{"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.{name}" for name in names]}]
