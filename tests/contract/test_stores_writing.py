"""What every store promises of writing: whole, and only whole."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_vectorbackup.exceptions import InvalidRequest, StorageUnreachable
from airflow_provider_vectorbackup.storage.store import PART_BYTES, PIECE_BYTES, Store
from tests.contract.stores import ODD_KEYS, Place
from tests.services.fault_proxy import FaultProxy

pytestmark = pytest.mark.services

Open = Callable[[Place], Store]

KEY = "b1/node/chunk-1"
SIZES = [0, 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 5]
CONTENT = random.Random(0).randbytes(max(SIZES))


def pieces_of(content: bytes, size: int = PIECE_BYTES) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


def assert_nothing_is_left(store: Store, key: str = KEY) -> None:
    assert store.read(key) is None
    assert list(store.list_objects()) == []
    assert list(store.list_unfinished_uploads(key)) == []


@pytest.mark.parametrize("size", SIZES)
def test_size(store: Store, size: int) -> None:
    etag = store.write(KEY, pieces_of(CONTENT[:size]), size)
    assert store.read(KEY) == CONTENT[:size]
    assert [(found.key, found.size_bytes, found.etag) for found in store.list_objects()] == [(KEY, size, etag)]
    assert list(store.list_unfinished_uploads(KEY)) == []


@pytest.mark.parametrize(
    "pieces",
    [
        [CONTENT[: 2 * PART_BYTES + 1]],
        [b"", CONTENT[:1], b"", CONTENT[1:PART_BYTES], CONTENT[PART_BYTES : 2 * PART_BYTES + 1], b""],
        [*pieces_of(CONTENT[: 2 * PART_BYTES + 1], 999_983)],
    ],
    ids=["one", "few", "many"],
)
def test_pieces_of_any_size(store: Store, pieces: list[bytes]) -> None:
    store.write(KEY, pieces, 2 * PART_BYTES + 1)
    assert store.read(KEY) == CONTENT[: 2 * PART_BYTES + 1]


def test_settled(store: Store) -> None:
    """Whether anything was written or not."""
    store.settle()
    store.write(KEY, [b"content"], 7)
    store.settle()
    assert store.read(KEY) == b"content"


def test_odd_keys(store: Store) -> None:
    for key in ODD_KEYS:
        store.write(key, [key.encode()], len(key.encode()))
        assert store.read(key) == b"".join(store.stream(key)) == key.encode()
    assert {found.key for found in store.list_objects()} == set(ODD_KEYS)


@pytest.mark.parametrize("size", [0, 3, PART_BYTES + 1])
def test_replaces_once_it_is_whole(place: Place, store: Store, size: int) -> None:
    place.hold(KEY, b"old content")

    def pieces() -> Iterator[bytes]:
        yield from pieces_of(CONTENT[:size])
        assert store.read(KEY) == b"old content"

    store.write(KEY, pieces(), size)
    assert store.read(KEY) == CONTENT[:size]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (0, 1),
        (1, 0),
        (1, 2),
        (2, 1),
        (PART_BYTES, PART_BYTES + 1),
        (PART_BYTES + 1, PART_BYTES),
        (2 * PART_BYTES, 2 * PART_BYTES + 1),
        (2 * PART_BYTES + 1, 2 * PART_BYTES),
    ],
)
def test_another_size_than_was_said(store: Store, given: int, said: int) -> None:
    with pytest.raises(InvalidRequest, match="can't be written"):
        store.write(KEY, pieces_of(CONTENT[:given]), said)
    assert_nothing_is_left(store)


@pytest.mark.parametrize("size", [0, 3, 2 * PART_BYTES + 1])
@pytest.mark.parametrize("failure", [RuntimeError("of the source"), ConnectionResetError("of the source")], ids=repr)
def test_source_that_fails(place: Place, store: Store, size: int, failure: Exception) -> None:
    """Its error comes out as it is: no failure of this storage."""

    def pieces() -> Iterator[bytes]:
        yield from pieces_of(CONTENT[:size])
        raise failure

    with pytest.raises(type(failure)) as caught:
        store.write(KEY, pieces(), 3 * PART_BYTES)
    assert caught.value is failure
    assert_nothing_is_left(store)
    place.hold(KEY, b"old content")
    with pytest.raises(type(failure)):
        store.write(KEY, pieces(), 3 * PART_BYTES)
    assert store.read(KEY) == b"old content"
    assert list(store.list_unfinished_uploads(KEY)) == []


@pytest.mark.parametrize("size", [2**20, 2 * PART_BYTES + 1])
def test_cut_in_the_middle(bucket_place: Place, opened: Open, proxied: Store, proxy: FaultProxy, size: int) -> None:
    store = opened(bucket_place)
    for old in (None, b"old content"):
        if old:
            bucket_place.hold(KEY, old)
        proxy.mode = "ok"

        def pieces() -> Iterator[bytes]:
            yield from pieces_of(CONTENT[: size - 1])
            proxy.mode = "down"
            yield CONTENT[size - 1 : size]

        with pytest.raises(StorageUnreachable, match=f"{KEY} can't be written"):
            proxied.write(KEY, pieces(), size)
        assert store.read(KEY) == old


def test_cut_for_a_moment(bucket_place: Place, opened: Open, proxied: Store, proxy: FaultProxy) -> None:
    """It may go on, or fail; what is there is whole, or nothing."""
    size = 2 * PART_BYTES + 1

    def pieces() -> Iterator[bytes]:
        yield from pieces_of(CONTENT[: size - 1])
        proxy.mode = "down"
        proxy.mode = "ok"
        yield CONTENT[size - 1 : size]

    try:
        proxied.write(KEY, pieces(), size)
    except StorageUnreachable:
        assert opened(bucket_place).read(KEY) is None
    else:
        assert opened(bucket_place).read(KEY) == CONTENT[:size]


class TestCreate:
    @pytest.mark.parametrize("content", [b"", b"{}", CONTENT[: PART_BYTES + 1]], ids=["empty", "small", "large"])
    def test_new(self, store: Store, content: bytes) -> None:
        assert store.create(KEY, content) is True
        assert store.read(KEY) == content
        assert [found.key for found in store.list_objects()] == [KEY]
        assert list(store.list_unfinished_uploads(KEY)) == []

    @pytest.mark.parametrize("content", [b"", b"another", b"of another"])
    def test_taken(self, place: Place, store: Store, content: bytes) -> None:
        place.hold(KEY, b"of others")
        (before,) = store.list_objects()
        assert store.create(KEY, content) is False
        assert store.read(KEY) == b"of others"
        assert list(store.list_objects()) == [before]
        assert list(store.list_unfinished_uploads(KEY)) == []

    def test_taken_by_an_empty_one(self, place: Place, store: Store) -> None:
        place.hold(KEY, b"")
        assert store.create(KEY, b"{}") is False
        assert store.read(KEY) == b""

    def test_with_this_content_already(self, place: Place, store: Store) -> None:
        """As after a lost answer."""
        place.hold(KEY, b"mine")
        assert store.create(KEY, b"mine") is True

    def test_odd_keys(self, store: Store) -> None:
        for key in ODD_KEYS:
            assert store.create(key, b"mine") is True
            assert store.create(key, b"theirs") is False
            assert store.read(key) == b"mine"

    def test_several_at_once(self, store: Store) -> None:
        racers = 8
        for round_number in range(5):
            key, line = f"b1/lease-{round_number}", threading.Barrier(racers)

            def race(number: int, key: str = key, line: threading.Barrier = line) -> bool:
                line.wait(30)
                return store.create(key, b"%d" % number)

            with ThreadPoolExecutor(racers) as threads:
                won = list(threads.map(race, range(racers)))
            assert won.count(True) == 1
            assert store.read(key) == b"%d" % won.index(True)


def test_many_threads(store: Store) -> None:
    """One store serves them all."""

    def work(number: int) -> bool:
        key, content = f"b{number}/chunk", CONTENT[number : number + 50_000 + number]
        store.write(key, pieces_of(content, 7_000), len(content))
        return store.read(key) == b"".join(store.stream(key)) == content

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(work, range(64)))
    assert len(list(store.list_objects())) == 64
