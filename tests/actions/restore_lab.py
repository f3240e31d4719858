"""A stand-in server, a backup of it, and a storage that keeps ledgers and shows when the last restore began."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_vectorbackup.actions.memory import Memory
from airflow_provider_vectorbackup.actions.own_restore import Own, begin_own_restore, finish_own_restore, roll_back
from airflow_provider_vectorbackup.actions.restore import RestoreOrder
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind
from airflow_provider_vectorbackup.exceptions import VectorBackupError
from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.testing.model import Key, StoredRestore
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.conftest import TaskMemory
from tests.actions.copies import Killed
from tests.transfer.acting_store import ActingStore

ALL = ("Article", "Author", "Product")
RESTORE = "/backups/s3/x1/restore"
LOCATION = Location.parse("s3://aws_default@backups")
ADDRESS = BackupAddress("s3", "x1")
OWNER = "Dag migrate, run 1, restore"


class KilledMemory(TaskMemory):
    """The process is killed as it is about to remember something."""

    def set(self, key: str, value: Any) -> None:
        raise Killed(f"before {key} is {value}")


class _Starts(dict[Key, StoredRestore]):
    """The server's restores; ``began`` counts those that did."""

    began = 0

    def __setitem__(self, key: Key, restore: StoredRestore) -> None:
        super().__setitem__(key, restore)
        self.began += restore.status in ("STARTED", "TRANSFERRING")


class Storage(ActingStore):
    """Holds what is written, and the state of the last restore, as the server would write it."""

    def __init__(self, root: Path, starts: _Starts) -> None:
        super().__init__(root)
        self.starts = starts

    def read(self, key: str) -> bytes | None:
        if key != "x1/restore_config.json":
            return super().read(key)
        if not self.starts:
            return None
        return json.dumps({"status": "SUCCESS", "startedAt": f"t{self.starts.began}"}).encode()


class Lab:
    """What is begun here is of one owner, unless another is named, and remembered, unless a memory is given."""

    def __init__(self, server: WeaviateStandIn, client: WeaviateClient, folder: Path) -> None:
        self.server = server
        self.client = client
        self.memory = TaskMemory()
        server.restores = starts = _Starts()
        self.storage = Storage(folder, starts)
        self.opened: list[Location] = []
        server.add_backup("x1", ALL)
        server.collections.clear()

    def open(self, location: Location) -> Store:
        self.opened.append(location)
        return self.storage

    def own(self, memory: Memory | None = None, owner: str = OWNER) -> Own:
        return Own(memory or self.memory, self.open, owner)

    def begin(
        self, memory: Memory | None = None, owner: str = OWNER, path: str | None = None, **fields: Any
    ) -> Operation:
        order = RestoreOrder(replace(ADDRESS, path=path), **({"location": str(LOCATION)} | fields))
        return begin_own_restore(self.client, order, self.own(memory, owner))

    def finish(
        self, operation: Operation, memory: Memory | None = None, error: VectorBackupError | None = None
    ) -> dict[str, Any]:
        """End the task's try as its wait does: with the end that the server shows, or with an error."""
        seen = None if error else self.client.send(calls.status_of(OperationKind.RESTORE, operation.address))
        return finish_own_restore(self.client, Outcome(operation, seen, error), self.own(memory))

    def restore(self, **fields: Any) -> dict[str, Any]:
        """Restore to the end."""
        operation = self.begin(**fields)
        self.server.finish()
        return self.finish(operation)

    def roll_back(self) -> dict[str, Any]:
        return roll_back(self.client, LOCATION, ADDRESS, self.open)

    @property
    def asked(self) -> list[list[str]]:
        """Return which collections each request for a restore named."""
        return [seen.body["include"] for seen in self.server.sent("POST", RESTORE)]

    @property
    def deleted(self) -> list[str]:
        """Return the paths of what was deleted from the server."""
        return [seen.path for seen in self.server.sent("DELETE", "/(schema|aliases)/.*")]

    @property
    def key(self) -> str:
        """Return where the ledger lies."""
        token = hashlib.sha256(f"http://127.0.0.1:{self.server.port}".encode()).hexdigest()[:16]
        return f"x1/_vectorbackup/restored-{token}.json"

    @property
    def ledger(self) -> dict[str, Any] | None:
        """Return what the ledger says, None where there is none."""
        content = self.storage.contents().get(self.key)
        return None if content is None else dict(json.loads(content))
