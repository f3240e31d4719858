"""How a file is written in parts: by several processes into one partial file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.exceptions import InvalidRequest, ObjectNotFound, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.storage.store import Part, UnfinishedUpload
from tests.storage.test_filesystem_writing import UNTOUCHED, Failing, failing, tree

__all__ = ["failing"]

KEY = "b2/node/x"
SCRATCH = "b2/_vectorbackup/"


def begin(store: FilesystemStore, key: str = KEY) -> str:
    return store.begin_upload(key, 7, SCRATCH)


def test_partial_file_beside_its_place(store: FilesystemStore, root: Path) -> None:
    upload_id = begin(store)
    assert tree(root) == UNTOUCHED | {"b2", "b2/node", f"b2/node/{upload_id}"}
    (found,) = store.list_unfinished_uploads()
    assert (found.key, found.upload_id) == (KEY, upload_id)
    receipts = [store.put_part(KEY, upload_id, Part(1, 0, 3), [b"con"])]
    receipts.append(store.put_part(KEY, upload_id, Part(2, 3, 4), [b"te", b"nt"]))
    store.finish_upload(KEY, upload_id, 7, receipts)
    assert (root / KEY).read_bytes() == b"content"
    assert tree(root) == UNTOUCHED | {"b2", "b2/node", KEY}


def test_others_may_read_it(store: FilesystemStore, root: Path) -> None:
    """As far as the worker's umask lets them: the server runs as another user."""
    before = os.umask(0o027)
    try:
        upload_id = begin(store)
        receipt = store.put_part(KEY, upload_id, Part(1, 0, 1), [b"x"])
        store.finish_upload(KEY, upload_id, 1, [receipt])
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / KEY).stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("receipts", "size_bytes"),
    [
        (["0-3", "3-7"], 8),
        (["0-3", "3-7"], 6),
        (["0-7"], 8),
        (["0-3"], 7),
        (["3-7"], 7),
        (["3-7", "0-3"], 7),
        (["0-3", "0-3", "3-7"], 7),
        ([], 7),
    ],
)
def test_receipts_that_are_no_whole(store: FilesystemStore, root: Path, receipts: list[str], size_bytes: int) -> None:
    upload_id = begin(store, "b1/x.json")
    store.put_part("b1/x.json", upload_id, Part(1, 0, 3), [b"con"])
    store.put_part("b1/x.json", upload_id, Part(2, 3, 4), [b"tent"])
    with pytest.raises(ObjectNotFound, match="a part of it is missing"):
        store.finish_upload("b1/x.json", upload_id, size_bytes, receipts)
    assert (root / "b1" / "x.json").read_bytes() == b"inside"


def test_upload_that_is_gone(store: FilesystemStore, root: Path) -> None:
    """No part makes it anew."""
    upload_id = begin(store)
    store.abort(UnfinishedUpload(KEY, upload_id))
    for key in (KEY, "b1/x"):
        with pytest.raises(ObjectNotFound, match="no such upload"):
            store.put_part(key, upload_id, Part(1, 0, 1), [b"x"])
        with pytest.raises(ObjectNotFound, match="no such upload"):
            store.finish_upload(key, upload_id, 1, ["0-1"])
    assert tree(root) == UNTOUCHED


@pytest.mark.parametrize("upload_id", ["x.json", "../b1/x.json", ".y.0123abcd.partial", "../.x.json.0123abcd.partial"])
def test_only_partial_files_of_that_name(store: FilesystemStore, root: Path, upload_id: str) -> None:
    with pytest.raises(InvalidRequest, match="no unfinished upload"):
        store.put_part("b1/x.json", upload_id, Part(1, 0, 1), [b"x"])
    with pytest.raises(InvalidRequest, match="no unfinished upload"):
        store.finish_upload("b1/x.json", upload_id, 1, ["0-1"])
    assert (root / "b1" / "x.json").read_bytes() == b"inside"


@pytest.mark.parametrize("linked", ["folder", "partial", "place"])
def test_links_are_refused(store: FilesystemStore, root: Path, tmp_path: Path, linked: str) -> None:
    partial, outside = ".x.json.0123abcd.partial", tmp_path / "outside" / "x.json"
    (root / "b1" / "x.json").unlink()
    if linked == "folder":
        (root / "b1").rmdir()
        (root / "b1").symlink_to(tmp_path / "outside")
        (tmp_path / "outside" / partial).write_bytes(b"outside")
    elif linked == "partial":
        (root / "b1" / partial).symlink_to(outside)
    else:
        (root / "b1" / partial).write_bytes(b"x")
        (root / "b1" / "x.json").symlink_to(outside)
    before = tree(tmp_path)
    if linked != "place":
        with pytest.raises(StorageError, match="symbolic link on the way"):
            store.put_part("b1/x.json", partial, Part(1, 0, 1), [b"x"])
    with pytest.raises(StorageError, match="symbolic link on the way"):
        store.finish_upload("b1/x.json", partial, 1, ["0-1"])
    assert outside.read_bytes() == b"outside"
    assert tree(tmp_path) == before


def test_disk_that_takes_nothing(store: FilesystemStore, root: Path, failing: Failing) -> None:
    for call in ("mkdir", "fsync"):
        with failing(call, errno.ENOSPC), pytest.raises(StorageError, match=f"{KEY} can't be written: No space"):
            begin(store)
        assert tree(root) == UNTOUCHED
    upload_id = begin(store)
    for call in ("pwrite", "fdatasync"):
        with failing(call, errno.ENOSPC), pytest.raises(StorageError, match=f"{KEY} can't be written: No space"):
            store.put_part(KEY, upload_id, Part(1, 0, 1), [b"x"])
    receipt = store.put_part(KEY, upload_id, Part(1, 0, 1), [b"x"])
    with failing("replace", errno.EIO), pytest.raises(StorageUnreachable, match=f"{KEY} can't be written"):
        store.finish_upload(KEY, upload_id, 1, [receipt])
    store.finish_upload(KEY, upload_id, 1, [receipt])
    assert store.read(KEY) == b"x"


def test_write_that_takes_less(store: FilesystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the rest is written."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, content, start: pwrite(file, content[:2], start))
    upload_id = begin(store)
    receipt = store.put_part(KEY, upload_id, Part(1, 0, 7), [b"content"])
    store.finish_upload(KEY, upload_id, 7, [receipt])
    assert store.read(KEY) == b"content"
