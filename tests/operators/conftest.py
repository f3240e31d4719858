from __future__ import annotations

import pytest

from airflow_provider_vectorbackup.testing import WeaviateStandIn
from tests.actions.conftest import quick
from tests.operators.contexts import Log, TaskRun

__all__ = ["quick"]


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn, monkeypatch: pytest.MonkeyPatch) -> WeaviateStandIn:
    """One that the default connection names; it wants a key, which must never be seen."""
    weaviate_stand_in.api_keys.add("kEy-0123456789")
    for name in ("Article", "Author"):
        weaviate_stand_in.add_collection(name)
    connection = weaviate_stand_in.connection_json(default_backend="s3")
    monkeypatch.setenv("AIRFLOW_CONN_WEAVIATE_DEFAULT", connection)
    return weaviate_stand_in


@pytest.fixture
def run() -> TaskRun:
    return TaskRun()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Log:
    """What a user reads in the log: Airflow's loggers of tasks write to the output, others to Python's logging."""
    seen: list[str] = []

    def text() -> str:
        seen.append(capsys.readouterr().out)
        return "".join([*seen, caplog.text])

    return text
