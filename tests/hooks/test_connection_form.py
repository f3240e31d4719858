"""The form of our connection type, as Airflow's own API hands it to its UI, on every supported version of Airflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def form(airflow_db: Path) -> dict[str, Any]:
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    app = create_app(apps="core")
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="test", role="ADMIN"))
    with TestClient(app, base_url="http://testserver") as client:
        answer = client.get("/ui/connections/hook_meta", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    return next(entry for entry in answer.json() if entry["connection_type"] == "weaviate_backup")


def test_fields(form: dict[str, Any]) -> None:
    from airflow_provider_vectorbackup.hooks.connection_form import FIELDS

    assert form["hook_name"] == "Weaviate Backup"
    assert set(form["extra_fields"]) == set(FIELDS)


def test_secret_is_a_password_field(form: dict[str, Any]) -> None:
    assert form["extra_fields"]["token"]["schema"]["format"] == "password"


def test_defaults_are_safe(form: dict[str, Any]) -> None:
    assert form["extra_fields"]["verify_tls"]["value"] is True


def test_login_and_password_are_hidden(form: dict[str, Any]) -> None:
    assert form["standard_fields"]["login"]["hidden"]
    assert form["standard_fields"]["password"]["hidden"]
    assert form["standard_fields"]["host"]["placeholder"] == "weaviate.example.com"
