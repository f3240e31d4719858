"""Locations on real servers, and how a test puts objects there: not by the code under test."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import boto3
import pytest
from azure.storage.blob import AccountSasPermissions, BlobServiceClient, ResourceTypes, generate_account_sas

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.storage.store import Store
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.fixtures import BUCKET
from tests.services.loopback import ADDRESS, session
from tests.services.object_stores import AzureSettings, GCSSettings, S3Settings

T = TypeVar("T")

Put = Callable[[str, bytes], None]
Request = tuple[str, str, Mapping[str, str]]
"""Method, target and headers."""

_AT_ONCE = 8


@dataclass(frozen=True)
class Place:
    """A location, and the Airflow that reaches it.

    :param putting: opens what writes objects of whole names, one after the other.
    :param make_bucket: makes another bucket on the same server.
    :param begin_upload: leaves an unfinished upload to that whole name, as a crash does; None where there is no way.
    :param url: of the server, with nothing but its port.
    :param connection: what the connection ``store`` holds; the location names it.
    :param moved: what of connection and environment differs where the server is at another URL.
    """

    location: Location
    putting: Callable[[], AbstractContextManager[Put]]
    make_bucket: Callable[[str], None] = lambda _name: None
    begin_upload: Callable[[str], None] | None = None
    url: str = ""
    connection: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    moved: Callable[[str], Mapping[str, Any]] = lambda _url: {}

    def open(self, monkeypatch: pytest.MonkeyPatch) -> Store:
        """Open the store as a task does."""
        from airflow_provider_vectorbackup.hooks.storage import open_store  # others need no Airflow for what is here

        monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(dict(self.connection)))
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)
        return open_store(self.location)

    def name(self, key: str) -> str:
        """Return an object's whole name."""
        return f"{self.location.prefix}/{key}".lstrip("/")

    def hold(self, key: str, content: bytes = b"content") -> None:
        """Put an object into the location."""
        self.put(self.name(key), content)

    def put(self, name: str, content: bytes) -> None:
        """Put an object of that whole name."""
        with self.putting() as put:
            put(name, content)

    def fill(self, keys: Sequence[str]) -> None:
        """Put many objects of one byte."""

        def put_each(keys: Sequence[str]) -> None:
            with self.putting() as put:
                for key in keys:
                    put(self.name(key), b"x")

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(put_each, [keys[first::_AT_ONCE] for first in range(_AT_ONCE)]))

    def at(self, **changes: str) -> Place:
        """Return this place with another bucket or prefix."""
        return replace(self, location=replace(self.location, **changes))

    def elsewhere(self, url: str) -> Place:
        """Return this place with its server at another URL."""
        return replace(self, **self.moved(url))

    def connected_by(self, **changes: Any) -> Place:
        """Return this place with another connection of the same type."""
        return replace(self, connection={"conn_type": self.connection["conn_type"], **changes})


