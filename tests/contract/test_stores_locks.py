"""What every store says of locks on its objects, and of what becomes of the bytes of deleted ones.

Real are Object Lock and versioning of an S3 server, versioning and retentions of single objects of Google's stand-in,
and the settings of soft delete of Azure's. What these stand-ins lack is made up in ``tests/storage/test_*_locks.py``:
holds, retention policies and soft delete of Google's, and all immutable storage and versioning of Azure's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    BlobServiceClient,
    ResourceTypes,
    RetentionPolicy,
    generate_account_sas,
)
from botocore.exceptions import ClientError

from airflow_provider_vectorbackup.exceptions import StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage import s3_locks
from airflow_provider_vectorbackup.storage.store import Lock, Store
from tests.contract.stores import ODD_KEYS, Place, at_another_bucket, s3_place, s3_session
from tests.scripted_server import silent_port
from tests.services.loopback import session
from tests.services.object_stores import AzureSettings, GCSSettings, S3Settings
from tests.services.process import wait_until
from tests.storage.conftest import shorten_waits

pytestmark = pytest.mark.services

Open = Callable[[Place], Store]
Written = list[tuple[str, bool]]
"""The keys of what takes up space, the oldest first, and whether a listing shows it."""

LASTS = timedelta(minutes=10)
READING = ["s3:GetObject", "s3:ListBucket"]
TOLD = ["s3:GetBucketObjectLockConfiguration", "s3:GetObjectRetention", "s3:GetObjectLegalHold"]


def soon(delay: timedelta = LASTS) -> datetime:
    """Return a time as every storage can hold it."""
    return (datetime.now(UTC) + delay).replace(microsecond=0)


def keys_of(store: Store) -> list[str]:
    return [found.key for found in store.list_objects()]


class TestNothingIsLocked:
    def test_objects(self, place: Place, store: Store) -> None:
        for key in ("b1/x", "b1/node/y", *ODD_KEYS):
            place.hold(key)
        assert list(store.list_locks()) == list(store.list_locks("b1/")) == list(store.list_locks("../")) == []
        assert store.deletion_policy() == ""

    def test_no_objects(self, store: Store) -> None:
        assert list(store.list_locks("b1/")) == []
        assert store.deletion_policy() == ""


@pytest.mark.parametrize("method", [lambda store: list(store.list_locks("b1/")), lambda store: store.deletion_policy()])
def test_server_that_is_down(
    bucket_place: Place, opened: Open, monkeypatch: pytest.MonkeyPatch, method: Callable[[Store], object]
) -> None:
    shorten_waits(monkeypatch)
    with silent_port() as port:
        store = opened(bucket_place.elsewhere(f"http://127.0.0.1:{port}"))
        with pytest.raises(StorageUnreachable, match="can't be"):
            method(store)


class TestMissingBucket:
    def test_policy(self, bucket_place: Place, opened: Open) -> None:
        assert opened(bucket_place.at(bucket="no-such-bucket")).deletion_policy() is None

    @pytest.mark.parametrize("scheme", ["s3", "gs", "azure"])
    def test_locks(
        self, place_at: Callable[[str], Place], opened: Open, moto: S3Settings, prefix: str, scheme: str
    ) -> None:
        """Not on MinIO, which says of any bucket that is not there that it has no Object Lock."""
        place = s3_place(moto, prefix) if scheme == "s3" else place_at(scheme)
        missing = opened(place.at(bucket="no-such-bucket"))
        with pytest.raises(StorageError, match="can't be listed") as caught:
            list(missing.list_locks("b1/"))
        assert not caught.value.retryable
        assert caught.value.hint


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 server, by its own client."""

    client: Any
    name: str

    def put(self, key: str, **lock: object) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=b"content", **lock)

    def version(self, key: str, status: str) -> None:
        """Set versioning, and write an object under it."""
        self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": status})
        self.put(key)

    def written(self) -> Written:
        """Return what takes up space."""
        versions = self.client.list_object_versions(Bucket=self.name).get("Versions", ())
        return [(each["Key"], each["IsLatest"]) for each in versions]

    def empty(self) -> None:
        """Delete all that is there for good."""
        found = self.client.list_object_versions(Bucket=self.name)
        for each in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]:
            target = {"Bucket": self.name, "Key": each["Key"], "VersionId": each["VersionId"]}
            with suppress(ClientError):  # a marker can't be held
                self.client.put_object_legal_hold(**target, LegalHold={"Status": "OFF"})
            self.client.delete_object(**target, BypassGovernanceRetention=True)
        self.client.delete_bucket(Bucket=self.name)


