"""Copies between two directories, of backups that real servers wrote, and what may be seen of them at any moment."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

from airflow_provider_vectorbackup.actions.copy_ends import CopyOrder
from airflow_provider_vectorbackup.actions.copying import copy_backup, plan_copy
from airflow_provider_vectorbackup.actions.verify import verify_backup
from airflow_provider_vectorbackup.backups.copies import CopyResult, OnConflict
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.verification import Level
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.transfer import moving
from airflow_provider_vectorbackup.transfer.journal import copy_folder
from airflow_provider_vectorbackup.transfer.manifest import Manifest, manifest_key, parse_manifest
from tests.actions.damage import GLOBAL
from tests.transfer.acting_store import ActingStore, Call
from tests.trees import unpack

SMALL = "old-1.24.26"
CHAIN = ("full", "second", "third", "fourth")
REPLACE = OnConflict.REPLACE


class Killed(BaseException):
    """Ends a process, wherever it is."""


class Copying:
    """A tree as the source of copies, and a target for them; both tell what is done to them."""

    def __init__(self, folder: Path, tree: str = SMALL) -> None:
        root = folder / "source" / tree
        self.source = ActingStore(root if root.is_dir() else unpack(tree, folder / "source"))
        self.target = ActingStore(folder / "target")

    def order(self, backup_id: str, **fields: Any) -> CopyOrder:
        usual: dict[str, Any] = {"threads": 2, "owner": "Dag nightly"}
        return CopyOrder(backup_id, at(self.source), at(self.target), **(usual | fields))

    def open(self, location: Location) -> ActingStore:
        return self.source if location == at(self.source) else self.target

    def copy(self, backup_id: str, **fields: Any) -> CopyResult:
        return copy_backup(self.order(backup_id, **fields), self.open)

    def plan(self, backup_id: str, **fields: Any) -> CopyResult:
        return plan_copy(self.order(backup_id, **fields), self.open)

    def backups(self) -> set[str]:
        """Return what Weaviate sees in the target."""
        return {path.parent.name for path in self.target.root.glob(f"*/{GLOBAL}")}

    def require_whole(self, *backup_ids: str) -> None:
        """Check that these are in the target as they are in the source, and that nothing of ours but manifests is."""
        assert self.backups() == set(backup_ids)
        for backup_id in backup_ids:
            report = verify_backup(FilesystemStore(at(self.target)), at(self.target), backup_id, Level.DEEP, threads=1)
            assert report.damage == ()
            assert copied(self.target, backup_id) == copied(self.source, backup_id)
            assert own(self.target, backup_id) == {manifest_key(backup_id)}

    def require_never_half(self) -> None:
        """Check that all that Weaviate sees in the target is whole."""
        for backup_id in self.backups():
            report = verify_backup(FilesystemStore(at(self.target)), at(self.target), backup_id, Level.QUICK, threads=1)
            assert report.damage == (), backup_id

    def watch_for_halves(self) -> None:
        """Check that after each single change of the target."""
        self.target.after = lambda call: self.require_never_half() if call.changes else None

    def manifest(self, backup_id: str) -> Manifest:
        key = manifest_key(backup_id)
        return parse_manifest(key, (self.target.root / key).read_bytes())

    def forget_calls(self) -> None:
        self.source.calls.clear()
        self.target.calls.clear()

    def changed(self) -> list[str]:
        """Return the keys in the target that were changed, but for leases."""
        return [call.key for call in self.target.calls if call.changes and "/lease-" not in call.key]


def date(copying: Copying, *backup_ids: str) -> None:
    """Have each of these backups be written after the one before it; in an archive, no times are kept."""
    for hour, backup_id in enumerate(backup_ids, 1):
        os.utime(copying.source.root / backup_id / GLOBAL, (hour * 3600, hour * 3600))


def at(store: ActingStore) -> Location:
    return Location.parse(f"file://{store.root}")


def own(store: ActingStore, backup_id: str) -> set[str]:
    return {key for key in store.stored(f"{backup_id}/") if "/_vectorbackup/" in key}


def copied(store: ActingStore, backup_id: str) -> dict[str, bytes]:
    """Return what of a backup is to be copied, if nothing else but our own lies there."""
    contents = store.contents(f"{backup_id}/").items()
    return {key: content for key, content in contents if "/_vectorbackup/" not in key}


def is_chunk(call: Call) -> bool:
    """Whether an object of the backup itself is moved."""
    return call.name == "write" and "/_vectorbackup/" not in call.key


class At:
    """Ends the process at a change of a store: before the ``number``-th, and, unless ``once``, from then on."""

    def __init__(self, number: int, *, once: bool = False) -> None:
        self.number = number
        self.once = once
        self.changes = 0
        self._counting = threading.Lock()

    @property
    def was_reached(self) -> bool:
        return self.changes >= self.number

    def __call__(self, call: Call) -> None:
        if call.changes:
            with self._counting:
                self.changes += 1
                ends = self.changes == self.number if self.once else self.was_reached
            if ends:
                raise Killed


def change_byte(path: Path) -> None:
    """Change a byte in the middle of a file, as no clock tells."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))


def copy_and_hang(folder: str, tree: str, backup_id: str, chunks: str) -> None:
    """Copy until so many chunks were moved, write the journal, and hang: for a process that is to be killed."""
    moving._FIRST_NOTE_SECONDS = moving._LAST_NOTE_SECONDS = 0.0
    copying, begun = Copying(Path(folder), tree), list[Call]()

    def hang(call: Call) -> None:
        if is_chunk(call):
            begun.append(call)
            if len(begun) > int(chunks):
                threading.Event().wait()

    copying.target.before = hang
    copying.copy(backup_id, threads=1)


def journals(copying: Copying, backup_id: str) -> list[str]:
    return list(copying.target.stored(f"{copy_folder(backup_id)}journal-"))


if __name__ == "__main__":
    copy_and_hang(*sys.argv[1:])