def without_sdk_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a developer's own settings away from the vendors' libraries."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_", "STORAGE_EMULATOR_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@contextmanager
def putting(url: str, request: Callable[[str], Request]) -> Iterator[Put]:
    """Yield what sends requests as simple as can be: the vendors' libraries take longer for them than the servers."""
    with closing(HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:

        def put(name: str, content: bytes) -> None:
            method, target, headers = request(name)
            connection.request(method, target, content, headers)
            answer = connection.getresponse()
            assert answer.status in {200, 201}, answer.read()
            answer.read()

        yield put


def s3_place(server: S3Settings, prefix: str) -> Place:
    """Return a location on an S3 server, reached by a key in the connection."""

    def begin_upload(name: str) -> None:
        with server.client() as client:
            upload = client.create_multipart_upload(Bucket=BUCKET, Key=name)["UploadId"]
            client.upload_part(Bucket=BUCKET, Key=name, UploadId=upload, PartNumber=1, Body=b"part")

    @cache
    def signer() -> Any:
        with server.client() as client:
            return client

    def request(name: str) -> Request:
        url = signer().generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": name})
        return "PUT", url.removeprefix(server.url), {}

    def connection(url: str) -> dict[str, Any]:
        return replace(server, endpoint=url.removeprefix("http://")).airflow_connection

    return Place(
        Location("s3", BUCKET, prefix, "store"),
        lambda: putting(server.url, request),
        server.create_bucket,
        begin_upload,
        server.url,
        connection(server.url),
        moved=lambda url: {"connection": connection(url)},
    )


def s3_session(place: Place, server: S3Settings, actions: list[str], *resources: str) -> Place:
    """Return the place reached with a session's credentials, which allow these actions only."""
    keys = {"aws_access_key_id": server.access_key, "aws_secret_access_key": server.secret_key}
    allowed = {"Effect": "Allow", "Action": actions, "Resource": [f"arn:aws:s3:::{name}" for name in resources]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    with closing(boto3.client("sts", endpoint_url=server.url, region_name=server.region, **keys)) as sts:
        role = "arn:aws:iam::123456789012:role/reader"
        given = sts.assume_role(RoleArn=role, RoleSessionName="reader", Policy=policy)["Credentials"]
    extra = {"aws_session_token": given["SessionToken"], "endpoint_url": server.url}
    return place.connected_by(login=given["AccessKeyId"], password=given["SecretAccessKey"], extra=extra)


def gcs_place(server: GCSSettings, prefix: str) -> Place:
    """Return a location on a Google stand-in, reached without credentials."""

    def request(name: str) -> Request:
        return "POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name, safe='')}", {}

    return Place(
        Location("gs", BUCKET, prefix, "store"),
        lambda: putting(server.url, request),
        server.create_bucket,
        None,
        server.url,
        {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True}},
        {"STORAGE_EMULATOR_HOST": server.url},
        moved=lambda url: {"env": {"STORAGE_EMULATOR_HOST": url}},
    )


def azure_place(server: AzureSettings, prefix: str) -> Place:
    """Return a location on an Azure stand-in, reached by an account's key."""

    def begin_upload(name: str) -> None:
        with BlobServiceClient.from_connection_string(server.connection_string) as service:
            service.get_blob_client(BUCKET, name).stage_block("1111", b"part")

    root = server.url.removesuffix(f"/{server.account}")
    until, may = datetime.now(UTC) + timedelta(hours=1), AccountSasPermissions(create=True, write=True)
    token = generate_account_sas(server.account, server.key, ResourceTypes(object=True), may, until)

    def request(name: str) -> Request:
        target = f"/{server.account}/{BUCKET}/{quote(name)}?{token}"
        return "PUT", target, {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-08-06"}

    def connection(url: str) -> dict[str, Any]:
        return {"conn_type": "wasb", "host": url, "login": server.account, "password": server.key}

    return Place(
        Location("azure", BUCKET, prefix, "store"),
        lambda: putting(root, request),
        server.create_container,
        begin_upload,
        root,
        connection(server.url),
        moved=lambda url: {"connection": connection(f"{url}/{server.account}")},
    )


def filesystem_place(folder: Path, prefix: str) -> Place:
    """Return a location on the disk."""

    def put(name: str, content: bytes) -> None:
        path = Path("/", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def begin_upload(name: str) -> None:
        path = Path("/", name)
        put(str(path.with_name(f".{path.name}.0123abcd.partial")), b"part")

    root = folder / BUCKET / prefix
    root.mkdir(parents=True)
    return Place(Location("file", "", str(root)), lambda: nullcontext(put), begin_upload=begin_upload)


@contextmanager
def behind_a_proxy(place: Place) -> Iterator[FaultProxy]:
    """Run a proxy to the place's server; go there by :meth:`Place.elsewhere`."""
    with fault_proxy(int(place.url.rpartition(":")[2])) as proxy:
        _call_it(place, f"http://{ADDRESS}:{proxy.port}")
        try:
            yield proxy
        finally:
            _call_it(place, place.url)


def _call_it(place: Place, url: str) -> None:
    """Tell the Google stand-in its own URL: it hands out addresses of uploads."""
    if place.location.scheme == "gs":
        with session() as direct:
            direct.put(f"{place.url}/_internal/config", json={"externalUrl": url}, timeout=30).raise_for_status()


def beside(place: Place) -> Place:
    """Return an empty place in the same bucket."""
    return _made(place.at(prefix=f"{place.location.prefix}-beside"))


def at_another_bucket(place: Place) -> Place:
    """Return a new bucket of the same server, as a whole; a new directory beside the one that stands for a bucket."""
    name = f"other-{secrets.token_hex(4)}"
    if place.location.scheme == "file":
        return _made(place.at(prefix=f"{place.location.prefix.partition(f'/{BUCKET}/')[0]}/{name}"))
    place.make_bucket(name)
    return place.at(bucket=name, prefix="")


def _made(place: Place) -> Place:
    if place.location.scheme == "file":
        Path(place.location.prefix).mkdir()
    return place


def assert_hides(secret: str, error: BaseException | None, caplog: pytest.LogCaptureFixture) -> None:
    """Look for a secret in the logs, and in an error and all that it comes from."""
    assert secret not in caplog.text
    while error is not None:
        assert secret not in f"{error}{error!r}"
        error = error.__cause__ or error.__context__


PLACES: dict[str, tuple[Callable[[Any, str], Place], str]] = {
    "s3": (s3_place, "minio"),
    "gs": (gcs_place, "fake_gcs"),
    "azure": (azure_place, "azurite"),
    "file": (filesystem_place, "tmp_path"),
}
"""By scheme: how a place is made, and the fixture of its server."""

ODD_KEYS = ["ä b+c%2F?#&=~'()*!\".json", "-", "...", "a..b/.c", "a/ b /c", "日本語", "a:b@c;d,$[e]|"]

OBJECT_STORES = [scheme for scheme in PLACES if scheme != "file"]
