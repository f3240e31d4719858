"""The journal of a copy: which objects, and which parts of larger ones, are in the target already.

It lies beside the copy, in ``_vectorbackup/copy/``, since the next try may run on another machine. Object stores can't
append, so it is a row of small files: each writer adds its own, and never touches another's.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_vectorbackup.storage.store import Store, UnfinishedUpload
from airflow_provider_vectorbackup.transfer.manifest import ManifestEntry
from airflow_provider_vectorbackup.transfer.threads import in_threads
from airflow_provider_vectorbackup.weaviate.layout import OWN_FOLDER

log = logging.getLogger(__name__)

_READERS = 8


@dataclass(slots=True)
class OpenUpload:
    """An upload that was begun, and the parts that it has.

    :param source_etag: of the content that the parts are of.
    :param parts: SHA-256 and the store's receipt, by number.
    """

    upload_id: str
    source_etag: str
    part_bytes: int
    parts: dict[int, tuple[str, str]] = field(default_factory=dict)

    def to_json(self, numbers: Mapping[int, Any]) -> dict[str, Any]:
        """Return what is stored of these parts."""
        parts = {str(number): self.parts[number] for number in numbers}
        return {"id": self.upload_id, "source_etag": self.source_etag, "part_size": self.part_bytes, "parts": parts}


def copy_folder(backup_id: str) -> str:
    """Return where a copy that has not ended keeps its plan, its journal and, where need be, parts; a slash ends it."""
    return f"{backup_id}/{OWN_FOLDER}/copy/"


def plan_key(backup_id: str) -> str:
    """Return where a copy that has not ended says what it is a copy of."""
    return f"{copy_folder(backup_id)}plan.json"


class Journal:
    """What is known of one backup's copy. Several threads may add to it; one at a time writes it down.

    :ivar objects: those that are whole in the target, by key in the location.
    :ivar uploads: those that are not, by key.
    """

    def __init__(self, store: Store, backup_id: str) -> None:
        self.objects: dict[str, ManifestEntry] = {}
        self.uploads: dict[str, OpenUpload] = {}
        self._store = store
        self._prefix = f"{copy_folder(backup_id)}journal-"
        self._generation = 0
        self._token = secrets.token_hex(6)
        self._files = 0
        self._lock = threading.Lock()
        self._new_objects: dict[str, None] = {}
        self._new_parts: dict[str, dict[int, None]] = {}
        self._begun: dict[tuple[str, str], None] = {}

    def load(self, listed: Iterable[str]) -> None:
        """Read what others wrote down, earlier tries included: of two that tell of one object, the later counts.

        :param listed: what lies in the backup's folder, in the order of their keys.
        :raises StorageError: it can't be read.
        """
        keys = [key for key in listed if key.startswith(self._prefix)]
        self._generation = 1 + max(map(self._generation_of, keys), default=-1)
        for key, content in zip(keys, in_threads(self._store.read, keys, _READERS), strict=True):
            try:
                self._take(json.loads(content or b"{}"))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                log.warning("The journal %s can't be read; what only it tells is moved again.", key)

    def upload_of(self, key: str, source_etag: str, part_bytes: int) -> OpenUpload | None:
        """Return the upload that can be gone on with; one of other content, or of other parts, can't."""
        found = self.uploads.get(key)
        fits = found and found.source_etag == source_etag and found.part_bytes == part_bytes
        return found if fits else None

    def begun(self, key: str, upload: OpenUpload) -> None:
        """Put down a new upload, in place of another."""
        with self._lock:
            self.uploads[key] = upload
            self._new_parts[key] = {}
            self._begun[key, upload.upload_id] = None

    def forget(self, key: str) -> None:
        """Put down that an upload is gone."""
        with self._lock:
            self.uploads.pop(key, None)
            self._new_parts.pop(key, None)

    def part_done(self, key: str, upload: OpenUpload, number: int, sha256: str, receipt: str) -> int:
        """Put down a part, and return how many the upload has."""
        with self._lock:
            upload.parts[number] = sha256, receipt
            if self.uploads.get(key) is upload:  # else it was found to be gone meanwhile
                self._new_parts.setdefault(key, {})[number] = None
            return len(upload.parts)

    def done(self, key: str, entry: ManifestEntry) -> None:
        """Put down an object that is whole."""
        with self._lock:
            self._end(key, entry)
            self._new_objects[key] = None
            self._new_parts.pop(key, None)

    def write_down(self) -> None:
        """Store what is new; nothing if nothing is.

        :raises StorageError: it can't be stored.
        """
        with self._lock:
            objects = {key: self.objects[key].to_json() for key in self._new_objects}
            uploads = {key: self.uploads[key].to_json(numbers) for key, numbers in self._new_parts.items()}
            told, self._new_objects, self._new_parts = self._new_parts, {}, {}
        if not objects and not uploads:
            return
        content = json.dumps({"objects": objects, "uploads": uploads}, separators=(",", ":")).encode()
        try:
            self._store.write(self._next_key(), [content], len(content))
        except BaseException:
            self._put_back(objects, told)
            raise
        self._files += 1

    def _put_back(self, objects: Iterable[str], parts: Mapping[str, Iterable[int]]) -> None:
        """Have the next file tell what this one could not."""
        with self._lock:
            self._new_objects |= dict.fromkeys(objects)
            for key in parts.keys() & self.uploads.keys():
                self._new_parts[key] = dict.fromkeys((*parts[key], *self._new_parts.get(key, ())))

    def left_uploads(self) -> list[UnfinishedUpload]:
        """Return the uploads that were begun and became no object, as far as they are known; some may be gone."""
        return [UnfinishedUpload(key, upload_id) for key, upload_id in self._begun]

    def _next_key(self) -> str:
        """Return where the next file lies: behind all that were there when this journal was loaded."""
        return f"{self._prefix}{self._generation:06}-{self._token}-{self._files:06}.json"

    def _generation_of(self, key: str) -> int:
        number, _, _ = key.removeprefix(self._prefix).partition("-")
        return int(number) if number.isdecimal() else 0

    def _take(self, told: Mapping[str, Any]) -> None:
        for key, value in told.get("uploads", {}).items():
            upload = self.uploads.get(key)
            if upload is None or upload.upload_id != value["id"]:
                upload = self.uploads[key] = OpenUpload(value["id"], value["source_etag"], value["part_size"])
            self._begun[key, upload.upload_id] = None
            upload.parts |= {int(number): (sha256, receipt) for number, (sha256, receipt) in value["parts"].items()}
            self.objects.pop(key, None)  # it was begun anew after it had been whole
        for key, value in told.get("objects", {}).items():
            self._end(key, ManifestEntry.of(value))

    def _end(self, key: str, entry: ManifestEntry) -> None:
        self.objects[key] = entry
        if upload := self.uploads.pop(key, None):
            self._begun.pop((key, upload.upload_id), None)
