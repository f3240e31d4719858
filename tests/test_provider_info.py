"""What Airflow reads of this package, and whether it is true."""

from __future__ import annotations

import importlib
import json
import pkgutil
from importlib.metadata import distribution, entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

import airflow_provider_vectorbackup
from airflow_provider_vectorbackup.provider_info import get_provider_info

INFO = get_provider_info()
MODULES = [
    module
    for section in ("operators", "sensors", "hooks", "triggers")
    for integration in INFO[section]
    for module in integration["python-modules"]
]


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_fits_airflows_schema() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)
    # Unknown keys pass the schema: a misspelled one would do nothing, without a word.
    assert set(INFO) - {"versions"} <= set(schema["properties"])


def test_is_found_by_its_entry_point() -> None:
    (found,) = [
        point
        for point in entry_points(group="apache_airflow_provider")
        if point.value.startswith("airflow_provider_vector")
    ]
    assert found.load() is get_provider_info


def test_names_its_distribution() -> None:
    """Another name than the distribution's breaks the look-up of every provider."""
    package = distribution("airflow-provider-vectorbackup")
    assert INFO["package-name"] == package.metadata["Name"]
    assert INFO["versions"][0] == package.version == airflow_provider_vectorbackup.__version__


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_there(module: str) -> None:
    assert importlib.import_module(module).__doc__


@pytest.mark.parametrize(
    ("section", "left_out"),
    [
        ("operators", {"base", "arguments", "errors", "killing", "retention_arguments"}),
        ("sensors", set()),
        ("triggers", set()),
        ("hooks", {"access", "connection", "connection_form", "fields", "official", "storage"}),
    ],
)
def test_no_module_is_forgotten(section: str, left_out: set[str]) -> None:
    folder = importlib.import_module(f"airflow_provider_vectorbackup.{section}")
    there = {f"{folder.__name__}.{found.name}" for found in pkgutil.iter_modules(folder.__path__)}
    named = {module for module in MODULES if module.startswith(f"{folder.__name__}.")}
    assert there - named == {f"{folder.__name__}.{name}" for name in left_out}


@pytest.mark.parametrize("connection", INFO["connection-types"], ids=lambda connection: connection["connection-type"])
def test_connection_types(connection: dict[str, Any]) -> None:
    hook = _imported(connection["hook-class-name"])
    assert connection["connection-type"] == hook.conn_type
    assert connection["hook-name"] == hook.hook_name
    assert connection["conn-fields"]
    for name, field in connection["conn-fields"].items():
        assert field["label"], name
        jsonschema.Draft7Validator.check_schema(field["schema"])


def test_every_field_of_the_form_is_read() -> None:
    """What the form asks for and nobody reads would mislead."""
    from airflow.sdk import Connection

    from airflow_provider_vectorbackup.hooks.connection import read_settings

    class Recorder(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.add(key)
            return super().get(key, default)

    class Recorded(Connection):
        @property
        def extra_dejson(self) -> dict[str, Any]:
            return Recorder()

    asked: set[str] = set()
    read_settings("prod", Recorded(conn_id="prod", conn_type="weaviate_backup", host="host"))
    assert set(INFO["connection-types"][0]["conn-fields"]) <= asked
