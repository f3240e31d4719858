"""Our checksum manifest: what each object of a backup held when this package last moved it.

It lies in the backup's own folder, at ``_vectorbackup/manifest.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_vectorbackup.exceptions import BrokenDescriptor
from airflow_provider_vectorbackup.weaviate.layout import OWN_FOLDER

_VERSION = 1


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """An object.

    :param sha256: of all its bytes, in hexadecimal; None where they did not pass through this package.
    """

    size_bytes: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The objects of a backup, by key below its folder."""

    objects: Mapping[str, ManifestEntry]

    def to_json(self) -> bytes:
        """Return what is stored."""
        objects = {key: {"size": e.size_bytes, "sha256": e.sha256} for key, e in sorted(self.objects.items())}
        return json.dumps({"version": _VERSION, "objects": objects}, indent=1).encode()


def manifest_key(backup_id: str) -> str:
    """Return where a backup's manifest lies."""
    return f"{backup_id}/{OWN_FOLDER}/manifest.json"


def parse_manifest(key: str, content: bytes) -> Manifest:
    """Read a manifest.

    :raises BrokenDescriptor: it is none, or of a later version.
    """
    try:
        fields = json.loads(content)
        if fields["version"] != _VERSION:
            raise BrokenDescriptor(f"The manifest {key} is of version {fields['version']!r}, not {_VERSION}.")
        return Manifest({name: _entry(value) for name, value in fields["objects"].items()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BrokenDescriptor(f"The manifest {key} can't be read: {error!r}.") from error


def _entry(value: Mapping[str, Any]) -> ManifestEntry:
    size, sha256 = value["size"], value.get("sha256")
    if not isinstance(size, int) or not isinstance(sha256, str | None):
        raise TypeError(value)
    return ManifestEntry(size, sha256)
