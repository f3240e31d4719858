"""What every method of every store says where it may not, or can't."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

from airflow_provider_vectorbackup.exceptions import (
    DeletionFailed,
    InvalidRequest,
    ObjectNotFound,
    StorageError,
    StorageUnreachable,
)
from airflow_provider_vectorbackup.storage.store import Store, UnfinishedUpload
from tests.contract.stores import Place, assert_hides, s3_session
from tests.scripted_server import Reply, scripted_server, silent_port
from tests.services.fixtures import BUCKET
from tests.services.object_stores import AzureSettings, S3Settings
from tests.storage.conftest import shorten_waits

pytestmark = pytest.mark.services

Open = Callable[[Place], Store]
Method = Callable[[Store, Place, str], object]

KEY = "b1/x"
SECRET = base64.b64encode(b"not to be shown").decode()

READING: dict[str, Method] = {
    "read": lambda store, _place, key: store.read(key),
    "stream": lambda store, _place, key: list(store.stream(key)),
}
WRITING: dict[str, Method] = {
    "write": lambda store, _place, key: store.write(key, [b"new"], 3),
    "create": lambda store, _place, key: store.create(key, b"new"),
    "copy": lambda store, place, key: store.copy(place.location, "b1/source", key),
}
DELETING: dict[str, Method] = {"delete": lambda store, _place, key: store.delete([key])}
LISTING: dict[str, Method] = {"list": lambda store, _place, key: list(store.list_objects(key))}
UPLOADS: dict[str, Method] = {
    "list uploads": lambda store, _place, key: list(store.list_unfinished_uploads(key)),
    "abort": lambda store, _place, key: store.abort(UnfinishedUpload(key, ".x.0123abcd.partial")),
}
ADDRESSING = READING | WRITING | DELETING
FAILURES = {"read": "read", "stream": "read", "list": "listed", "delete": "deleted", "list uploads": "listed"}


def assert_refused(name: str, store: Store, place: Place) -> StorageError:
    """Call a method; return the error, which says what can't be done."""
    with pytest.raises(StorageError) as caught:
        (ADDRESSING | LISTING | UPLOADS)[name](store, place, KEY)
    if name not in ("copy", "abort"):
        assert f"can't be {FAILURES.get(name, 'written')}: " in str(caught.value)
    assert str(place.location) in str(caught.value)
    return caught.value


def test_key_that_leaves_the_location(place: Place, store: Store) -> None:
    place.hold("b1/source")
    place.at(prefix=str(Path(place.location.prefix).parent)).hold("outside")
    before = list(store.list_objects())
    copy_from: Method = lambda store, place, key: store.copy(place.location, key, "copied")  # noqa: E731
    methods = [*ADDRESSING.values(), copy_from, UPLOADS["abort"]]
    for key in ("../outside", "a/../../outside", "/outside", "a//b", "a/", "..\\outside", "a\n", ""):
        for method in methods:
            with pytest.raises(InvalidRequest, match="is no key"):
                method(store, place, key)
    assert list(store.list_objects()) == before


