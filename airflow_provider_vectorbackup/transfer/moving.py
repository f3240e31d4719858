"""Moves objects from one store to another: side by side, in bounded memory, each byte hashed on its way.

An object goes in one piece where the target takes it so, else in parts that may lie in any order and survive this
process. What fails in passing is tried again, after a pause for all threads: a store that is asked too often says so to
one of them.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.units import in_units
from airflow_provider_vectorbackup.exceptions import InvalidRequest, ObjectNotFound, StorageUnreachable
from airflow_provider_vectorbackup.storage.store import PIECE_BYTES, Part, Store, StoredObject
from airflow_provider_vectorbackup.transfer.journal import Journal, OpenUpload
from airflow_provider_vectorbackup.transfer.manifest import ManifestEntry
from airflow_provider_vectorbackup.transfer.pieces import Flow, Pieces, Stopped
from airflow_provider_vectorbackup.transfer.progress import Progress
from airflow_provider_vectorbackup.transfer.rate import Budget, RateLimit
from airflow_provider_vectorbackup.transfer.reading import read_through
from airflow_provider_vectorbackup.transfer.threads import work_off

Result = TypeVar("Result")

log = logging.getLogger(__name__)

PAUSES_SECONDS = (0.5, 2.0, 8.0, 20.0)
"""Before each new attempt."""

_NEWS_SECONDS = 5.0
_FIRST_NOTE_SECONDS, _LAST_NOTE_SECONDS = 3.0, 30.0
"""Between two files of the journal: what a killed process loses is what it moved in that time."""

_UNBUFFERED_BYTES = 4 * PIECE_BYTES
"""The most that a thread holds of an object that is not buffered whole."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to move.

    :param threads: objects, or parts, at the same time.
    :param buffer_bytes: for what is on its way, over all threads.
    :param bytes_per_second: a bound over all threads; None for none.
    """

    threads: int = 8
    buffer_bytes: int = 128 * 2**20
    bytes_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """What a call of :meth:`Mover.move` did; ``bytes_skipped`` is of parts that an earlier one had moved."""

    objects: int
    bytes_moved: int
    bytes_skipped: int


@dataclass(slots=True)
class _Large:
    """An object that goes in parts.

    :ivar there_bytes: of the parts that it had already.
    :ivar is_lost: somebody, or a rule of the bucket, has aborted it.
    """

    stored: StoredObject
    upload: OpenUpload
    parts: list[Part]
    there_bytes: int = 0
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one thread does at a time: a whole object, a part of one, or (``part`` None) the end of a large one."""

    stored: StoredObject
    large: _Large | None = None
    part: Part | None = None


