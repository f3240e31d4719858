"""An Airflow of the tests' own, in a folder that is deleted afterwards. Set before anything imports airflow."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

if "airflow" in sys.modules:
    raise RuntimeError("airflow was imported before tests/conftest.py could set its environment.")

AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="vectorbackup-airflow-"))
DAGS_FOLDER = Path(__file__).parent.parent / "dags"

for _name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
    del os.environ[_name]  # a developer's own settings must not decide what the tests see
os.environ |= {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    # The one that Airflow makes for itself is shorter than its own library likes, which is a warning.
    "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS_FOLDER),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{AIRFLOW_HOME}/airflow.db",
}

# The same examples in every run, on however busy a machine.
settings.register_profile("steady", derandomize=True, deadline=None, database=None)
settings.load_profile("steady")

pytest_plugins = ["airflow_provider_vectorbackup.testing.fixtures", "pytester", "tests.services.fixtures"]


def pytest_unconfigure() -> None:
    """Delete the folder; Airflow keeps its log files open until then."""
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_db() -> Path:
    """Make Airflow's database once; return AIRFLOW_HOME, for processes of Airflow's own."""
    from airflow.utils.db import initdb

    initdb()
    return AIRFLOW_HOME
