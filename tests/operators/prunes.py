"""A location to prune, and the operators that do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions import prune_work
from airflow_provider_vectorbackup.hooks import storage
from airflow_provider_vectorbackup.operators import WeaviatePruneBackupsOperator
from airflow_provider_vectorbackup.operators.prune import PlanPruneOperator
from tests.actions.prunes import Pruning
from tests.actions.watching import CHAIN
from tests.transfer.acting_store import Call
from tests.trees import unpack

KEYS = {
    *("location", "dry_run", "deleted", "deleted_backups", "deleted_leftovers", "kept", "objects", "deleted_bytes"),
    *("freed_bytes", "storage_keeps", "reasons", "spared", "locked", "failed", "foreign", "refused", "seconds"),
}
TORN = "chosen/"
GONE = [*reversed(CHAIN), TORN]
"""What the rules give up, in the order in which it goes."""


@pytest.fixture
def pruning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pruning:
    """A chain of four, a newer backup, one without its descriptor, and a file of somebody."""
    found = Pruning(tmp_path, "chain-1.39.2")
    others = unpack("users-roles-1.39.2", tmp_path)
    for name in ("whole", "chosen"):
        shutil.move(others / name, found.root / name)
    found.date(*CHAIN)
    found.date("chosen", "whole", days=20)
    (found.root / "chosen/backup_config.json").unlink()
    found.place.write("readme.md", "hello")
    monkeypatch.setattr(storage, "open_store", found.open)
    monkeypatch.setattr(prune_work, "SETTLE_SECONDS", 0.0)
    return found


def prune(pruning: Pruning, **fields: Any) -> WeaviatePruneBackupsOperator:
    return WeaviatePruneBackupsOperator(task_id="prune", **told(pruning, **fields))


def plan(pruning: Pruning, **fields: Any) -> PlanPruneOperator:
    return PlanPruneOperator(task_id="plan", **told(pruning, **fields))


def told(pruning: Pruning, **fields: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"location": str(pruning.place.location), "keep_last": 1, "max_delete_fraction": 1}
    return usual | fields


def changes(pruning: Pruning) -> list[Call]:
    return [call for call in pruning.store.calls if call.changes]
