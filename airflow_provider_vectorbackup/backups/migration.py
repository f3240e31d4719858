"""What a migration is going to do, found out before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_vectorbackup.backups.selection import names_shown

_SHOWN = 50
"""Collections in the plan's text; the result has all."""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """A cluster that takes part.

    :param url: of its REST API.
    :param location: where its backups lie, as a worker reaches them.
    """

    url: str
    version: str
    nodes: tuple[str, ...]
    backend: str
    location: str

    def in_words(self) -> str:
        """Return it for a table."""
        nodes = f"{len(self.nodes)} node{'s' if len(self.nodes) != 1 else ''}"
        return f"Weaviate {self.version}, {nodes} ({names_shown(self.nodes)}), {self.location}"


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """What a migration is going to do.

    :param collections: to be migrated.
    :param aliases: of these: alias -> collection.
    :param node_mapping: nodes of the source whose names the target lacks -> nodes of the target.
    :param is_copied: whether the two clusters use different places, so that the backup has to be copied.
    :param bucket: which the target is told to restore from, where it is not its own; as ``path``.
    :param base: the backup that the new one builds on, as it was asked for.
    :param access: what is restored of users and roles, in words; empty for nothing.
    :param warnings: what keeps nothing from being done, and is to be known.
    """

    source: ClusterFacts
    target: ClusterFacts
    collections: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    node_mapping: Mapping[str, str] = field(default_factory=dict)
    is_copied: bool = True
    bucket: str | None = None
    path: str | None = None
    base: str | None = None
    access: str = ""
    warnings: tuple[str, ...] = ()

    def in_markdown(self) -> str:
        """Return it for whoever has to approve it."""
        rows = {
            "From": f"`{self.source.url}`: {self.source.in_words()}",
            "To": f"`{self.target.url}`: {self.target.in_words()}",
            "Collections": f"{len(self.collections)}: {names_of(self.collections)}",
            "Aliases": names_shown(f"{alias} of {name}" for alias, name in self.aliases.items()),
            "Backup": f"incremental, on {self.base}" if self.base else "full",
            "Copied": "to the target's location" if self.is_copied else "no, both clusters use one place",
            "Nodes": names_shown(f"{old} to {new}" for old, new in self.node_mapping.items())
            if self.node_mapping
            else "as they are called",
            "Users and roles": self.access or "not restored",
        }
        table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
        notes = "".join(f"\n- {warning}" for warning in self.warnings)
        return f"| | |\n|---|---|\n{table}\n" + (f"\nTo be known:\n{notes}\n" if notes else "")

    def summary(self) -> dict[str, Any]:
        """Return the task's result.

        Keys: ``source_url target_url source_version target_version source_location target_location collections aliases
        node_mapping is_copied bucket path base warnings markdown``.
        """
        return {
            "source_url": self.source.url,
            "target_url": self.target.url,
            "source_version": self.source.version,
            "target_version": self.target.version,
            "source_location": self.source.location,
            "target_location": self.target.location,
            "collections": list(self.collections),
            "aliases": dict(self.aliases),
            "node_mapping": dict(self.node_mapping),
            "is_copied": self.is_copied,
            "bucket": self.bucket,
            "path": self.path,
            "base": self.base,
            "warnings": list(self.warnings),
            "markdown": self.in_markdown(),
        }


def names_of(collections: tuple[str, ...]) -> str:
    """Return names for the plan's text: in the order that they have, as many as one can read."""
    more = f" and {len(collections) - _SHOWN} more" if len(collections) > _SHOWN else ""
    return ", ".join(collections[:_SHOWN]) + more