class Mover:
    """Moves objects to the same keys of another location.

    :param journals: by backup id, which a key begins with.
    :param origin: the source's location, where objects are copied inside the storage; None where they come by here.
    :param scratch_of: where in the target parts may lie, for a key.
    :param watch: called now and then, to raise what ends everything.
    :raises InvalidRequest: an object can't be moved within the buffers.
    """

    def __init__(
        self,
        source: Store,
        target: Store,
        settings: Settings,
        journals: dict[str, Journal],
        *,
        scratch_of: Callable[[str], str],
        origin: Location | None = None,
        watch: Callable[[], object] = lambda: None,
    ) -> None:
        self._source = source
        self._target = target
        self._settings = settings
        self._journals = journals
        self._scratch_of = scratch_of
        self._origin = origin
        self._watch = watch
        self._stop = threading.Event()
        limit = RateLimit(settings.bytes_per_second, self._stop.wait)
        self._flow = Flow(limit, Budget(settings.buffer_bytes), self._stop)
        self._go_on_at = 0.0
        self._lost: list[StoredObject] = []
        self._begun_anew = set[str]()
        self._whole: list[tuple[str, ManifestEntry]] = []
        self._skipped_bytes = 0
        self._counting = threading.Lock()

    def move(self, objects: Sequence[StoredObject]) -> Moved:
        """Move objects, the largest first; what is done is in the journals.

        :raises ObjectNotFound, ObjectChanged: a source object is not the one any more that was listed.
        :raises StorageError: one of the stores refuses something, or several attempts in a row failed.
        """
        self._require_room(objects)
        progress = Progress(len(objects), sum(stored.size_bytes for stored in objects))
        left = sorted(objects, key=lambda stored: (-stored.size_bytes, stored.key))
        notes = _Notes(self._settle, self._journals, progress, self._watch)
        try:
            while left:
                self._lost = []
                work_off(
                    lambda unit: self._do(unit, progress),
                    self._units(left, progress),
                    self._settings.threads,
                    stop=self._stop,
                    meanwhile=notes.tell,
                )
                left = self._lost
        finally:
            notes.write_down()
        return Moved(progress.objects, progress.moved_bytes - self._skipped_bytes, self._skipped_bytes)

    def _require_room(self, objects: Sequence[StoredObject]) -> None:
        """Raise if something needs more memory than there is: it would wait for ever."""
        if self._origin:
            return
        needs = ((self._held_bytes(self._at_once(stored.size_bytes)), stored.size_bytes) for stored in objects)
        needed, size = max(needs, default=(0, 0))
        if needed > self._settings.buffer_bytes:
            raise InvalidRequest(
                f"An object of {in_units(size)} goes in parts of {in_units(needed)}, "
                f"and the buffers have {in_units(self._settings.buffer_bytes)}.",
                hint="Raise buffer_mib.",
            )

    def _at_once(self, size_bytes: int) -> int:
        """Return how much of an object is written at once: all, or a part."""
        limits = self._target.part_limits
        return size_bytes if size_bytes <= limits.whole_bytes else min(size_bytes, limits.part_bytes(size_bytes))

    def _units(self, objects: Sequence[StoredObject], progress: Progress) -> Iterator[_Unit]:
        limits = self._target.part_limits
        for stored in objects:
            if self._origin or stored.size_bytes <= limits.whole_bytes:
                yield _Unit(stored)
                continue
            large = self._opened(stored)
            there = [part for part in large.parts if part.number in large.upload.parts]
            large.there_bytes = sum(part.size_bytes for part in there)
            self._skip(large.there_bytes, progress)
            for part in large.parts:
                if part.number not in large.upload.parts:
                    yield _Unit(stored, large, part)
            if len(there) == len(large.parts):
                yield _Unit(stored, large)

    def _opened(self, stored: StoredObject) -> _Large:
        """Go on with an upload that was begun earlier, or begin one."""
        key, size = stored.key, stored.size_bytes
        part_bytes = self._target.part_limits.part_bytes(size)
        journal = self._journal(key)
        upload = journal.upload_of(key, stored.etag, part_bytes)
        if upload is None:
            upload_id = self._again(lambda: self._target.begin_upload(key, size, self._scratch_of(key)))
            upload = OpenUpload(upload_id, stored.etag, part_bytes)
            journal.begun(key, upload)
        starts = range(0, size, part_bytes)
        parts = [Part(number, start, min(part_bytes, size - start)) for number, start in enumerate(starts, 1)]
        return _Large(stored, upload, parts)

    def _do(self, unit: _Unit, progress: Progress) -> None:
        if unit.large is None:
            entry = self._again(lambda: self._moved_whole(unit.stored))
            self._whole.append((unit.stored.key, entry))
            progress.add(unit.stored.size_bytes, 1)
        elif not unit.large.is_lost:
            self._do_part(unit.large, unit.part, progress)

    def _do_part(self, large: _Large, part: Part | None, progress: Progress) -> None:
        """Move a part; whoever moves the last one ends the upload."""
        try:
            if part is None or self._again(lambda: self._moved_part(large, part)) == len(large.parts):
                self._finish(large)
                progress.add(0, 1)
            progress.add(part.size_bytes if part else 0)
        except _UploadGone as gone:
            self._begin_anew(large, progress, gone)

    def _begin_anew(self, large: _Large, progress: Progress, gone: _UploadGone) -> None:
        """Have an object be moved from its begin, but only once: who aborts uploads may go on to."""
        key = large.stored.key
        with self._counting:
            if large.is_lost:
                return
            large.is_lost = True
            if key in self._begun_anew:
                raise gone.error from gone
            self._begun_anew.add(key)
        log.warning("The upload to %s is gone; it begins anew.", key)
        self._skip(-large.there_bytes, progress)
        self._journal(key).forget(key)
        self._lost.append(large.stored)

    def _skip(self, size_bytes: int, progress: Progress) -> None:
        with self._counting:
            self._skipped_bytes += size_bytes
        progress.add(size_bytes)

    def _moved_whole(self, stored: StoredObject) -> ManifestEntry:
        if self._origin:
            etag = self._target.copy(self._origin, stored.key, stored.key, listed=stored)
            return ManifestEntry(stored.size_bytes, source_etag=stored.etag, etag=etag)
        with self._pieces(stored, 0, stored.size_bytes) as pieces:
            etag = self._target.write(stored.key, pieces, stored.size_bytes)
        return ManifestEntry(stored.size_bytes, (pieces.sha256,), source_etag=stored.etag, etag=etag)

    def _moved_part(self, large: _Large, part: Part) -> int:
        """Move a part; return how many its upload has by now."""
        stored, upload = large.stored, large.upload
        with self._pieces(stored, part.start, part.size_bytes) as pieces:
            try:
                receipt = self._target.put_part(stored.key, upload.upload_id, part, pieces)
            except ObjectNotFound as error:
                if pieces.failed:
                    raise
                raise _UploadGone(error) from error
        return self._journal(stored.key).part_done(stored.key, upload, part.number, pieces.sha256, receipt)

    def _finish(self, large: _Large) -> None:
        stored, upload = large.stored, large.upload
        told = [upload.parts[part.number] for part in large.parts]
        receipts = [receipt for _, receipt in told]
        try:
            etag = self._again(
                lambda: self._target.finish_upload(stored.key, upload.upload_id, stored.size_bytes, receipts)
            )
        except ObjectNotFound as error:
            raise _UploadGone(error) from error
        digests = tuple(sha256 for sha256, _ in told)
        part_bytes = upload.part_bytes if len(digests) > 1 else 0
        entry = ManifestEntry(stored.size_bytes, digests, part_bytes, source_etag=stored.etag, etag=etag)
        self._whole.append((stored.key, entry))

    def _pieces(self, stored: StoredObject, start: int, size_bytes: int) -> Pieces:
        read = read_through(self._source, stored, start, start + size_bytes)
        return Pieces(read, self._flow, self._held_bytes(size_bytes))

    def _held_bytes(self, size_bytes: int) -> int:
        is_buffered = self._target.part_limits.is_buffered
        return size_bytes if is_buffered else min(size_bytes, _UNBUFFERED_BYTES)

    def _settle(self) -> None:
        """Have the journals know of what is whole, once it survives the machine's crash: they themselves may."""
        if whole := self._whole[:]:  # what is whole only later may not be settled
            self._target.settle()
            for key, entry in whole:
                self._journal(key).done(key, entry)
            del self._whole[: len(whole)]

    def _journal(self, key: str) -> Journal:
        return self._journals[key.partition("/")[0]]

    def _again(self, attempt: Callable[[], Result]) -> Result:
        """Return what an attempt returns; what fails in passing is attempted again."""
        for pause in PAUSES_SECONDS:
            self._wait_until_free()
            try:
                return attempt()
            except StorageUnreachable as error:
                seconds = pause * random.uniform(0.8, 1.2)  # noqa: S311 - only to keep threads from acting together
                log.warning("All wait %.1f s, then try again: %s", seconds, error.message)
                self._go_on_at = max(self._go_on_at, time.monotonic() + seconds)
        try:
            return attempt()
        except StorageUnreachable as error:
            told = f"Given up after {len(PAUSES_SECONDS) + 1} attempts. {error.message}"
            raise StorageUnreachable(told, hint=error.hint) from error

    def _wait_until_free(self) -> None:
        while (seconds := self._go_on_at - time.monotonic()) > 0:
            if self._stop.wait(seconds):
                raise Stopped


class _UploadGone(Exception):
    """The store does not know an upload any more; ``error`` is what it said."""

    def __init__(self, error: ObjectNotFound) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True)
class _Notes:
    """Tells the log how far it is, and the journals what is done, each at its time.

    :param settle: called before the journals are written.
    """

    settle: Callable[[], object]
    journals: dict[str, Journal]
    progress: Progress
    watch: Callable[[], object]
    told_at: float = field(default_factory=time.monotonic)
    written_at: float = field(default_factory=time.monotonic)

    def tell(self) -> None:
        self.watch()
        now = time.monotonic()
        if now - self.told_at >= _NEWS_SECONDS:
            self.told_at = now
            log.info("Copied so far: %s", self.progress.in_words())
        if now - self.written_at >= min(_LAST_NOTE_SECONDS, _FIRST_NOTE_SECONDS + self.progress.seconds / 60):
            self.written_at = now
            self.settle()
            try:
                self._write_journals()
            except StorageUnreachable as error:
                log.warning("The journal can't be written just now: %s", error.message)

    def write_down(self) -> None:
        self.settle()
        self._write_journals()

    def _write_journals(self) -> None:
        for journal in self.journals.values():
            journal.write_down()
