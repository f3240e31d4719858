from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.storage.store import LARGEST_READ_BYTES


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    (folder / "b1").mkdir(parents=True)
    (folder / "b1" / "x.json").write_bytes(b"inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.json").write_bytes(b"outside")
    return folder


@pytest.fixture
def store(root: Path) -> Iterator[FilesystemStore]:
    """No file stays open, whatever happens."""
    before = psutil.Process().num_fds()
    yield FilesystemStore(Location.parse(f"file://{root}"))
    assert psutil.Process().num_fds() == before


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
