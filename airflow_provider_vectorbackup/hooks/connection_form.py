"""The form of the connection type ``weaviate_backup``: one table, for all Airflow versions."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": ["string", "null"]}
_SECONDS = {"type": ["number", "null"], "minimum": 0}

FIELDS: dict[str, dict[str, Any]] = {
    "token": {
        "label": "API key or bearer token",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "http_secure": {
        "label": "Use HTTPS",
        "schema": {"type": "boolean", "default": False},
    },
    "verify_tls": {
        "label": "Verify the server's certificate",
        "schema": {"type": "boolean", "default": True},
    },
    "ca_file": {
        "label": "CA bundle",
        "description": "Path of a PEM file on workers and triggerer, for a certificate of your own authority.",
        "schema": _TEXT,
    },
    "additional_headers": {
        "label": "Additional headers",
        "description": 'A JSON object, sent with every request: {"X-Name": "value"}.',
        "schema": {"type": ["string", "null"], "format": "multiline"},
    },
    "default_backend": {
        "label": "Default backend",
        "description": "Where the server writes its backups if a task does not say.",
        "schema": {"type": ["string", "null"], "enum": ["s3", "gcs", "azure", "filesystem"]},
    },
    "s3_location": {
        "label": "Location of s3 backups",
        "description": "s3://connection_id@bucket/path: the place as a worker reaches it.",
        "schema": _TEXT,
    },
    "gcs_location": {
        "label": "Location of gcs backups",
        "description": "gs://connection_id@bucket/path",
        "schema": _TEXT,
    },
    "azure_location": {
        "label": "Location of azure backups",
        "description": "azure://connection_id@container/path",
        "schema": _TEXT,
    },
    "filesystem_location": {
        "label": "Location of filesystem backups",
        "description": "file:///directory, mounted on the worker",
        "schema": _TEXT,
    },
    "connect_timeout": {"label": "Seconds to connect", "schema": _SECONDS},
    "read_timeout": {"label": "Seconds between two bytes of an answer", "schema": _SECONDS},
    "total_timeout": {"label": "Seconds for a request with its repeats", "schema": _SECONDS},
}

BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "login", "password", "extra"],
    "relabeling": {},
    "placeholders": {"host": "weaviate.example.com", "port": "443"},
}


def widgets() -> dict[str, Any]:
    """Return the form's fields for Airflow 3.1."""
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
    from wtforms import BooleanField, PasswordField, StringField

    made: dict[str, Any] = {}
    for name, spec in FIELDS.items():
        label, description = spec["label"], spec.get("description", "")
        if spec["schema"]["type"] == "boolean":
            made[name] = BooleanField(label, default=spec["schema"]["default"], description=description)
        elif spec["schema"].get("format") == "password":
            made[name] = PasswordField(label, widget=BS3PasswordFieldWidget(), description=description)
        else:
            made[name] = StringField(label, widget=BS3TextFieldWidget(), description=description)
    return made


def field_behaviour() -> dict[str, Any]:
    """Return what becomes of the standard fields, for Airflow 3.1."""
    return {name.replace("-", "_"): value for name, value in BEHAVIOUR.items()}
