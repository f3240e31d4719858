"""The descriptors in the trees, read without unpacking anything."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from functools import cache

from airflow_provider_vectorbackup.weaviate.descriptors import GlobalDescriptor, node_key, parse_global
from airflow_provider_vectorbackup.weaviate.node_descriptors import NodeDescriptor, parse_node
from tests.trees import NAMES, archive


@dataclass(frozen=True)
class Listed:
    """A tree: its objects' sizes by key, and the contents of the descriptors among them."""

    sizes: dict[str, int]
    contents: dict[str, bytes]

    @property
    def backup_ids(self) -> list[str]:
        return sorted({key.partition("/")[0] for key in self.sizes})

    def told(self, backup_id: str) -> GlobalDescriptor:
        """Return the coordinator's descriptor."""
        key = f"{backup_id}/backup_config.json"
        return parse_global(key, self.contents[key])

    def node(self, backup_id: str, node: str = "w1") -> NodeDescriptor:
        key = node_key(backup_id, node)
        return parse_node(key, self.contents[key])


@cache
def tree(name: str) -> Listed:
    """Return a tree; nobody may change it."""
    with tarfile.open(archive(name)) as packed:
        files = {member.name.removeprefix("./"): member for member in packed if member.isfile()}
        opened = {key: packed.extractfile(member) for key, member in files.items() if key.endswith(".json")}
        contents = {key: file.read() for key, file in opened.items() if file}
    return Listed({key: member.size for key, member in files.items()}, contents)


@cache
def node_descriptors() -> dict[str, bytes]:
    """Return those of all trees, by the tree's name and the key."""
    return _of_all("/backup.json")


@cache
def global_descriptors() -> dict[str, bytes]:
    """Return those of all trees, by the tree's name and the key."""
    return _of_all("/backup_config.json")


def _of_all(ending: str) -> dict[str, bytes]:
    found = {f"{name}/{key}": content for name in NAMES for key, content in tree(name).contents.items()}
    return {place: content for place, content in found.items() if place.endswith(ending)}
