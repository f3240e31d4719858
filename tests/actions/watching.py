"""A location in a directory whose store tells what is asked of it, and can be forbidden or away."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.storage.store import StoredObject, UnfinishedUpload
from tests.trees import unpack

CHAIN = ("full", "second", "third", "fourth")


class WatchedStore(FilesystemStore):
    """Notes what is read and listed; keys in ``forbidden`` can't be read; ``away`` stands for a storage that is."""

    def __init__(self, root: Path) -> None:
        super().__init__(Location("file", "", str(root)))
        self.reads: list[str] = []
        self.listings: list[str] = []
        self.upload_listings = 0
        self.forbidden: set[str] = set()
        self.away: set[str] = set()

    def list_objects(self, prefix: str = "") -> Generator[StoredObject, None, None]:
        self.listings.append(prefix)
        if prefix in self.away:
            raise StorageUnreachable("No answer.")
        yield from super().list_objects(prefix)

    def read(self, key: str) -> bytes | None:
        self.reads.append(key)
        if key in self.forbidden:
            raise StorageError(f"{key} can't be read: AccessDenied.")
        if key in self.away:
            raise StorageUnreachable("No answer.")
        return super().read(key)

    def list_unfinished_uploads(self, prefix: str = "") -> Generator[UnfinishedUpload, None, None]:
        self.upload_listings += 1
        yield from super().list_unfinished_uploads(prefix)


class Place:
    """A directory that backups lie in; ``store`` is opened for it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = Location.parse(f"file://{root}")
        self.store = WatchedStore(root)

    def write(self, key: str, content: bytes | str = b"") -> Path:
        """Write an object anew."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    @contextmanager
    def edited(self, key: str) -> Iterator[Any]:
        """Let a descriptor be changed, without a change of its time."""
        path = self.root / key
        before, values = path.stat().st_mtime, json.loads(path.read_bytes())
        yield values
        path.write_text(json.dumps(values))
        os.utime(path, (before, before))

    def descriptor(self, backup_id: str, **fields: Any) -> None:
        """Write a coordinator's descriptor of a backup of nothing, with other values in some fields."""
        usual = {"id": backup_id, "status": "SUCCESS", "version": "2.1", "startedAt": "2026-11-22T03:00:00Z"}
        self.write(f"{backup_id}/backup_config.json", json.dumps(usual | {"nodes": {}} | fields))

    def began(self, backup_id: str, time: datetime) -> None:
        """Say that a backup began at some time, and ended two seconds later."""
        with self.edited(f"{backup_id}/backup_config.json") as descriptor:
            descriptor["startedAt"] = time.isoformat()
        self.written_at(backup_id, time + timedelta(seconds=2))

    def written_at(self, backup_id: str, time: datetime) -> None:
        """Date all objects of a backup."""
        for path in (self.root / backup_id).rglob("*"):
            os.utime(path, (time.timestamp(), time.timestamp()))

    def read_of(self) -> list[str]:
        """Return the ids of the backups that were read of, in order."""
        return list(dict.fromkeys(key.partition("/")[0] for key in self.store.reads))

    def files(self, backup_id: str = "") -> dict[str, int]:
        """Return the sizes of what lies there, by key, as Python sees it."""
        found = (path for path in (self.root / backup_id).rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.stat().st_size for path in found}


def chain_that_ended(folder: Path, newest: datetime) -> Place:
    """Return a place with a real chain of four, the last of which began at some time, each an hour after its base."""
    place = Place(unpack("chain-1.39.2", folder))
    for age, backup_id in enumerate(reversed(CHAIN)):
        place.began(backup_id, newest - timedelta(hours=age))
    return place
