"""What every store promises of objects that are written in parts, of etags, and of what keeps objects."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_vectorbackup.exceptions import InvalidRequest, ObjectChanged, ObjectNotFound, VectorBackupError
from airflow_provider_vectorbackup.storage.store import PART_BYTES, PIECE_BYTES, Part, Store, UnfinishedUpload
from tests.contract.stores import ODD_KEYS, Place
from tests.contract.test_stores_writing import pieces_of

pytestmark = pytest.mark.services

Open = Callable[[Place], Store]

KEY = "b1/node/chunk-1"
SCRATCH = "b1/_vectorbackup/parts-"
SMALL_PART_BYTES = 5 * 2**20
"""The least that S3 takes; what other stores want is for speed only."""

SIZE = 2 * SMALL_PART_BYTES + 7
CONTENT = random.Random(0).randbytes(SIZE)
PARTS = [
    Part(number, start, min(SMALL_PART_BYTES, SIZE - start))
    for number, start in enumerate(range(0, SIZE, SMALL_PART_BYTES), 1)
]


class Upload:
    """An upload as one process has it."""

    def __init__(self, store: Store, upload_id: str = "") -> None:
        self.store = store
        self.id = upload_id or store.begin_upload(KEY, SIZE, SCRATCH)

    def put(self, part: Part, content: bytes = CONTENT) -> str:
        return self.store.put_part(KEY, self.id, part, pieces_of(content[part.start : part.start + part.size_bytes]))

    def finish(self, receipts: list[str]) -> str:
        return self.store.finish_upload(KEY, self.id, SIZE, receipts)

    def abort(self) -> None:
        self.store.abort(UnfinishedUpload(KEY, self.id))


@pytest.fixture
def upload(store: Store) -> Upload:
    return Upload(store)


def etag_at(store: Store, key: str = KEY) -> str:
    (etag,) = [found.etag for found in store.list_objects(key) if found.key == key]
    return etag


def keys_of(store: Store) -> list[str]:
    return [found.key for found in store.list_objects()]


def assert_nothing_is_left(store: Store) -> None:
    assert keys_of(store) == []
    assert list(store.list_unfinished_uploads(KEY)) == []


class TestParts:
    def test_in_any_order(self, store: Store, upload: Upload) -> None:
        receipts = {part.number: upload.put(part) for part in (PARTS[2], PARTS[0], PARTS[1])}
        etag = upload.finish([receipts[number] for number in (1, 2, 3)])
        assert store.read(KEY) == CONTENT
        assert keys_of(store) == [KEY]
        assert etag == etag_at(store)
        assert list(store.list_unfinished_uploads(KEY)) == []

    def test_from_several_threads(self, store: Store, upload: Upload) -> None:
        with ThreadPoolExecutor(len(PARTS)) as threads:
            receipts = list(threads.map(upload.put, PARTS))
        upload.finish(receipts)
        assert store.read(KEY) == CONTENT

    def test_one(self, store: Store) -> None:
        upload_id = store.begin_upload("x", 3, SCRATCH)
        receipt = store.put_part("x", upload_id, Part(1, 0, 3), [b"a", b"", b"bc"])
        assert store.finish_upload("x", upload_id, 3, [receipt]) == etag_at(store, "x")
        assert store.read("x") == b"abc"

    def test_another_process_goes_on(self, place: Place, store: Store, upload: Upload, opened: Open) -> None:
        first = upload.put(PARTS[0])
        other = Upload(opened(place), upload.id)
        receipts = [first, *map(other.put, PARTS[1:])]
        third = Upload(opened(place), upload.id)
        assert third.finish(receipts) == etag_at(store)
        assert store.read(KEY) == CONTENT

    def test_repeated(self, store: Store, upload: Upload) -> None:
        """The last one counts."""
        upload.put(PARTS[1], CONTENT[::-1])
        receipts = [upload.put(part) for part in PARTS]
        upload.finish(receipts)
        assert store.read(KEY) == CONTENT

    def test_of_two_uploads_to_one_name(self, store: Store) -> None:
        """They do not mix: the one that ends last fails, or replaces the other whole."""
        one, two = Upload(store), Upload(store)
        receipts = [[upload.put(part, content) for part in PARTS] for upload, content in self.both(one, two)]
        one.finish(receipts[0])
        assert store.read(KEY) == CONTENT
        try:
            two.finish(receipts[1])
        except ObjectNotFound:
            assert store.read(KEY) == CONTENT
        else:
            assert store.read(KEY) == CONTENT[::-1]

    def both(self, one: Upload, two: Upload) -> list[tuple[Upload, bytes]]:
        return [(one, CONTENT), (two, CONTENT[::-1])]

    def test_nothing_shows_before_the_end(self, store: Store, upload: Upload) -> None:
        for part in PARTS:
            upload.put(part)
        assert store.read(KEY) is None
        assert KEY not in keys_of(store)
        assert all(key.startswith(SCRATCH) for key in keys_of(store))

    def test_replace_once_they_are_whole(self, place: Place, store: Store, upload: Upload) -> None:
        place.hold(KEY, b"old content")
        before = etag_at(store)
        receipts = [upload.put(part) for part in PARTS]
        assert store.read(KEY) == b"old content"
        assert etag_at(store) == before
        assert upload.finish(receipts) == etag_at(store) != before
        assert store.read(KEY) == CONTENT

    def test_odd_keys(self, store: Store) -> None:
        for key in ODD_KEYS:
            content = key.encode()
            upload_id = store.begin_upload(key, len(content), SCRATCH)
            receipt = store.put_part(key, upload_id, Part(1, 0, len(content)), [content])
            store.finish_upload(key, upload_id, len(content), [receipt])
            assert store.read(key) == content
        assert set(keys_of(store)) == set(ODD_KEYS)


class TestWhatIsNotWhole:
    def test_a_part_is_missing(self, place: Place, store: Store, upload: Upload) -> None:
        first, last = upload.put(PARTS[0]), upload.put(PARTS[2])
        for receipts in ([first, last], [first, last, last], []):
            with pytest.raises(VectorBackupError):
                upload.finish(receipts)
            assert store.read(KEY) is None
        place.hold(KEY, b"old content")
        with pytest.raises(ObjectNotFound):
            upload.finish([first, last, last])
        assert store.read(KEY) == b"old content"

    def test_aborted(self, store: Store, upload: Upload) -> None:
        receipts = [upload.put(part) for part in PARTS]
        upload.abort()
        assert_nothing_is_left(store)
        upload.abort()
        with pytest.raises(ObjectNotFound):
            upload.finish(receipts)
        assert_nothing_is_left(store)

    def test_aborted_between_parts(self, store: Store, upload: Upload) -> None:
        """Which a part is told, or else the end."""
        first = upload.put(PARTS[0])
        upload.abort()
        with pytest.raises(ObjectNotFound):
            upload.finish([first, *map(upload.put, PARTS[1:])])
        assert store.read(KEY) is None

    def test_aborted_before_any_part(self, store: Store, upload: Upload) -> None:
        upload.abort()
        assert_nothing_is_left(store)

    @pytest.mark.parametrize("change", [-1, 1, -PIECE_BYTES, PIECE_BYTES])
    def test_pieces_of_another_size(self, store: Store, upload: Upload, change: int) -> None:
        part = PARTS[0]
        with pytest.raises(InvalidRequest, match="can't be written"):
            store.put_part(KEY, upload.id, part, pieces_of(CONTENT[: part.size_bytes + change]))
        receipts = [upload.put(part) for part in PARTS]
        upload.finish(receipts)
        assert store.read(KEY) == CONTENT

    @pytest.mark.parametrize(
        "failure", [RuntimeError("of the source"), ConnectionResetError("of the source")], ids=repr
    )
    def test_source_that_fails(self, store: Store, upload: Upload, failure: Exception) -> None:
        def pieces() -> Iterator[bytes]:
            yield from pieces_of(CONTENT[:SMALL_PART_BYTES])
            raise failure

        with pytest.raises(type(failure)) as caught:
            store.put_part(KEY, upload.id, PARTS[0], pieces())
        assert caught.value is failure
        upload.finish([upload.put(part) for part in PARTS])
        assert store.read(KEY) == CONTENT

    def test_keys_that_leave_the_location(self, store: Store, upload: Upload) -> None:
        calls: list[Callable[[str], str]] = [
            lambda key: store.begin_upload(key, 1, SCRATCH),
            lambda key: store.put_part(key, upload.id, Part(1, 0, 1), [b"x"]),
            lambda key: store.finish_upload(key, upload.id, 1, ["receipt"]),
        ]
        for key in ("../outside", "/outside", "a//b", "a/", ""):
            for call in calls:
                with pytest.raises(InvalidRequest, match="is no key"):
                    call(key)


class TestEtags:
    @pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, SIZE - 1])
    def test_written(self, store: Store, size: int) -> None:
        first = store.write(KEY, pieces_of(bytes(size)), size)
        assert first == etag_at(store)
        second = store.write(KEY, pieces_of(CONTENT[: size + 1]), size + 1)
        assert second == etag_at(store) != first
        assert b"".join(store.stream(KEY, etag=second)) == CONTENT[: size + 1]

    @pytest.mark.parametrize("size", [0, 5, PART_BYTES + 1])
    def test_copied(self, place: Place, store: Store, size: int) -> None:
        place.hold("x", bytes(size))
        (listed,) = store.list_objects()
        assert store.copy(place.location, "x", "y") == etag_at(store, "y")
        assert store.copy(place.location, "x", "y", listed=listed) == etag_at(store, "y")
        assert store.read("y") == bytes(size)

    def test_another_was_listed(self, place: Place, store: Store) -> None:
        place.hold("x", b"old content")
        place.hold("y", b"before")
        (listed,) = store.list_objects("x")
        place.hold("x", b"new")
        with pytest.raises(ObjectChanged) as caught:
            store.copy(place.location, "x", "y", listed=listed)
        assert caught.value.retryable
        assert store.read("y") == b"before"

    def test_what_was_listed_is_gone(self, place: Place, store: Store) -> None:
        place.hold("x", b"old content")
        (listed,) = store.list_objects()
        store.delete(["x"])
        with pytest.raises(ObjectNotFound):
            store.copy(place.location, "x", "y", listed=listed)
        assert keys_of(store) == []


def test_nothing_keeps_objects_here(store: Store) -> None:
    assert store.lock_policy() == ""


def test_limits(store: Store) -> None:
    limits = store.part_limits
    assert 0 < limits.least_bytes <= limits.whole_bytes
    for size_bytes in (limits.whole_bytes + 1, limits.least_bytes * limits.most_parts + 1):
        part_bytes = limits.part_bytes(size_bytes)
        assert part_bytes >= limits.least_bytes
        assert -(-size_bytes // part_bytes) <= limits.most_parts
