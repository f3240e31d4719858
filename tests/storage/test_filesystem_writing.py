"""How a file system is written: by partial files, below the location's directory only."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import DeletionFailed, InvalidRequest, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage import folders
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.storage.store import PIECE_BYTES, UnfinishedUpload

Method = Callable[[FilesystemStore], object]
Failing = Callable[[str, int], AbstractContextManager[None]]

WRITING: dict[str, Method] = {
    "write": lambda store: store.write("b2/node/x", [b"new"], 3),
    "create": lambda store: store.create("b2/node/x", b"new"),
    "copy": lambda store: store.copy(store._location, "b1/x.json", "b2/node/x"),
}


@pytest.fixture(params=WRITING)
def written(request: pytest.FixtureRequest) -> Method:
    return WRITING[request.param]


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


UNTOUCHED = {"b1", "b1/x.json"}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Return what lets a function of the operating system fail, as on a disk of another state."""

    @contextmanager
    def fail(name: str, code: int) -> Iterator[None]:
        def raise_it(*_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as broken:
            broken.setattr(os, name, raise_it)
            yield

    return fail


TAKING_NOTHING = {
    errno.ENOSPC: "Make room",
    errno.EDQUOT: "Make room",
    errno.EROFS: "read-only",
    errno.EACCES: "lacks a permission",
}


@pytest.mark.parametrize("code", TAKING_NOTHING)
def test_disk_that_takes_nothing(
    store: FilesystemStore, root: Path, written: Method, failing: Failing, code: int
) -> None:
    """Nothing is left of it, not even a folder."""
    reason = f"b2/node/x can't be written: {os.strerror(code)}"
    for call in ("mkdir", "fsync"):
        with failing(call, code), pytest.raises(StorageError, match=reason) as caught:
            written(store)
        assert TAKING_NOTHING[code] in caught.value.hint
        assert not caught.value.retryable
        assert tree(root) == UNTOUCHED


def test_server_of_the_disk_that_is_away(store: FilesystemStore, written: Method, failing: Failing) -> None:
    with failing("fsync", errno.EIO), pytest.raises(StorageUnreachable, match="can't be written"):
        written(store)
    with failing("unlink", errno.ESTALE), pytest.raises(StorageUnreachable, match="can't be deleted"):
        store.delete(["b1/x.json"])
    with failing("scandir", errno.ESTALE), pytest.raises(StorageUnreachable, match="can't be listed"):
        list(store.list_objects())


class TestSettling:
    @pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, StorageError), (errno.EIO, StorageUnreachable)])
    def test_what_could_not_be_written_stays_lost(
        self, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[StorageError]
    ) -> None:
        """The operating system tells it once, and takes the content for written from then on."""
        with monkeypatch.context() as broken:
            broken.setattr(folders, "_syncfs", lambda _: ctypes.set_errno(code) or -1)
            with pytest.raises(StorageError, match=f"can't be written: {os.strerror(code)}") as caught:
                store.settle()
        assert type(caught.value) is kind
        with pytest.raises(kind, match=os.strerror(code)):
            store.settle()

    def test_elsewhere_than_on_linux(self, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = list[str]()
        monkeypatch.setattr(folders, "_syncfs", None)
        monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))
        store.settle()
        assert calls == ["sync"]

    def test_missing_directory(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="No such file or directory") as caught:
            FilesystemStore(Location.parse(f"file://{tmp_path}/x")).settle()
        assert "mounted on the worker" in caught.value.hint


def test_only_what_is_large_waits_for_the_disk(store: FilesystemStore, root: Path, failing: Failing) -> None:
    with failing("fsync", errno.EIO), failing("fdatasync", errno.EIO):
        store.write("b1/x.json", [bytes(PIECE_BYTES)], PIECE_BYTES)
        with pytest.raises(StorageUnreachable, match="can't be written"):
            store.write("b1/x.json", [bytes(PIECE_BYTES), b"x"], PIECE_BYTES + 1)
    assert (root / "b1" / "x.json").stat().st_size == PIECE_BYTES
    assert tree(root) == UNTOUCHED


