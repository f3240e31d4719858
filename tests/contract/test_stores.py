"""What every store promises of small objects and credentials, on real servers and through Airflow connections."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import InvalidRequest, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.store import LARGEST_READ_BYTES
from tests.contract.stores import (
    OBJECT_STORES,
    ODD_KEYS,
    PLACES,
    Place,
    assert_hides,
    azure_place,
    filesystem_place,
    s3_place,
    s3_session,
    without_sdk_settings,
)
from tests.scripted_server import silent_port
from tests.services.fixtures import BUCKET
from tests.services.object_stores import AzureSettings, S3Settings

pytestmark = pytest.mark.services

DESCRIPTOR = b'{"id": "b1", "status": "SUCCESS"}'

Read = Callable[[Place, str], bytes | None]


@pytest.fixture
def s3(minio: S3Settings, prefix: str) -> Place:
    return s3_place(minio, prefix)


@pytest.fixture
def azure(azurite: AzureSettings, prefix: str) -> Place:
    return azure_place(azurite, prefix)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    without_sdk_settings(monkeypatch)

    def read_once(place: Place, key: str) -> bytes | None:
        with closing(place.open(monkeypatch)) as store:
            return store.read(key)

    return read_once


def put(place: Place, key: str, content: bytes = DESCRIPTOR) -> None:
    place.hold(key, content)


def assert_unreadable(read: Read, place: Place, key: str = "b1/backup_config.json") -> StorageError:
    with pytest.raises(StorageError) as caught:
        read(place, key)
    assert str(caught.value).startswith(f"{place.location}/{key} can't be read: ")
    assert caught.value.hint
    return caught.value


def test_object(place: Place, read: Read) -> None:
    put(place, "b1/backup_config.json")
    put(place, "b2/backup_config.json", b"another")
    assert read(place, "b1/backup_config.json") == DESCRIPTOR


def test_empty_object(place: Place, read: Read) -> None:
    put(place, "empty", b"")
    assert read(place, "empty") == b""


def test_absent_object(place: Place, read: Read) -> None:
    put(place, "b1/backup_config.json")
    for key in ("b2/backup_config.json", "b1/restore_config.json", "B1/backup_config.json", "b1", "b1/backup_config"):
        assert read(place, key) is None
    assert read(place, "b1/backup_config.json/below") is None


def test_odd_keys(place: Place, read: Read) -> None:
    for key in ODD_KEYS:
        put(place, key, key.encode())
        assert read(place, key) == key.encode()


def test_key_that_leaves_the_location(place: Place, read: Read) -> None:
    put(place.at(prefix=str(Path(place.location.prefix).parent)), "outside")
    for key in ("../outside", "a/../../outside", "/outside", "a//b", ""):
        with pytest.raises(InvalidRequest, match="is no key"):
            read(place, key)


@pytest.mark.parametrize("scheme", OBJECT_STORES)
def test_location_without_a_prefix(request: pytest.FixtureRequest, read: Read, scheme: str) -> None:
    make, server = PLACES[scheme]
    place, key = make(request.getfixturevalue(server), ""), f"at-the-root-{secrets.token_hex(4)}"
    put(place, key)
    assert read(place, key) == DESCRIPTOR


def test_object_that_is_too_large(place: Place, read: Read) -> None:
    put(place, "large", bytes(LARGEST_READ_BYTES + 1))
    with pytest.raises(StorageError, match="larger than 67108864 bytes"):
        read(place, "large")


def test_missing_bucket(bucket_place: Place, read: Read) -> None:
    error = assert_unreadable(read, bucket_place.at(bucket="no-such-bucket"))
    assert not error.retryable
    assert "404" in error.message


def test_missing_directory(read: Read, tmp_path: Path) -> None:
    place = filesystem_place(tmp_path, "backups")
    missing = replace(place, location=Location("file", "", str(tmp_path / "not mounted")))
    assert "No such file or directory" in assert_unreadable(read, missing).message


@pytest.mark.parametrize("scheme", OBJECT_STORES)
def test_server_that_is_down(request: pytest.FixtureRequest, read: Read, prefix: str, scheme: str) -> None:
    make, server = PLACES[scheme]
    with silent_port() as port:
        place = make(request.getfixturevalue(server), prefix).elsewhere(f"http://127.0.0.1:{port}")
        assert isinstance(assert_unreadable(read, place), StorageUnreachable)


class TestS3Credentials:
    @pytest.mark.parametrize(("login", "code"), [(None, "SignatureDoesNotMatch"), ("nobody", "InvalidAccessKeyId")])
    def test_wrong(self, s3: Place, read: Read, login: str | None, code: str, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        put(s3, "b1/backup_config.json")
        secret, given = secrets.token_hex(20), s3.connection
        wrong = s3.connected_by(login=login or given["login"], password=secret, extra=given["extra"])
        error = assert_unreadable(read, wrong)
        assert f"403 {code}" in error.message
        assert not error.retryable
        assert_hides(secret, error, caplog)

    def test_session_token_that_may_read_one_object(self, s3: Place, read: Read, minio: S3Settings) -> None:
        """Without the permission to list, it can't be told whether an object is there: no None."""
        put(s3, "b1/backup_config.json")
        put(s3, "b2/backup_config.json")
        reader = s3_session(s3, minio, ["s3:GetObject"], f"{BUCKET}/{s3.location.prefix}/b1/*")
        assert read(reader, "b1/backup_config.json") == DESCRIPTOR
        for key in ("b2/backup_config.json", "b3/backup_config.json"):
            assert "403 AccessDenied" in assert_unreadable(read, reader, key).message

    def test_of_the_worker(self, s3: Place, read: Read, minio: S3Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        put(s3, "b1/backup_config.json")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", minio.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", minio.secret_key)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", minio.url)
        unnamed = replace(s3, location=replace(s3.location, conn_id=None))
        assert read(unnamed, "b1/backup_config.json") == DESCRIPTOR


