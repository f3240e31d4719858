"""What every store promises of streams."""

from __future__ import annotations

import random
from contextlib import closing

import pytest

from airflow_provider_vectorbackup.exceptions import ObjectChanged, ObjectNotFound, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.store import PART_BYTES, PIECE_BYTES, Store
from tests.contract.stores import Place
from tests.services.fault_proxy import FaultProxy

pytestmark = pytest.mark.services

SIZE = 2 * 2**20 + 7
CONTENT = random.Random(0).randbytes(SIZE)
LARGE = random.Random(1).randbytes(PART_BYTES + 1)


def test_whole(place: Place, store: Store) -> None:
    place.hold("b1/chunk", CONTENT)
    pieces = list(store.stream("b1/chunk"))
    assert b"".join(pieces) == CONTENT
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 1),
        (5, 10),
        (0, SIZE),
        (SIZE - 1, None),
        (SIZE - 1, SIZE),
        (0, PIECE_BYTES),
        (PIECE_BYTES, None),
        (PIECE_BYTES - 1, PIECE_BYTES + 1),
        (PIECE_BYTES + 1, 2 * PIECE_BYTES + 3),
    ],
)
def test_range(place: Place, store: Store, start: int, end: int | None) -> None:
    place.hold("b1/chunk", CONTENT)
    assert b"".join(store.stream("b1/chunk", start=start, end=end)) == CONTENT[start:end]


@pytest.mark.parametrize("size", [PART_BYTES - 1, PART_BYTES, PART_BYTES + 1])
def test_around_a_part(place: Place, store: Store, size: int) -> None:
    place.hold("b1/chunk", LARGE[:size])
    assert b"".join(store.stream("b1/chunk")) == LARGE[:size]
    assert b"".join(store.stream("b1/chunk", start=PART_BYTES - 2)) == LARGE[PART_BYTES - 2 : size]


def test_empty_object(place: Place, store: Store) -> None:
    place.hold("empty", b"")
    assert b"".join(store.stream("empty")) == b""


@pytest.mark.parametrize(
    ("start", "end"), [(0, SIZE + 1), (SIZE - 1, SIZE + 1), (SIZE + 1, None), (SIZE + 1, SIZE + 2)]
)
def test_more_than_there_is(place: Place, store: Store, start: int, end: int | None) -> None:
    """The object is another than the one that was meant: a short answer would pass for a whole one."""
    place.hold("b1/chunk", CONTENT)
    with pytest.raises(StorageError):
        list(store.stream("b1/chunk", start=start, end=end))


def test_absent(place: Place, store: Store) -> None:
    place.hold("b1/chunk")
    for key in ("b1", "b1/chun", "b1/chunk/below", "b2/chunk"):
        with pytest.raises(ObjectNotFound) as caught:
            list(store.stream(key))
        assert str(caught.value).startswith(f"{place.location}/{key} can't be read: ")


def test_the_listed_one(place: Place, store: Store) -> None:
    place.hold("x", b"old")
    (listed,) = store.list_objects()
    assert b"".join(store.stream("x", etag=listed.etag)) == b"old"
    assert b"".join(store.stream("x", etag=listed.etag, start=1, end=2)) == b"l"
    place.hold("x", b"new")
    for start in (0, 1):
        with pytest.raises(ObjectChanged, match="can't be read") as caught:
            list(store.stream("x", etag=listed.etag, start=start))
        assert caught.value.retryable


def test_left_early(place: Place, store: Store) -> None:
    """It holds nothing that the next ones need, not even a connection."""
    place.hold("b1/chunk", CONTENT)
    for _ in range(20):
        with closing(store.stream("b1/chunk")) as stream:
            assert CONTENT.startswith(next(stream))
    assert b"".join(store.stream("b1/chunk")) == CONTENT


def test_cut_in_the_middle(bucket_place: Place, proxied: Store, proxy: FaultProxy) -> None:
    bucket_place.hold("b1/chunk", LARGE)
    stream = proxied.stream("b1/chunk")
    assert LARGE.startswith(next(stream))
    proxy.mode = "down"
    with pytest.raises(StorageUnreachable, match="b1/chunk can't be read"):
        list(stream)


def test_cut_for_a_moment(bucket_place: Place, proxied: Store, proxy: FaultProxy) -> None:
    """It may go on where it stopped, or fail; it does not end too soon, and skips or repeats nothing."""
    bucket_place.hold("b1/chunk", LARGE)
    stream = proxied.stream("b1/chunk")
    received = next(stream)
    proxy.mode = "down"
    proxy.mode = "ok"
    try:
        received += b"".join(stream)
    except StorageUnreachable:
        return
    assert received == LARGE
