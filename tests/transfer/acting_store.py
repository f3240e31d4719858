"""A directory as a store that tells what is done to it, and does not always do it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.storage.store import Part, PartLimits, StoredObject, UnfinishedUpload


@dataclass(frozen=True)
class Call:
    """An operation on an object."""

    name: str
    key: str

    @property
    def changes(self) -> bool:
        return self.name not in ("list", "read", "stream", "settle")


@dataclass(frozen=True, slots=True)
class SmallLimits(PartLimits):
    """Like those of a real store, but for parts of a few bytes."""

    def part_bytes(self, size_bytes: int) -> int:
        return max(self.least_bytes, -(-size_bytes // self.most_parts))


def small(whole_bytes: int, least_bytes: int, *, most_parts: int = 1000, is_buffered: bool = True) -> SmallLimits:
    return SmallLimits(whole_bytes, least_bytes, most_parts, is_buffered)


class ActingStore(FilesystemStore):
    """``before`` and ``after`` each call, something can happen; several objects to delete are as many calls.

    ``calls`` are those that have begun.
    """

    def __init__(self, root: Path, limits: PartLimits | None = None) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        super().__init__(Location("file", "", str(root)))
        self.part_limits = limits or FilesystemStore.part_limits
        self.calls: list[Call] = []
        self.before: Callable[[Call], object] = lambda _: None
        self.after: Callable[[Call], object] = lambda _: None
        self.while_written: Callable[[Call, bytes], object] = lambda _, __: None

    def stored(self, prefix: str = "") -> dict[str, StoredObject]:
        """Return what lies there, without a call."""
        return {stored.key: stored for stored in FilesystemStore(self._location).list_objects(prefix)}

    def contents(self, prefix: str = "") -> dict[str, bytes]:
        return {key: (self.root / key).read_bytes() for key in self.stored(prefix)}

    def put(self, key: str, content: bytes) -> StoredObject:
        """Store an object without a call."""
        FilesystemStore(self._location).write(key, [content], len(content))
        return self.stored(key)[key]

    def called(self, *names: str) -> list[str]:
        """Return the keys of these calls."""
        return [call.key for call in self.calls if call.name in names]

    def list_objects(self, prefix: str = "") -> Generator[StoredObject, None, None]:
        with self._telling("list", prefix):
            found = list(super().list_objects(prefix))
        yield from found

    def read(self, key: str) -> bytes | None:
        with self._telling("read", key):
            return FilesystemStore(self._location).read(key)

    def stream(
        self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None
    ) -> Generator[bytes, None, None]:
        with self._telling("stream", key):
            yield from super().stream(key, start=start, end=end, etag=etag)

    def write(self, key: str, pieces: Iterable[bytes], size_bytes: int) -> str:
        with self._telling("write", key) as call:
            return super().write(key, self._passing(call, pieces), size_bytes)

    def create(self, key: str, content: bytes) -> bool:
        with self._telling("create", key):
            return super().create(key, content)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._telling("delete", key):
                super().delete([key])

    def begin_upload(self, key: str, size_bytes: int, scratch: str) -> str:
        with self._telling("begin_upload", key):
            return super().begin_upload(key, size_bytes, scratch)

    def put_part(self, key: str, upload_id: str, part: Part, pieces: Iterable[bytes]) -> str:
        with self._telling("put_part", f"{key}#{part.number}") as call:
            return super().put_part(key, upload_id, part, self._passing(call, pieces))

    def finish_upload(self, key: str, upload_id: str, size_bytes: int, receipts: Sequence[str]) -> str:
        with self._telling("finish_upload", key):
            return super().finish_upload(key, upload_id, size_bytes, receipts)

    def copy(self, source: Location, key: str, target_key: str, *, listed: StoredObject | None = None) -> str:
        """Copy without passing bytes through :meth:`write`."""
        with self._telling("copy", key):
            other, mine = FilesystemStore(source), FilesystemStore(self._location)
            content = b"".join(other.stream(key, etag=listed.etag if listed else None))
            return mine.write(target_key, [content], len(content))

    def settle(self) -> None:
        with self._telling("settle", ""):
            super().settle()

    def abort(self, upload: UnfinishedUpload) -> None:
        with self._telling("abort", upload.key):
            super().abort(upload)

    def _passing(self, call: Call, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.while_written(call, piece)
            yield piece

    @contextmanager
    def _telling(self, name: str, key: str) -> Iterator[Call]:
        call = Call(name, key)
        self.calls.append(call)
        self.before(call)
        yield call
        self.after(call)


class Faults:
    """Raises ``error()`` for the calls that ``concerns`` says, so many ``times``; ``seen`` is how often it did."""

    def __init__(
        self, error: Callable[[], BaseException], concerns: Callable[[Call], bool], times: int | None = None
    ) -> None:
        self._error = error
        self._concerns = concerns
        self._left = times
        self._lock = threading.Lock()
        self.seen = 0

    def __call__(self, call: Call) -> None:
        with self._lock:
            if not self._concerns(call) or self._left == 0:
                return
            self._left = None if self._left is None else self._left - 1
            self.seen += 1
        raise self._error()
