"""Backups that real servers wrote, as tests of checks in storage use them, and change them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_provider_vectorbackup.weaviate.descriptors import GLOBAL_NAME, NODE_NAME
from tests import trees
from tests.actions.stores import StoreOf


class TreeStore(StoreOf):
    """One of `tests.trees`; `reads` are the keys that were read."""

    def __init__(self, name: str, folder: Path) -> None:
        self.root = trees.unpack(name, folder)
        super().__init__(self.root, {})
        self.reads: list[str] = []

    def read(self, key: str) -> bytes | None:
        self.reads.append(key)
        return super().read(key)

    def change(self, key: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change a descriptor in place."""
        path = self.root / key
        content = json.loads(path.read_bytes())
        change(content)
        path.write_text(json.dumps(content))

    def tell(self, backup_id: str, **fields: Any) -> None:
        """Give the coordinator's descriptor of a backup other fields."""
        self.change(f"{backup_id}/{GLOBAL_NAME}", lambda descriptor: descriptor.update(fields))

    def give_schema(self, backup_id: str, node: str, collection: str, **fields: Any) -> None:
        """Give a collection's schema in a node's descriptor other fields."""

        def change(descriptor: dict[str, Any]) -> None:
            (entry,) = (entry for entry in descriptor["classes"] if entry["name"] == collection)
            schema = json.loads(base64.b64decode(entry["schema"])) | fields
            entry["schema"] = base64.b64encode(json.dumps(schema).encode()).decode()

        self.change(f"{backup_id}/{node}/{NODE_NAME}", change)

    def delete_descriptor(self, backup_id: str) -> None:
        """Delete the coordinator's descriptor, as a prune does first."""
        (self.root / backup_id / GLOBAL_NAME).unlink()