@pytest.mark.parametrize("name", [*ADDRESSING, *LISTING, *UPLOADS])
class TestWrongCredentials:
    def wrong(self, place: Place) -> Place:
        given = place.connection
        others = {name: given[name] for name in ("host", "login", "extra") if name in given}
        return place.connected_by(**others, password=SECRET)

    @pytest.mark.parametrize("scheme", ["s3", "azure"])
    def test_wrong_key(
        self, place_at: Callable[[str], Place], opened: Open, scheme: str, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        place = place_at(scheme)
        if (scheme, name) == ("azure", "abort"):
            pytest.skip("its uploads end by themselves")
        error = assert_refused(name, opened(self.wrong(place)), place)
        assert not error.retryable
        assert "403" in str(error)
        assert error.hint
        assert_hides(SECRET, error, caplog)

    def test_google(self, place_at: Callable[[str], Place], opened: Open, name: str) -> None:
        """Its stand-in takes any."""
        if name in UPLOADS:
            pytest.skip("it tells nothing of its uploads")
        reply = Reply(403, b'{"error": {"message": "no"}}', {"Content-Type": "application/json"})
        with scripted_server(reply) as server:
            place = place_at("gs").elsewhere(server.url)
            error = assert_refused(name, opened(place), place)
        assert not error.retryable
        assert "403" in str(error)
        assert error.hint


@pytest.mark.parametrize("name", [*WRITING, *DELETING])
class TestReadOnly:
    def test_s3(self, place_at: Callable[[str], Place], opened: Open, minio: S3Settings, name: str) -> None:
        place = place_at("s3")
        reader = s3_session(place, minio, ["s3:GetObject", "s3:ListBucket"], BUCKET, f"{BUCKET}/*")
        self.assert_refused(place, opened(reader), name)

    def test_azure(self, place_at: Callable[[str], Place], opened: Open, azurite: AzureSettings, name: str) -> None:
        place, until = place_at("azure"), datetime.now(UTC) + timedelta(hours=1)
        types, may = ResourceTypes(object=True, container=True), AccountSasPermissions(read=True, list=True)
        token = generate_account_sas(azurite.account, azurite.key, types, may, until)
        reader = place.connected_by(host=azurite.url, extra={"sas_token": token})
        self.assert_refused(place, opened(reader), name)

    def assert_refused(self, place: Place, reader: Store, name: str) -> None:
        place.hold("b1/source", b"source")
        if name == "delete":
            place.hold(KEY, b"old")
        before = list(reader.list_objects())
        error = assert_refused(name, reader, place)
        assert not error.retryable
        assert "403" in str(error) or "AccessDenied" in str(error)
        assert error.hint
        assert list(reader.list_objects()) == before


def test_some_that_may_not_be_deleted(place_at: Callable[[str], Place], opened: Open, minio: S3Settings) -> None:
    place = place_at("s3")
    for key in ("b1/a", "b1/b", "b2/a", "b2/b"):
        place.hold(key)
    actions = ["s3:DeleteObject", "s3:GetObject"]
    half = opened(s3_session(place, minio, actions, f"{BUCKET}/{place.location.prefix}/b1/*"))
    with pytest.raises(DeletionFailed) as caught:
        half.delete(["b2/a", "b1/a", "b1/b", "b2/b"])
    assert set(caught.value.reasons) == {"b2/a", "b2/b"}
    assert all("AccessDenied" in reason for reason in caught.value.reasons.values())
    assert "2 objects" in str(caught.value)
    assert [found.key for found in opened(place).list_objects()] == ["b2/a", "b2/b"]


@pytest.mark.parametrize("name", [*ADDRESSING, *LISTING])
def test_server_that_is_down(bucket_place: Place, opened: Open, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_waits(monkeypatch)
    with silent_port() as port:
        store = opened(bucket_place.elsewhere(f"http://127.0.0.1:{port}"))
        error = assert_refused(name, store, bucket_place)
    assert isinstance(error, StorageUnreachable)
    assert error.hint


@pytest.mark.parametrize("name", [*READING, *WRITING, *LISTING])
def test_missing_bucket(bucket_place: Place, opened: Open, name: str) -> None:
    missing = bucket_place.at(bucket="no-such-bucket")
    error = assert_refused(name, opened(missing), missing)
    assert not error.retryable
    assert error.hint
    if name != "copy":
        assert not isinstance(error, ObjectNotFound)


@pytest.mark.parametrize("name", [*ADDRESSING, *LISTING, *UPLOADS])
def test_missing_directory(place_at: Callable[[str], Place], opened: Open, name: str) -> None:
    place = place_at("file")
    place = place.at(prefix=f"{place.location.prefix}/not-mounted")
    error = assert_refused(name, opened(place), place)
    assert "No such file or directory" in str(error)
    assert "mounted on the worker" in error.hint
    assert not Path(place.location.prefix).exists()