@contextmanager
def bucket_of(server: S3Settings, *, is_locked: bool) -> Iterator[Bucket]:
    with server.client() as client:
        bucket = Bucket(client, f"kept-{secrets.token_hex(4)}")
        client.create_bucket(Bucket=bucket.name, ObjectLockEnabledForBucket=is_locked)
        try:
            yield bucket
        finally:
            bucket.empty()


def until(time: datetime) -> dict[str, object]:
    return {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": time}


class TestObjectLock:
    @pytest.fixture
    def bucket(self, minio: S3Settings) -> Iterator[Bucket]:
        with bucket_of(minio, is_locked=True) as bucket:
            yield bucket

    @pytest.fixture
    def place(self, place_at: Callable[[str], Place], bucket: Bucket) -> Place:
        return place_at("s3").at(bucket=bucket.name, prefix="")

    def test_locks(self, bucket: Bucket, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """In the order of the keys, whoever is looked at first."""
        monkeypatch.setattr(s3_locks, "_LOOKED_AT_TOGETHER", 4)
        later, hold = soon(), {"ObjectLockLegalHoldStatus": "ON"}
        passed = soon(timedelta(seconds=2))
        bucket.put("b1/a-passed", **until(passed))
        bucket.put("b1/free")
        bucket.put("b1/held", **hold)
        bucket.put("b1/held-and-retained", **hold, **until(later))
        bucket.put("b1/released", ObjectLockLegalHoldStatus="OFF")
        bucket.put("b1/retained", **until(later))
        bucket.put("b2/held", **hold)
        wait_until(lambda: not list(store.list_locks("b1/a-passed")), 30, "the end of a retention")
        first = [Lock("b1/held", "a legal hold"), Lock("b1/held-and-retained", "a legal hold")]
        first += [Lock("b1/retained", "Object Lock (GOVERNANCE)", later)]
        assert list(store.list_locks("b1/")) == first
        assert list(store.list_locks()) == [*first, Lock("b2/held", "a legal hold")]
        assert list(store.list_locks("b1/free")) == list(store.list_locks("b3/")) == []

    def test_odd_keys(self, bucket: Bucket, store: Store) -> None:
        for key in ODD_KEYS:
            bucket.put(key, ObjectLockLegalHoldStatus="ON")
        assert [lock.key for lock in store.list_locks()] == sorted(ODD_KEYS, key=str.encode)

    def test_below_a_prefix(self, bucket: Bucket, place: Place, opened: Open) -> None:
        bucket.put("prefix/b1/x", ObjectLockLegalHoldStatus="ON")
        store = opened(place.at(prefix="prefix"))
        assert list(store.list_locks("b1/")) == [Lock("b1/x", "a legal hold")]

    def test_default_of_the_bucket(self, bucket: Bucket, store: Store) -> None:
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
        configuration = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        bucket.client.put_object_lock_configuration(Bucket=bucket.name, ObjectLockConfiguration=configuration)
        store.write("b1/x", [b"content"], 7)
        (lock,) = store.list_locks("b1/")
        assert lock.until
        assert abs(lock.until - soon(timedelta(days=1))) < LASTS

    def test_deletion_hides(self, bucket: Bucket, store: Store) -> None:
        """It is not refused, and frees nothing; nor does it end the lock, which is not told any more."""
        bucket.put("b1/x", **until(soon()))
        assert store.deletion_policy() == "versioning"
        store.delete(["b1/x"])
        assert keys_of(store) == []
        assert list(store.list_locks()) == []
        assert bucket.written() == [("b1/x", False)]
        version = bucket.client.list_object_versions(Bucket=bucket.name)["Versions"][0]["VersionId"]
        with pytest.raises(ClientError, match="WORM protected"):
            bucket.client.delete_object(Bucket=bucket.name, Key="b1/x", VersionId=version)

    @pytest.mark.parametrize("lack", TOLD)
    def test_lack_of_a_permission(
        self, bucket: Bucket, place: Place, opened: Open, minio: S3Settings, lack: str
    ) -> None:
        """Without the later two, the server just leaves out what it is asked for."""
        bucket.put("b1/x", ObjectLockLegalHoldStatus="ON", **until(soon()))
        actions, resources = [*READING, *(each for each in TOLD if each != lack)], (bucket.name, f"{bucket.name}/*")
        store = opened(s3_session(place, minio, actions, *resources))
        with pytest.raises(StorageError, match="b1/ can't be listed: S3 answered 403 AccessDenied") as caught:
            list(store.list_locks("b1/"))
        assert not caught.value.retryable
        assert lack in caught.value.hint
        assert store.deletion_policy() is None

    def test_permissions(self, bucket: Bucket, place: Place, opened: Open, minio: S3Settings) -> None:
        bucket.put("b1/x", ObjectLockLegalHoldStatus="ON")
        actions = [*READING, *TOLD, "s3:GetBucketVersioning"]
        store = opened(s3_session(place, minio, actions, bucket.name, f"{bucket.name}/*"))
        assert list(store.list_locks("b1/")) == [Lock("b1/x", "a legal hold")]
        assert store.deletion_policy() == "versioning"


class TestVersioningOfS3:
    @pytest.fixture
    def bucket(self, minio: S3Settings) -> Iterator[Bucket]:
        with bucket_of(minio, is_locked=False) as bucket:
            yield bucket

    @pytest.fixture
    def place(self, place_at: Callable[[str], Place], bucket: Bucket) -> Place:
        return place_at("s3").at(bucket=bucket.name, prefix="")

    def test_enabled(self, bucket: Bucket, store: Store) -> None:
        """What was written before it was enabled is kept too."""
        bucket.put("b1/before")
        bucket.version("b1/since", "Enabled")
        assert store.deletion_policy() == "versioning"
        store.delete(["b1/before", "b1/since"])
        assert keys_of(store) == []
        assert list(store.list_locks()) == []
        assert bucket.written() == [("b1/before", False), ("b1/since", False)]

    def test_suspended(self, bucket: Bucket, store: Store) -> None:
        bucket.version("b1/before", "Enabled")
        bucket.version("b1/since", "Suspended")
        assert store.deletion_policy() == "versioning, now suspended, of objects that were written before"
        store.delete(["b1/before", "b1/since"])
        assert keys_of(store) == []
        assert bucket.written() == [("b1/before", False)]


class TestGoogle:
    @pytest.fixture
    def place(self, place_at: Callable[[str], Place]) -> Place:
        return place_at("gs")

    def test_retentions(self, place: Place, store: Store, fake_gcs: GCSSettings) -> None:
        """Which the stand-in keeps, and does not heed."""
        later = soon()
        for key, end in (("b1/passed", soon(-LASTS)), ("b1/free", None), ("b1/retained", later), ("b2/x", later)):
            place.hold(key)
            if end:
                retention = {"mode": "Unlocked", "retainUntilTime": end.isoformat().replace("+00:00", "Z")}
                url = f"{fake_gcs.url}/storage/v1/b/{place.location.bucket}/o/{quote(place.name(key), safe='')}"
                with session() as direct:
                    direct.patch(url, json={"retention": retention}, timeout=10).raise_for_status()
        assert list(store.list_locks("b1/")) == [Lock("b1/retained", "a retention (Unlocked)", later)]
        assert [lock.key for lock in store.list_locks()] == ["b1/retained", "b2/x"]

    def test_versioning(self, place: Place, opened: Open, fake_gcs: GCSSettings) -> None:
        other = at_another_bucket(place)
        bucket, store = f"{fake_gcs.url}/storage/v1/b/{other.location.bucket}", opened(other)
        with session() as direct:
            direct.patch(bucket, json={"versioning": {"enabled": True}}, timeout=10).raise_for_status()
            assert store.deletion_policy() == "versioning"
            store.write("b1/x", [b"content"], 7)
            store.delete(["b1/x"])
            kept = direct.get(f"{bucket}/o?versions=true", timeout=10).json()["items"]
        assert keys_of(store) == []
        assert list(store.list_locks()) == []
        assert [each["name"] for each in kept] == ["b1/x"]


class TestAzure:
    @pytest.fixture
    def place(self, place_at: Callable[[str], Place]) -> Place:
        return place_at("azure")

    def test_soft_delete(self, store: Store, azurite: AzureSettings) -> None:
        with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
            service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=5))
            try:
                assert store.deletion_policy() == "soft delete for 5 days"
            finally:
                service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=False))

    def test_lack_of_a_permission(self, place: Place, opened: Open, azurite: AzureSettings) -> None:
        """To know of soft delete takes rights on the account, not on a container."""
        place.hold("b1/x")
        types, may = ResourceTypes(object=True, container=True), AccountSasPermissions(read=True, list=True)
        token = generate_account_sas(azurite.account, azurite.key, types, may, datetime.now(UTC) + LASTS)
        store = opened(place.connected_by(host=azurite.url, extra={"sas_token": token}))
        assert store.deletion_policy() is None
        assert list(store.list_locks()) == []
