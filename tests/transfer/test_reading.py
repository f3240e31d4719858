from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import ObjectChanged, ObjectNotFound, StorageUnreachable
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.storage.store import StoredObject
from airflow_provider_vectorbackup.transfer import reading
from airflow_provider_vectorbackup.transfer.reading import read_through

CONTENT = bytes(range(256)) * 4


class BreakingStore(FilesystemStore):
    """Breaks each connection after so many bytes as ``lasts`` says; those after the last one hold."""

    def __init__(self, folder: Path, lasts: list[int]) -> None:
        super().__init__(Location("file", "", str(folder)))
        self.lasts = lasts
        self.starts: list[int] = []

    def stream(
        self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None
    ) -> Generator[bytes, None, None]:
        self.starts.append(start)
        content = b"".join(super().stream(key, start=start, end=end, etag=etag))
        breaks = bool(self.lasts)
        came = content[: self.lasts.pop(0)] if breaks else content
        for at in range(0, len(came), 100):
            yield came[at : at + 100]
        if breaks:
            raise StorageUnreachable("The connection broke.")


@pytest.fixture(scope="module", autouse=True)
def no_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "_PAUSES_SECONDS", (0.0, 0.0, 0.0))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("objects")
    (found / "chunk").write_bytes(CONTENT)
    (found / "empty").write_bytes(b"")
    return found


def stored(store: FilesystemStore, key: str = "chunk") -> StoredObject:
    (found,) = store.list_objects(key)
    return found


def read(store: FilesystemStore, key: str = "chunk") -> bytes:
    return b"".join(read_through(store, stored(store, key)))


@given(st.lists(st.integers(1, 300), max_size=4))
def test_every_byte_once_whatever_breaks(folder: Path, lasts: list[int]) -> None:
    assert read(BreakingStore(folder, lasts)) == CONTENT


def test_it_goes_on_where_the_connection_broke(folder: Path) -> None:
    store = BreakingStore(folder, [150, 0, 300])
    assert read(store) == CONTENT
    assert store.starts == [0, 150, 150, 450]


def test_break_after_the_last_byte(folder: Path) -> None:
    store = BreakingStore(folder, [len(CONTENT)])
    assert read(store) == CONTENT
    assert store.starts == [0, len(CONTENT)]


def test_progress_gives_new_patience(folder: Path) -> None:
    assert read(BreakingStore(folder, [0, 0, 0, 10, 0, 0, 10, 0, 0])) == CONTENT


def test_patience_ends_where_nothing_comes(folder: Path) -> None:
    store = BreakingStore(folder, [200, 0, 0, 0, 0])
    pieces = read_through(store, stored(store))
    with pytest.raises(StorageUnreachable):
        for _ in pieces:
            pass
    assert store.starts == [0, 200, 200, 200]


@given(st.integers(0, len(CONTENT)), st.integers(0, len(CONTENT)), st.lists(st.integers(1, 300), max_size=3))
def test_a_part_of_it_whatever_breaks(folder: Path, one: int, other: int, lasts: list[int]) -> None:
    """Parts of a large object are read by several threads, each from its own start to its own end."""
    start, end = sorted((one, other))
    store = BreakingStore(folder, lasts)
    assert b"".join(read_through(store, stored(store), start, end)) == CONTENT[start:end]
    assert store.starts[0] == start


def test_object_without_bytes(folder: Path) -> None:
    assert read(BreakingStore(folder, []), "empty") == b""


def test_object_that_was_written_anew(tmp_path: Path) -> None:
    (tmp_path / "chunk").write_bytes(CONTENT)
    store = BreakingStore(tmp_path, [100])
    pieces = read_through(store, stored(store))
    assert next(pieces) == CONTENT[:100]
    (tmp_path / "new").write_bytes(CONTENT)
    (tmp_path / "new").replace(tmp_path / "chunk")
    with pytest.raises(ObjectChanged):
        list(pieces)


def test_object_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "chunk").write_bytes(CONTENT)
    store = BreakingStore(tmp_path, [])
    listed = stored(store)
    (tmp_path / "chunk").unlink()
    with pytest.raises(ObjectNotFound):
        list(read_through(store, listed))
