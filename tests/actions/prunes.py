"""Prunes of backups in a directory, and what may be seen of them at any moment."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.catalogue import read_catalogue
from airflow_provider_vectorbackup.actions.prune import PruneOrder, plan_prune, prune
from airflow_provider_vectorbackup.actions.verify import verify_backup
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.pruning import PruneReport
from airflow_provider_vectorbackup.backups.retention import Retention, Rules
from airflow_provider_vectorbackup.backups.verification import Level
from airflow_provider_vectorbackup.exceptions import DeletionFailed
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.storage.store import Lock, UnfinishedUpload
from tests.actions.copies import Killed
from tests.actions.watching import Place
from tests.transfer.acting_store import ActingStore, Call
from tests.trees import unpack

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=30)
LAST = Retention((Rules(keep_last=1),))
FILE = "article/s1/b.db"
GONE, KEPT = ("full", "second", "third"), ("root", "newest")
"""Of :func:`small_chains`, the ids of what :data:`LAST` gives up, and of what it keeps; each builds on those before."""


class PrunedStore(ActingStore):
    """Counts deletions by many keys; some keys can't be deleted, some are locked; ``keeps`` is its deletion policy.

    :ivar deletions: the keys of each request.
    :ivar policy: of locks on what is new.
    """

    def __init__(self, root: Path, *, is_settling: bool = True) -> None:
        super().__init__(root)
        self.is_settling = is_settling
        self.deletions: list[list[str]] = []
        self.undeletable: set[str] = set()
        self.locks: list[Lock] = []
        self.policy: str | None = ""
        self.keeps: str | None = ""

    def delete(self, keys: Iterable[str]) -> None:
        wanted = list(keys)
        self.deletions.append(wanted)
        super().delete(key for key in wanted if key not in self.undeletable)
        if refused := self.undeletable.intersection(wanted):
            raise DeletionFailed("Some can't be deleted.", reasons=dict.fromkeys(sorted(refused), "AccessDenied"))

    def settle(self) -> None:
        if self.is_settling:
            super().settle()

    def list_unfinished_uploads(self, prefix: str = "") -> Generator[UnfinishedUpload, None, None]:
        with self._telling("list", prefix):
            found = list(super().list_unfinished_uploads(prefix))
        yield from found

    def list_locks(self, prefix: str = "") -> Iterator[Lock]:
        return iter([lock for lock in self.locks if lock.key.startswith(prefix)])

    def lock_policy(self) -> str | None:  # type: ignore[override]
        return self.policy

    def deletion_policy(self) -> str | None:  # type: ignore[override]
        return self.keeps


class Pruning:
    """A tree, and prunes of it: by its rules only the newest backup is kept, if nothing else is said."""

    def __init__(self, folder: Path, tree: str = "", *, is_settling: bool = False) -> None:
        self.place = Place(unpack(tree, folder) if tree else folder)
        self.root = self.place.root
        self.store = PrunedStore(self.root, is_settling=is_settling)

    def date(self, *backup_ids: str, days: float = 30) -> None:
        """Have these backups have begun so many days ago, each an hour after the one before it."""
        for hour, backup_id in enumerate(backup_ids):
            self.place.began(backup_id, NOW - timedelta(days=days) + timedelta(hours=hour))

    def put(self, key: str, content: bytes | str = b"some bytes", days: float = 30) -> None:
        """Write an object that is so many days old; others see all of it, or nothing."""
        new, path, time = self.root.with_suffix(".new"), self.root / key, NOW.timestamp() - days * 86400
        new.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(new, (time, time))
        path.parent.mkdir(parents=True, exist_ok=True)
        new.replace(path)

    def put_upload(self, key: str, days: float = 30) -> None:
        """Have an upload to a key have begun so many days ago."""
        folder, _, name = key.rpartition("/")
        self.put(f"{folder}/.{name}.0123abcd.partial".removeprefix("/"), days=days)

    def put_backup(self, backup_id: str, bases: Iterable[str] = (), *, days: float = 30, **fields: Any) -> None:
        """Write a backup of one chunk on one node, that takes files from each of these bases, the last its direct one.

        :param fields: of the coordinator's descriptor.
        """
        names = list(bases)
        begun = {"startedAt": (NOW - timedelta(days=days)).isoformat(), "compressionType": "gzip"}
        base = {"baseBackupId": names[-1]} if names else {}
        told = {"id": backup_id, "status": "SUCCESS", "version": "2.1"} | begun | base
        self.put(f"{backup_id}/w1/Article/chunk-1", os.urandom(40), days)
        self.put(f"{backup_id}/w1/backup.json", json.dumps(told | {"classes": [_article(names)]}), days)
        self.put(
            f"{backup_id}/backup_config.json",
            json.dumps(told | {"nodes": {"w1": {"classes": ["Article"]}}} | fields),
            days,
        )

    def put_single(self, backup_id: str) -> None:
        """Write a backup as 1.15 did: one descriptor, and a file."""
        told = {"id": backup_id, "status": "SUCCESS", "version": "1.0", "serverVersion": "1.15.5"}
        begun = {"startedAt": "2022-10-01T10:00:00Z", "classes": [_article([])]}
        self.put(f"{backup_id}/backup.json", json.dumps(told | begun), days=1500)
        self.put(f"{backup_id}/{FILE}", days=1500)

    def put_node(self, backup_id: str, **fields: Any) -> None:
        """Write a node's descriptor, which proves that a folder is a backup's."""
        told = {"id": backup_id, "status": "SUCCESS", "version": "2.1", "classes": []}
        self.put(f"{backup_id}/w1/backup.json", json.dumps(told | fields))

    def put_restore(self, backup_id: str, status: str = "STARTED") -> None:
        """Write the state of a restore."""
        told = {"id": backup_id, "status": status, "version": "2.1", "startedAt": NOW.isoformat(), "nodes": {}}
        self.put(f"{backup_id}/restore_config.json", json.dumps(told), days=0)

    def begin_child(self, base: str, backup_id: str = "child") -> None:
        """Have an incremental backup have just begun."""
        told = {"id": backup_id, "status": "STARTED", "version": "2.1", "baseBackupId": base, "nodes": {}}
        self.put(f"{backup_id}/backup_config.json", json.dumps(told | {"startedAt": NOW.isoformat()}), days=0)

    def order(self, **fields: Any) -> PruneOrder:
        usual: dict[str, Any] = {"retention": LAST, "max_delete_fraction": 1.0, "owner": "Dag nightly"}
        return PruneOrder(self.place.location, **(usual | fields))

    def open(self, _: Location) -> PrunedStore:
        return self.store

    def prune(self, **fields: Any) -> PruneReport:
        return prune(self.order(**fields), self.open)

    def plan(self, **fields: Any) -> PruneReport:
        return plan_prune(self.order(**fields), self.open)

    def prune_undisturbed(self, **fields: Any) -> PruneReport:
        """Prune once more, and nothing happens meanwhile."""
        self.store.before = self.store.after = lambda _: None
        return self.prune(**fields)

    def end_leases(self, *backup_ids: str) -> None:
        """Have the leases on these, or on all, be older than they hold."""
        for path in self.root.glob("*/_vectorbackup/lease-*"):
            if not backup_ids or path.parts[-3] in backup_ids:
                os.utime(path, (NOW.timestamp() - 1000, NOW.timestamp() - 1000))

    def is_visible(self, backup_id: str) -> bool:
        """Whether Weaviate sees a backup."""
        return (self.root / backup_id / "backup_config.json").exists()

    def backups(self) -> set[str]:
        """Return what Weaviate sees."""
        return {entry.backup_id for entry in read_catalogue(FilesystemStore(self.place.location)).entries}

    def keys(self, backup_id: str = "") -> set[str]:
        """Return what lies there."""
        return set(self.place.files(backup_id))

    def has(self, key: str) -> bool:
        """Whether an object lies there."""
        return (self.root / key).is_file()

    def leases(self, backup_id: str = "") -> set[str]:
        """Return where leases lie."""
        return {key for key in self.keys(backup_id) if "/_vectorbackup/lease-" in key}

    def marks(self) -> set[str]:
        """Return where prunes have left their marks."""
        return {key for key in self.keys() if key.endswith("/_vectorbackup/prune.json")}

    def damage(self, *backup_ids: str) -> dict[str, list[str]]:
        """Return what keeps these from being restored."""
        found = {}
        for backup_id in backup_ids:
            report = verify_backup(
                FilesystemStore(self.place.location), self.place.location, backup_id, Level.QUICK, threads=1
            )
            if report.damage:
                found[backup_id] = [str(each) for each in report.damage]
        return found


def small_chains(folder: Path) -> Pruning:
    """Return a place with two chains of small backups: :data:`GONE`, and :data:`KEPT`."""
    pruning = Pruning(folder)
    for age, name in enumerate(GONE):
        pruning.put_backup(name, GONE[:age], days=30 - age)
    pruning.put_backup("root", days=20)
    pruning.put_backup("newest", ["root"], days=3)
    return pruning


def killed_once_hidden(folder: Path, *backup_ids: str) -> Pruning:
    """Return a place where a prune was killed as soon as these were hidden."""
    pruning = small_chains(folder)

    def end(call: Call) -> None:
        if call.name != "read" and not any(pruning.is_visible(name) for name in backup_ids):
            raise Killed

    pruning.store.before = end
    with pytest.raises(Killed):
        pruning.prune()
    pruning.store.before = lambda _: None
    return pruning


class Nth:
    """Has something happen at the ``number``-th call of a store, and, if it ``lasts``, at all that follow."""

    def __init__(self, number: int, act: Callable[[], object], *, lasts: bool = False) -> None:
        self.number = number
        self.calls = 0
        self._act = act
        self._lasts = lasts

    @property
    def was_reached(self) -> bool:
        return self.calls >= self.number

    def __call__(self, _: Call) -> None:
        self.calls += 1
        if self.calls == self.number or (self._lasts and self.was_reached):
            self._act()


class Once:
    """Has something happen at the first call that is meant."""

    def __init__(self, concerns: Callable[[Call], bool], act: Callable[[], object]) -> None:
        self._concerns = concerns
        self._act = act
        self.has_acted = False

    def __call__(self, call: Call) -> None:
        if not self.has_acted and self._concerns(call):
            self.has_acted = True
            self._act()


def raising(error: BaseException) -> Callable[[], None]:
    """Return what raises this."""

    def act() -> None:
        raise error

    return act


def _article(bases: Iterable[str]) -> dict[str, Any]:
    """Return what a node's descriptor says of a collection with one shard in one chunk."""
    taken = {base: [{"file": "article/s1/a.db", "chunkKeys": ["Article/chunk-1"]}] for base in bases}
    shard = {"name": "s1", "node": "w1", "files": [FILE], "incrementalBackupInfo": {"filesPerBackup": taken}}
    encoded = {name: base64.b64encode(text).decode() for name, text in (("schema", b'{"class": "Article"}'),)}
    sharding = base64.b64encode(b'{"physical": {"s1": {"belongsToNodes": ["w1"]}}}').decode()
    return {"name": "Article", "shards": [shard], "chunks": {"1": ["s1"]}, "shardingState": sharding} | encoded
