"""Our checksum manifest: what each object of a backup held when this package last moved it.

It lies in the backup's own folder, at ``_vectorbackup/manifest.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_vectorbackup.exceptions import BrokenDescriptor
from airflow_provider_vectorbackup.transfer.digests import joined
from airflow_provider_vectorbackup.weaviate.layout import OWN_FOLDER

_VERSION = 1


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """An object.

    :param parts: SHA-256 of its parts, in hexadecimal and in their order; none where its bytes did not pass through
        this package: it was copied inside the storage, whose own word is ``etag``.
    :param part_bytes: the size of the parts but the last; 0 where there is one.
    :param source_etag: what the storage that it came from called its content then.
    :param etag: what the storage calls it here.
    """

    size_bytes: int
    parts: tuple[str, ...] = ()
    part_bytes: int = 0
    source_etag: str = ""
    etag: str = ""

    @property
    def sha256(self) -> str | None:
        """Of the object, as in ``digests``; None where its bytes did not pass through this package."""
        return joined(self.parts) if self.parts else None

    def is_comparable(self, other: ManifestEntry) -> bool:
        """Whether both have checksums of the same parts."""
        return bool(self.parts and other.parts) and self.part_bytes == other.part_bytes

    def to_json(self) -> dict[str, Any]:
        """Return what is stored."""
        told: dict[str, Any] = {"size": self.size_bytes, "sha256": self.sha256}
        if len(self.parts) > 1:
            told |= {"part_size": self.part_bytes, "parts": self.parts}
        return told | {"source_etag": self.source_etag, "etag": self.etag}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> ManifestEntry:
        """Read what is stored.

        :raises TypeError, KeyError: it is of another shape.
        """
        size, sha256 = value["size"], value.get("sha256")
        parts, part_bytes = value.get("parts") or ([sha256] if sha256 else []), value.get("part_size", 0)
        etags = value.get("source_etag", ""), value.get("etag", "")
        if not isinstance(size, int) or not isinstance(part_bytes, int) or not isinstance(parts, list):
            raise TypeError(value)
        if not all(isinstance(text, str) for text in (*parts, *etags)):
            raise TypeError(value)
        return cls(size, tuple(parts), part_bytes, *etags)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The objects of a backup, by key below its folder.

    :param source: URI of the backup that it was copied from; empty where that is not known.
    :param method: how: ``streamed`` or ``server_side``.
    """

    objects: Mapping[str, ManifestEntry]
    source: str = ""
    method: str = ""

    def to_json(self) -> bytes:
        """Return what is stored."""
        objects = {key: entry.to_json() for key, entry in sorted(self.objects.items())}
        fields = {"version": _VERSION, "source": self.source, "method": self.method, "objects": objects}
        return json.dumps(fields, separators=(",", ":")).encode()


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
        objects = {name: ManifestEntry.of(value) for name, value in fields["objects"].items()}
        return Manifest(objects, str(fields.get("source", "")), str(fields.get("method", "")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BrokenDescriptor(f"The manifest {key} can't be read: {error!r}.") from error
