from __future__ import annotations

import asyncio
import json

import pytest

from airflow_provider_vectorbackup.exceptions import InvalidConnection, InvalidRequest
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate import calls


@pytest.fixture
def hook(weaviate_stand_in: WeaviateStandIn, monkeypatch: pytest.MonkeyPatch) -> WeaviateBackupHook:
    weaviate_stand_in.api_keys.add("k")
    connection = weaviate_stand_in.connection_json(default_backend="s3", s3_location="s3://aws@bucket/a")
    monkeypatch.setenv("AIRFLOW_CONN_PROD", connection)
    return WeaviateBackupHook("prod")


def test_client(hook: WeaviateBackupHook) -> None:
    with hook.open_client() as client:
        assert client.send(calls.read_meta()).version == "1.39.2"


def test_asynchronous_client(hook: WeaviateBackupHook) -> None:
    async def version() -> str:
        async with hook.shared_client() as client:
            return (await client.send(calls.read_meta())).version

    assert asyncio.run(version()) == "1.39.2"


def test_backend(hook: WeaviateBackupHook) -> None:
    assert hook.backend(None) == "s3"
    assert hook.backend("backup-gcs") == "gcs"
    with pytest.raises(InvalidRequest, match="is not a backend"):
        hook.backend("S3")


def test_no_backend(weaviate_stand_in: WeaviateStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PROD", weaviate_stand_in.connection_json())
    with pytest.raises(InvalidRequest, match="default_backend in the connection 'prod'"):
        WeaviateBackupHook("prod").backend(None)


def test_location(hook: WeaviateBackupHook) -> None:
    assert hook.location("s3", None) == "s3://aws@bucket/a"
    assert hook.location("s3", "s3://other@bucket/b/") == "s3://other@bucket/b"
    assert hook.location("gcs", None) is None
    with pytest.raises(InvalidRequest, match="can't be where backend 'gcs' writes"):
        hook.location("gcs", "s3://bucket")


class TestButton:
    """The connection form's "Test"."""

    def test_good(self, hook: WeaviateBackupHook) -> None:
        good, text = hook.test_connection()
        assert good
        assert text.startswith("Weaviate 1.39.2; backends enabled: filesystem, s3")

    def test_ill(self, hook: WeaviateBackupHook, weaviate_stand_in: WeaviateStandIn) -> None:
        weaviate_stand_in.nodes["node2"] = "UNAVAILABLE"
        assert hook.test_connection()[0] is False

    def test_refused(self, hook: WeaviateBackupHook, weaviate_stand_in: WeaviateStandIn) -> None:
        weaviate_stand_in.api_keys = {"another"}
        good, text = hook.test_connection()
        assert not good
        assert "401" in text

    def test_unusable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_PROD", json.dumps({"conn_type": "weaviate_backup", "host": "two words"}))
        good, text = WeaviateBackupHook("prod").test_connection()
        assert not good
        assert "Connection 'prod': the host 'two words' is not a host name" in text


def test_settings_are_read_once(hook: WeaviateBackupHook, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = hook.settings
    monkeypatch.delenv("AIRFLOW_CONN_PROD")
    assert hook.settings is settings


def test_connection_that_can_not_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PROD", json.dumps({"conn_type": "weaviate_backup"}))
    with pytest.raises(InvalidConnection, match="Connection 'prod'"):
        WeaviateBackupHook("prod").open_client()
