"""A source and a target of moves, and what a move of all that lies in the source comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import StorageUnreachable
from airflow_provider_vectorbackup.storage.store import PartLimits
from airflow_provider_vectorbackup.transfer.digests import PartedDigest
from airflow_provider_vectorbackup.transfer.journal import Journal, copy_folder
from airflow_provider_vectorbackup.transfer.manifest import ManifestEntry
from airflow_provider_vectorbackup.transfer.moving import Moved, Mover, Settings
from tests.transfer.acting_store import ActingStore, Call


class Moving:
    """Moves of backup ``x1``, of which the last one's mover is ``mover``."""

    def __init__(self, folder: Path, objects: Mapping[str, bytes], limits: PartLimits | None = None) -> None:
        self.source = ActingStore(folder / "source")
        self.target = ActingStore(folder / "target", limits)
        for key, content in objects.items():
            self.source.put(f"x1/{key}", content)
        self.listed = list(self.source.stored().values())

    def journal(self) -> Journal:
        journal = Journal(self.target, "x1")
        journal.load(self.target.stored())
        return journal

    def make(
        self,
        *,
        threads: int = 3,
        buffer_bytes: int = 2**20,
        bytes_per_second: float | None = None,
        origin: Location | None = None,
        watch: Callable[[], object] = lambda: None,
    ) -> Mover:
        """Return a mover that knows the journal; it is ``mover`` from now on."""
        self.known = self.journal()
        self.mover = Mover(
            self.source,
            self.target,
            Settings(threads, buffer_bytes, bytes_per_second),
            {"x1": self.known},
            scratch_of=lambda _: f"{copy_folder('x1')}parts-",
            origin=origin,
            watch=watch,
        )
        return self.mover

    def move(self, **options: Any) -> Moved:
        """Move what the journal does not tell of; options are those of :meth:`make`."""
        mover = self.make(**options)
        return mover.move([stored for stored in self.listed if stored.key not in self.known.objects])

    def require_moved(self) -> dict[str, ManifestEntry]:
        """Check that all is there and nothing else; return the journal's entries."""
        there = {key: content for key, content in self.target.contents().items() if "/_vectorbackup/" not in key}
        assert there == self.source.contents()
        assert list(self.target.list_unfinished_uploads()) == []
        entries = self.journal().objects
        assert entries.keys() == there.keys()
        for stored in self.listed:
            entry, content = entries[stored.key], there[stored.key]
            digest = PartedDigest(entry.part_bytes)
            digest.update(content)
            assert (entry.size_bytes, entry.parts) == (len(content), digest.parts())
            assert (entry.source_etag, entry.etag) == (stored.etag, self.target.stored(stored.key)[stored.key].etag)
        return entries


def away() -> StorageUnreachable:
    return StorageUnreachable("No answer.", hint="Look at the network.")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def is_of_journal(call: Call) -> bool:
    return "/_vectorbackup/" in call.key
