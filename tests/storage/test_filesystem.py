"""What only a file system does."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import (
    InvalidRequest,
    ObjectChanged,
    StorageError,
    StorageUnreachable,
)
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.storage.store import LARGEST_READ_BYTES, PIECE_BYTES


def assert_unreadable(store: FilesystemStore, key: str, reason: str) -> StorageError:
    with pytest.raises(StorageError, match=reason) as caught:
        store.read(key)
    return caught.value


def test_file(store: FilesystemStore) -> None:
    assert store.read("b1/x.json") == b"inside"


def test_absent(store: FilesystemStore, root: Path) -> None:
    os.mkfifo(root / "pipe")
    for key in ("b1", "b2", "b2/x.json", "b1/y.json", "b1/x.json/y", "pipe"):
        assert store.read(key) is None


def test_whole_disk(root: Path) -> None:
    assert FilesystemStore(Location.parse("file:///")).read(f"{root}/b1/x.json".lstrip("/")) == b"inside"


@pytest.mark.parametrize("target", ["../outside", "{root}/../outside", "b1", "no-such-folder"])
def test_linked_folder_is_not_followed(store: FilesystemStore, root: Path, target: str) -> None:
    (root / "link").symlink_to(target.format(root=root))
    assert "could lead outside" in assert_unreadable(store, "link/x.json", "symbolic link on the way").hint


@pytest.mark.parametrize("target", ["../outside/x.json", "b1/x.json", "no-such-file", "link"])
def test_linked_file_is_not_followed(store: FilesystemStore, root: Path, target: str) -> None:
    """One that leads nowhere is an error too: what it stands for may be on a disk that is not mounted."""
    (root / "link").symlink_to(target)
    assert_unreadable(store, "link", "symbolic link on the way")


def test_the_directory_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mounted").symlink_to(root)
    assert FilesystemStore(Location.parse(f"file://{tmp_path}/mounted")).read("b1/x.json") == b"inside"


def test_missing_directory(tmp_path: Path) -> None:
    error = assert_unreadable(FilesystemStore(Location.parse(f"file://{tmp_path}/x")), "b1/x", "No such file or dir")
    assert "mounted on the worker" in error.hint
    assert not error.retryable


def test_directory_that_is_a_file(root: Path) -> None:
    assert_unreadable(FilesystemStore(Location.parse(f"file://{root}/b1/x.json")), "x", "Not a directory")


def test_name_that_is_too_long(store: FilesystemStore) -> None:
    assert_unreadable(store, "x" * 300, "File name too long")


@pytest.mark.parametrize(
    ("error", "kind"),
    [(errno.EIO, StorageUnreachable), (errno.ESTALE, StorageUnreachable), (errno.EACCES, StorageError)],
)
def test_faults_of_the_disk(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, error: int, kind: type[StorageError]
) -> None:
    """As a network file system without its server, and a folder of another user, would have them."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as broken:
        broken.setattr(os, "stat", fail)
        caught = assert_unreadable(store, "b1/x.json", os.strerror(error))
    assert type(caught) is kind


def test_largest(store: FilesystemStore, root: Path) -> None:
    for size in (LARGEST_READ_BYTES, LARGEST_READ_BYTES + 1):
        with (root / "large").open("wb") as file:
            file.truncate(size)
        if size == LARGEST_READ_BYTES:
            assert store.read("large") == bytes(size)
        else:
            assert_unreadable(store, "large", "larger than 67108864 bytes")


class TestListing:
    def keys(self, store: FilesystemStore, prefix: str = "") -> list[str]:
        return [found.key for found in store.list_objects(prefix)]

    def test_files_only(self, store: FilesystemStore, root: Path, tmp_path: Path) -> None:
        os.mkfifo(root / "b1" / "pipe")
        (root / "b1" / ".x.json.0123abcd.partial").write_bytes(b"part")
        (root / "b1" / ".hidden").write_bytes(b"")
        (root / "b1" / "link").symlink_to("x.json")
        (root / "outside").symlink_to(tmp_path / "outside")
        (root / "b2" / "node").mkdir(parents=True)
        assert self.keys(store) == ["b1/.hidden", "b1/x.json"]

    def test_names_that_are_no_text(self, store: FilesystemStore, root: Path) -> None:
        """They are there, and said to be; no other method takes them."""
        Path(os.fsdecode(os.fsencode(root / "b1") + b"/\xff")).write_bytes(b"")
        assert self.keys(store) == ["b1/x.json", "b1/\udcff"]
        with pytest.raises(InvalidRequest, match="is no key"):
            store.read("b1/\udcff")

    def test_folder_that_can_not_be_opened(
        self, store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may hold anything; only the one that every new disk has, for root alone, does not count."""
        (root / "lost+found").mkdir()
        (root / "b2").mkdir()
        opened = os.open

        def guarded(path: str, *arguments: Any, **named: Any) -> int:
            if path in closed:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return opened(path, *arguments, **named)

        closed = {"lost+found"}
        with monkeypatch.context() as guards:
            guards.setattr(os, "open", guarded)
            assert self.keys(store) == ["b1/x.json"]
            closed.add("b2")
            with pytest.raises(StorageError, match="can't be listed: Permission denied") as caught:
                self.keys(store)
        assert "lacks a permission" in caught.value.hint

    def test_what_goes_away_in_the_middle(self, store: FilesystemStore, root: Path) -> None:
        for name in ("b2", "b3"):
            (root / name).mkdir()
            (root / name / "y").write_bytes(b"")
        listing = store.list_objects()
        assert next(listing).key == "b1/x.json"
        (root / "b2" / "y").unlink()
        (root / "b2").rmdir()
        assert [found.key for found in listing] == ["b3/y"]

    def test_deep_folders(self, store: FilesystemStore) -> None:
        """Deeper than a path may be long."""
        key = "/".join(["a-folder-of-this-name"] * 300)
        store.write(key, [b"deep"], 4)
        assert self.keys(store, "a-folder") == [key]
        assert store.read(key) == b"deep"
        store.delete([key])
        assert self.keys(store, "a-folder") == []


class TestStream:
    SIZE = 3 * PIECE_BYTES

    def begun(self, store: FilesystemStore, root: Path) -> Iterator[bytes]:
        (root / "large").write_bytes(bytes(self.SIZE))
        stream = store.stream("large")
        assert next(stream) == bytes(PIECE_BYTES)
        return stream

    def test_replaced_in_the_middle(self, store: FilesystemStore, root: Path) -> None:
        """The old one is read to its end."""
        stream = self.begun(store, root)
        store.write("large", [b"new"], 3)
        assert sum(map(len, stream)) == self.SIZE - PIECE_BYTES

    @pytest.mark.parametrize("size", [0, PIECE_BYTES, SIZE - 1, SIZE + 1])
    def test_cut_or_grown_in_the_middle(self, store: FilesystemStore, root: Path, size: int) -> None:
        stream = self.begun(store, root)
        os.truncate(root / "large", size)
        with pytest.raises(ObjectChanged, match="large can't be read: it was written anew"):
            list(stream)

    def test_rewritten_in_the_middle(self, store: FilesystemStore, root: Path) -> None:
        stream = self.begun(store, root)
        with (root / "large").open("r+b") as file:
            file.write(b"other bytes")
        with pytest.raises(ObjectChanged):
            list(stream)
