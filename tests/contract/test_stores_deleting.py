"""What every store promises of deletions, copies, and unfinished uploads."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_vectorbackup.exceptions import InvalidRequest, ObjectNotFound
from airflow_provider_vectorbackup.storage.store import PART_BYTES, Store, UnfinishedUpload
from tests.contract.stores import ODD_KEYS, Place, at_another_bucket, beside, s3_place
from tests.services.object_stores import S3Settings

pytestmark = pytest.mark.services

Open = Callable[[Place], Store]

LARGE = random.Random(0).randbytes(2 * PART_BYTES + 1)


def keys_of(store: Store) -> list[str]:
    return [found.key for found in store.list_objects()]


class TestDelete:
    def test_objects(self, place: Place, store: Store) -> None:
        for key in ("b1/a", "b1/b", "b1/node/c", "b2/a"):
            place.hold(key)
        store.delete(["b1/node/c", "b1/a"])
        assert keys_of(store) == ["b1/b", "b2/a"]
        assert store.read("b1/a") is None

    def test_absent(self, place: Place, store: Store) -> None:
        """And those next to which others are are not taken for them."""
        place.hold("b1/node/a")
        store.delete([])
        store.delete(["b2/a", "b1/node", "b1", "b1/node/A", "b1/node/a/below"])
        assert keys_of(store) == ["b1/node/a"]
        store.delete(["b0", "b1/node/a", "b2", "b1/node/a"])
        assert keys_of(store) == []
        store.delete(["b1/node/a"])

    def test_odd_keys(self, place: Place, store: Store) -> None:
        for key in [*ODD_KEYS, "kept"]:
            place.hold(key)
        store.delete(iter(ODD_KEYS))
        assert keys_of(store) == ["kept"]


@pytest.fixture(params=[beside, at_another_bucket], ids=["beside", "bucket"])
def other_place(request: pytest.FixtureRequest, place: Place) -> Place:
    """Return another location of the same server."""
    other: Place = request.param(place)
    return other


class TestCopy:
    @pytest.mark.parametrize("content", [b"", b"small", LARGE], ids=["empty", "small", "large"])
    def test_in_its_location(self, place: Place, store: Store, content: bytes) -> None:
        place.hold("b1/chunk", content)
        etag = store.copy(place.location, "b1/chunk", "b2/node/chunk")
        assert [found.etag for found in store.list_objects("b2/")] == [etag]
        assert store.read("b2/node/chunk") == store.read("b1/chunk") == content
        assert keys_of(store) == ["b1/chunk", "b2/node/chunk"]

    @pytest.mark.parametrize("content", [b"small", LARGE], ids=["small", "large"])
    def test_from_another(self, store: Store, other_place: Place, opened: Open, content: bytes) -> None:
        other = opened(other_place)
        other.write("b1/chunk", [content], len(content))
        store.copy(other_place.location, "b1/chunk", "copied")
        assert store.read("copied") == other.read("b1/chunk") == content
        assert keys_of(store) == ["copied"]
        assert keys_of(other) == ["b1/chunk"]

    def test_odd_keys(self, place: Place, store: Store) -> None:
        for key in ODD_KEYS:
            place.hold(key, key.encode())
            store.copy(place.location, key, f"copied/{key}")
            assert store.read(f"copied/{key}") == key.encode()

    def test_absent(self, place: Place, store: Store) -> None:
        place.hold("copied", b"old")
        place.hold("b1/chunk")
        for key in ("b2/chunk", "b1", "b1/chunk/below"):
            with pytest.raises(ObjectNotFound) as caught:
                store.copy(place.location, key, "copied")
            assert f"{place.location}/{key} " in str(caught.value)
        assert store.read("copied") == b"old"
        assert keys_of(store) == ["b1/chunk", "copied"]

    def test_replaces(self, place: Place, store: Store) -> None:
        place.hold("b1/chunk", b"new")
        place.hold("copied", b"old and longer")
        store.copy(place.location, "b1/chunk", "copied")
        assert store.read("copied") == b"new"


@pytest.fixture
def s3(moto: S3Settings, prefix: str) -> Place:
    """Return a place on another S3 stand-in: MinIO lists unfinished uploads to a whole name only."""
    return s3_place(moto, prefix)


def assert_just_begun(*uploads: UnfinishedUpload) -> None:
    for upload in uploads:
        assert upload.started_at is None or abs(upload.started_at - datetime.now(UTC)) < timedelta(minutes=5)


class TestUnfinishedUploads:
    @pytest.fixture(params=["s3", "azure", "file"])
    def place(self, request: pytest.FixtureRequest, place_at: Callable[[str], Place]) -> Place:
        place: Place = request.getfixturevalue("s3") if request.param == "s3" else place_at(request.param)
        return place

    def begin(self, place: Place, *keys: str) -> None:
        assert place.begin_upload
        for key in keys:
            place.begin_upload(place.name(key))

    def test_are_listed(self, place: Place, store: Store) -> None:
        self.begin(place, "b1/node/x", "b1/y", "b10/z", *(f"odd/{key}" for key in ODD_KEYS))
        self.begin(place.at(prefix=f"{place.location.prefix}-b"), "w")
        place.hold("b1/whole")
        assert keys_of(store) == ["b1/whole"]
        assert self.keys(store, "b1/") == ["b1/node/x", "b1/y"]
        assert self.keys(store, "b1") == ["b1/node/x", "b1/y", "b10/z"]
        assert self.keys(store, "b1/y") == ["b1/y"]
        assert self.keys(store, "odd/") == sorted(f"odd/{key}" for key in ODD_KEYS)
        assert self.keys(store, "b3") == self.keys(store, "../") == []
        assert len(self.keys(store)) == 3 + len(ODD_KEYS)
        if place.location.scheme != "s3":  # that stand-in's all began in 2010
            assert_just_begun(*store.list_unfinished_uploads())

    def test_are_aborted(self, place: Place, store: Store) -> None:
        self.begin(place, "b1/x", "b1/y", *ODD_KEYS)
        place.hold("b1/whole")
        x, y, *odd = sorted(store.list_unfinished_uploads(), key=lambda upload: (upload.key[:3] != "b1/", upload.key))
        store.abort(x)
        store.abort(x)
        assert list(store.list_unfinished_uploads("b1/")) == [y]
        for upload in (y, *odd):
            store.abort(upload)
        assert list(store.list_unfinished_uploads()) == []
        assert keys_of(store) == ["b1/whole"]

    def test_one_that_was_finished_since(self, place: Place, store: Store) -> None:
        """What was written in the meantime stays."""
        self.begin(place, "b1/x")
        (upload,) = store.list_unfinished_uploads()
        store.write("b1/x", [b"whole"], 5)
        store.abort(upload)
        store.abort(upload)
        assert store.read("b1/x") == b"whole"
        assert list(store.list_unfinished_uploads()) == []

    def keys(self, store: Store, prefix: str = "") -> list[str]:
        return sorted(upload.key for upload in store.list_unfinished_uploads(prefix))


def test_unfinished_upload_to_a_whole_name(s3_at_minio: Place, opened: Open) -> None:
    store = opened(s3_at_minio)
    assert s3_at_minio.begin_upload
    s3_at_minio.begin_upload(s3_at_minio.name("b1/x"))
    (upload,) = store.list_unfinished_uploads("b1/x")
    assert upload.key == "b1/x"
    assert_just_begun(upload)
    store.abort(upload)
    assert list(store.list_unfinished_uploads("b1/x")) == []


@pytest.fixture
def s3_at_minio(place_at: Callable[[str], Place]) -> Place:
    return place_at("s3")


def test_uploads_that_google_does_not_tell(place_at: Callable[[str], Place], opened: Open) -> None:
    """And nothing but parts of one is deleted with it."""
    place = place_at("gs")
    store = opened(place)
    place.hold("b1/x")
    assert list(store.list_unfinished_uploads()) == []
    store.abort(UnfinishedUpload("b1/x", "b1/0123456789abcdef"))
    for upload_id in ("b1", "unknown", "../0123456789abcdef"):
        with pytest.raises(InvalidRequest):
            store.abort(UnfinishedUpload("b1/x", upload_id))
    assert keys_of(store) == ["b1/x"]