def test_what_only_the_end_of_a_write_tells(
    store: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a network file system does, where others fill it."""
    close, pwrite, written = os.close, os.pwrite, set[int]()

    def noted(descriptor: int, content: bytes, start: int) -> int:
        written.add(descriptor)
        return pwrite(descriptor, content, start)

    def failing(descriptor: int) -> None:
        close(descriptor)
        if descriptor in written:
            written.remove(descriptor)
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", noted)
        broken.setattr(os, "close", failing)
        with pytest.raises(StorageError, match=os.strerror(errno.EDQUOT)):
            store.write("b1/x.json", [b"new"], 3)
    assert (root / "b1" / "x.json").read_bytes() == b"inside"
    assert tree(root) == UNTOUCHED


def test_file_that_grows_too_large(store: FilesystemStore, root: Path) -> None:
    """In the middle of its content: what was there stays."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"b1/x\.json can't be written: File too large"):
            store.write("b1/x.json", (bytes(10_000) for _ in range(20)), 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (root / "b1" / "x.json").read_bytes() == b"inside"
    assert tree(root) == UNTOUCHED


def test_file_system_without_hard_links(store: FilesystemStore, root: Path, failing: Failing) -> None:
    for code in (errno.EPERM, errno.EOPNOTSUPP):
        with failing("link", code), pytest.raises(StorageError) as caught:
            store.create("b2/x", b"new")
        assert "hard links" in caught.value.hint
    assert tree(root) == UNTOUCHED


@pytest.mark.parametrize("key", ["b1/x.json/below", "b1/x.json/far/below", "b1"])
def test_object_and_others_below_its_name(store: FilesystemStore, root: Path, key: str) -> None:
    writing: list[Method] = [
        lambda store: store.write(key, [b"new"], 3),
        lambda store: store.create(key, b"new"),
        lambda store: store.copy(store._location, "b1/x.json", key),
    ]
    for written in writing:
        with pytest.raises(StorageError, match=f"{key} can't be written: (Not|Is) a directory") as caught:
            written(store)
        assert "can't hold an object together with others" in caught.value.hint
    assert tree(root) == UNTOUCHED


@pytest.mark.parametrize("linked", ["folder", "file", "dangling"])
def test_links_are_refused_everywhere(store: FilesystemStore, root: Path, tmp_path: Path, linked: str) -> None:
    if linked == "folder":
        (root / "link").symlink_to(tmp_path / "outside")
    else:
        (root / "link").mkdir()
        (root / "link" / "x.json").symlink_to(tmp_path / "outside" / ("x.json" if linked == "file" else "y.json"))
    key, before = "link/x.json", tree(tmp_path)
    calls: list[tuple[str, Method]] = [
        ("read", lambda store: list(store.stream(key))),
        ("read", lambda store: store.copy(store._location, key, "copied")),
        ("written", lambda store: store.write(key, [b"new"], 3)),
        ("written", lambda store: store.create(key, b"new")),
        ("written", lambda store: store.copy(store._location, "b1/x.json", key)),
        ("deleted", lambda store: store.delete([key])),
    ]
    for verb, call in calls:
        with pytest.raises(StorageError, match=rf"can't be {verb}: .*symbolic link on the way") as caught:
            call(store)
        assert "could lead outside" in caught.value.hint
    assert [found.key for found in store.list_objects()] == ["b1/x.json"]
    assert (tmp_path / "outside" / "x.json").read_bytes() == b"outside"
    assert tree(tmp_path) == before


def test_deletion_that_fails_for_some(store: FilesystemStore, root: Path) -> None:
    (root / "link").symlink_to("b1")
    (root / "b1" / "y").write_bytes(b"")
    with pytest.raises(DeletionFailed, match="2 objects of file://") as caught:
        store.delete(["link/x.json", "b1/x.json", "link/y"])
    assert list(caught.value.reasons) == ["link/x.json", "link/y"]
    assert tree(root) == {"b1", "b1/y", "link"}


def test_deletion_takes_empty_folders_along(store: FilesystemStore, root: Path) -> None:
    for key in ("b2/node/Article/chunk-1", "b2/node/Author/chunk-1", "b2/backup_config.json"):
        store.create(key, b"x")
    store.delete(["b2/node/Article/chunk-1"])
    assert tree(root / "b2") == {"node", "node/Author", "node/Author/chunk-1", "backup_config.json"}
    store.delete(["b2/backup_config.json", "b2/node/Author/chunk-1"])
    assert tree(root) == UNTOUCHED
    store.delete(["b1/x.json", "b1/x.json"])
    assert tree(root) == set()
    assert root.is_dir()


def test_folders_come_and_go(store: FilesystemStore, root: Path) -> None:
    """A lease is taken and given back by several at once; each makes the folder that another removes."""
    failures: list[BaseException] = []

    def lease(number: int) -> None:
        try:
            for _ in range(300):
                store.create(f"b2/_vectorbackup/lease-{number}", b"mine")
                store.delete([f"b2/_vectorbackup/lease-{number}"])
        except BaseException as error:  # noqa: BLE001 - for the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=lease, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert tree(root) == UNTOUCHED


def test_others_may_read_what_is_written(store: FilesystemStore, root: Path, written: Method) -> None:
    """As far as the worker's umask lets them: the server runs as another user."""
    before = os.umask(0o027)
    try:
        written(store)
    finally:
        os.umask(before)
    assert (root / "b2" / "node" / "x").stat().st_mode & 0o777 == 0o640
    assert (root / "b2" / "node").stat().st_mode & 0o777 == 0o750


_WRITE_FOREVER = """
import itertools, sys
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore

def pieces():
    yield b"x" * 2**20
    print("begun", flush=True)
    sys.stdin.read()

FilesystemStore(Location.parse(sys.argv[1])).write("b2/node/x", pieces(), 2**30)
"""


def test_process_that_is_killed(store: FilesystemStore, root: Path) -> None:
    """What it leaves is an unfinished upload, which a retry neither sees nor needs."""
    argv = [sys.executable, "-c", _WRITE_FOREVER, f"file://{root}"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == b"begun\n"
        writer.send_signal(signal.SIGKILL)
    assert [found.key for found in store.list_objects()] == ["b1/x.json"]
    assert store.read("b2/node/x") is None
    (upload,) = store.list_unfinished_uploads()
    assert upload.key == "b2/node/x"
    store.write("b2/node/x", [b"whole"], 5)
    store.abort(upload)
    assert tree(root) == UNTOUCHED | {"b2", "b2/node", "b2/node/x"}


def test_abort_takes_empty_folders_along(store: FilesystemStore, root: Path) -> None:
    (root / "b2" / "node").mkdir(parents=True)
    (root / "b2" / "node" / ".x.0123abcd.partial").write_bytes(b"part")
    store.abort(UnfinishedUpload("b2/node/x", ".x.0123abcd.partial"))
    assert tree(root) == UNTOUCHED


@pytest.mark.parametrize("upload_id", ["x.json", "../b1/x.json", ".y.0123abcd.partial", "../.x.json.0123abcd.partial"])
def test_only_partial_files_can_be_aborted(store: FilesystemStore, root: Path, upload_id: str) -> None:
    with pytest.raises(InvalidRequest, match="no unfinished upload"):
        store.abort(UnfinishedUpload("b1/x.json", upload_id))
    assert tree(root) == UNTOUCHED


@pytest.mark.parametrize("name", ["read", "write", "delete"])
def test_partial_files_are_no_objects(store: FilesystemStore, root: Path, name: str) -> None:
    """Else one could be written that no listing shows."""
    key = "b1/.x.json.0123abcd.partial"
    (root / key).write_bytes(b"part")
    arguments: dict[str, tuple[Any, ...]] = {"read": (key,), "write": (key, [b"new"], 3), "delete": ([key],)}
    with pytest.raises(InvalidRequest, match="not whole yet"):
        getattr(store, name)(*arguments[name])
    assert (root / key).read_bytes() == b"part"


def test_name_that_is_too_long(store: FilesystemStore, root: Path) -> None:
    for key in ("x" * 250, "b2/" + "x" * 300, "x" * 300 + "/b2"):
        with pytest.raises(StorageError, match="can't be written: File name too long"):
            store.write(key, [b"new"], 3)
    assert tree(root) == UNTOUCHED


def test_copy_from_another_directory(store: FilesystemStore, root: Path, tmp_path: Path) -> None:
    store.copy(Location.parse(f"file://{tmp_path}/outside"), "x.json", "b2/x.json")
    assert (root / "b2" / "x.json").read_bytes() == b"outside"
    missing = Location.parse(f"file://{tmp_path}/not-mounted")
    with pytest.raises(StorageError, match=r"not-mounted/x\.json can't be read: No such file") as caught:
        store.copy(missing, "x.json", "b3/x.json")
    assert "mounted on the worker" in caught.value.hint