class TestAzureCredentials:
    def sas(self, azurite: AzureSettings) -> str:
        until = datetime.now(UTC) + timedelta(hours=1)
        return generate_account_sas(
            azurite.account, azurite.key, ResourceTypes(object=True), AccountSasPermissions(read=True), until
        )

    @pytest.mark.parametrize("field", ["shared_access_key", "account_key", "connection_string"])
    def test_key(self, azure: Place, read: Read, azurite: AzureSettings, field: str) -> None:
        put(azure, "b1/backup_config.json")
        value = azurite.connection_string if field == "connection_string" else azurite.key
        other = azure.connected_by(host=azurite.url, login=azurite.account, extra={field: value})
        assert read(other, "b1/backup_config.json") == DESCRIPTOR

    @pytest.mark.parametrize("form", ["{sas}", "?{sas}", "{url}?{sas}"])
    def test_sas_token(self, azure: Place, read: Read, azurite: AzureSettings, form: str) -> None:
        put(azure, "b1/backup_config.json")
        token = form.format(sas=self.sas(azurite), url=azurite.url)
        assert (
            read(azure.connected_by(host=azurite.url, extra={"sas_token": token}), "b1/backup_config.json")
            == DESCRIPTOR
        )

    def test_wrong_key(
        self, azure: Place, read: Read, azurite: AzureSettings, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        put(azure, "b1/backup_config.json")
        for key in ("c2VjcmV0", "n0-base64!"):
            wrong = azure.connected_by(host=azurite.url, login=azurite.account, password=key)
            error = assert_unreadable(read, wrong)
            assert not error.retryable
            assert_hides(key, error, caplog)

    def test_wrong_sas_token(
        self, azure: Place, read: Read, azurite: AzureSettings, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        put(azure, "b1/backup_config.json")
        unsigned = self.sas(azurite).partition("&sig=")[0]
        wrong = azure.connected_by(host=azurite.url, extra={"sas_token": f"{unsigned}&sig=c2VjcmV0"})
        error = assert_unreadable(read, wrong)
        assert "403" in error.message
        assert not error.retryable
        assert_hides("c2VjcmV0", error, caplog)

    def test_sas_token_is_not_shown_where_the_server_is_down(
        self, azure: Place, read: Read, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        with silent_port() as port:
            host = f"http://127.0.0.1:{port}/account"
            error = assert_unreadable(read, azure.connected_by(host=host, extra={"sas_token": "sv=1&sig=c2VjcmV0"}))
        assert error.retryable
        assert_hides("c2VjcmV0", error, caplog)
