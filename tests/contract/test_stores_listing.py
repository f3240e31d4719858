"""What every store promises of listings."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partialmethod
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from airflow_provider_vectorbackup.exceptions import StorageError
from airflow_provider_vectorbackup.storage.store import Store
from tests.contract.stores import ODD_KEYS, Place, at_another_bucket

pytestmark = pytest.mark.services

NAMES = [*ODD_KEYS, "<b>&amp;&#34;\"'.json", "a+b", "a b", "a%20b", "a%2Bb"]
"""With what a listing's own form has to escape, and what looks as if it were."""

MANY = {"s3": (5_000, 2_500), "gs": (1_100, 250), "azure": (1_100, 300), "file": (5_000, 2_500)}
"""More than one page of a listing, and more than one request's deletions; the stand-ins get slow with more."""

Open = Callable[[Place], Store]


def keys_of(store: Store, prefix: str = "") -> list[str]:
    return [found.key for found in store.list_objects(prefix)]


def test_objects_and_their_sizes(place: Place, store: Store) -> None:
    place.hold("b1/backup_config.json", b"12345")
    place.hold("b1/node/Article/chunk-1", b"")
    place.hold("top", bytes(70_000))
    found = list(store.list_objects())
    assert [(each.key, each.size_bytes) for each in found] == [
        ("b1/backup_config.json", 5),
        ("b1/node/Article/chunk-1", 0),
        ("top", 70_000),
    ]
    for each in found:
        assert each.modified_at.utcoffset() == timedelta(0)
        assert abs(each.modified_at - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("beginning", "shown"),
    [
        ("b1", ["b1/n/x", "b1/x", "b10/x"]),
        ("b1/", ["b1/n/x", "b1/x"]),
        ("b1/n", ["b1/n/x"]),
        ("b1/n/x", ["b1/n/x"]),
        ("b1/n/x/", []),
        ("n", []),
        ("B1", []),
        ("b3/", []),
        ("../", []),
        ("b1/../", []),
        ("./", []),
    ],
)
def test_prefix(place: Place, store: Store, beginning: str, shown: list[str]) -> None:
    for key in ("b1/x", "b1/n/x", "b10/x", "b2/b1/x"):
        place.hold(key)
    assert keys_of(store, beginning) == shown


def test_order(place: Place, store: Store) -> None:
    """As UTF-8, with the slash as a character like any other; the last two would be the other way round as UTF-16."""
    ordered = ["B", "a-b/x", "a.b", "a/b/c", "a/c", "a0", "a0-", "b", "é", "日本", "\uff01", "\U0001d11e"]
    assert ordered == sorted(ordered, key=str.encode)
    for key in reversed(ordered):
        place.hold(key)
    assert keys_of(store) == ordered


def test_odd_keys(place: Place, store: Store) -> None:
    for key in NAMES:
        place.hold(key)
    assert keys_of(store) == sorted(NAMES, key=str.encode)
    for key in NAMES:
        assert keys_of(store, key) == [key]


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Azure's pages, of 5,000 else, be as small as those of the others."""
    small = partialmethod(ContainerClient.list_blobs, results_per_page=500)
    monkeypatch.setattr(ContainerClient, "list_blobs", small)


@pytest.mark.usefixtures("pages")
def test_many_objects(place: Place, store: Store) -> None:
    """Listed and deleted in pages; one listing does not disturb another."""
    count, deleted = MANY[place.location.scheme]
    keys = [f"b1/ä +%20<&'\">/chunk-{number:05}" for number in range(count)]
    place.fill(keys)
    with closing(store.list_objects("b1/")) as other:
        assert next(other).key == keys[0]
        assert keys_of(store, "b1/") == keys
        assert next(other).key == keys[1]
    store.delete(key for key in keys[:deleted])
    assert keys_of(store) == keys[deleted:]


def test_nothing(place: Place, store: Store) -> None:
    assert keys_of(store) == keys_of(store, "b1/") == []


def test_nothing_in_a_whole_bucket(place: Place, opened: Open) -> None:
    assert keys_of(opened(at_another_bucket(place))) == []


def test_neighbours_are_not_shown(place: Place, store: Store) -> None:
    """Locations whose prefix goes on after this one's, and the folder above."""
    prefix = place.location.prefix
    place.hold("x")
    for other in (f"{prefix}-b", f"{prefix}0/b1", str(Path(prefix).parent)):
        place.at(prefix=other).hold(f"neighbour-{secrets.token_hex(4)}")
    assert keys_of(store) == ["x"]


def test_markers_of_folders_are_not_shown(bucket_place: Place, opened: Open) -> None:
    for marker in ("", "b1/", "b1/node/"):
        bucket_place.hold(marker, b"")
    bucket_place.hold("b1/x")
    assert keys_of(opened(bucket_place)) == keys_of(opened(bucket_place), "b1/") == ["b1/x"]


@pytest.mark.parametrize("beginning", ["", "b1/"])
def test_missing_bucket(bucket_place: Place, opened: Open, beginning: str) -> None:
    missing = bucket_place.at(bucket="no-such-bucket")
    with pytest.raises(StorageError, match=rf"{missing.location}/{beginning} can't be listed: .*404") as error:
        keys_of(opened(missing), beginning)
    assert error.value.hint
    assert not error.value.retryable


def test_etag_changes_with_the_content(place: Place, store: Store) -> None:
    place.hold("x", b"old")
    place.hold("y", b"old")
    before = {found.key: found.etag for found in store.list_objects()}
    assert before == {found.key: found.etag for found in store.list_objects()}
    place.hold("x", b"new")
    after = {found.key: found.etag for found in store.list_objects()}
    assert after["x"] != before["x"]
    assert after["y"] == before["y"]
