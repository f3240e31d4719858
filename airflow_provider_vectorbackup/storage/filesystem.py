"""A directory, mounted on the worker."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import (
    InvalidRequest,
    ObjectChanged,
    ObjectNotFound,
    StorageError,
    StorageUnreachable,
)
from airflow_provider_vectorbackup.storage.folders import (
    PARTIAL,
    NewFile,
    NoSuchFolder,
    begin_file,
    begun_file,
    new_file,
    opened_file,
    opened_folder,
    remove_file,
    settle,
)
from airflow_provider_vectorbackup.storage.pieces import collected, exactly
from airflow_provider_vectorbackup.storage.store import (
    PIECE_BYTES,
    Lock,
    Part,
    PartLimits,
    StoredObject,
    UnfinishedUpload,
    require_key,
    undeletable,
    undeleted,
    unlistable,
    unreadable,
    unwritable,
)

_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH})
"""What a network file system says while its server is away."""

_FULL = "Make room there, or use another location."
_PERMISSION = "The worker's user lacks a permission: look at the owner and the mode of the directory and what is in it."
_NEIGHBOURS = "A file system can't hold an object together with others below its name."
_HARD_LINKS = "The file system must be able to make hard links."
_HINTS = {
    errno.ENOENT: "The directory must be there and mounted on the worker.",
    errno.EACCES: _PERMISSION,
    errno.EPERM: f"{_PERMISSION} {_HARD_LINKS}",
    errno.EOPNOTSUPP: _HARD_LINKS,
    errno.ELOOP: "A symbolic link below the location's directory is not followed: it could lead outside.",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "It is mounted read-only on the worker.",
    errno.ENOTDIR: _NEIGHBOURS,
    errno.EISDIR: _NEIGHBOURS,
}

_MADE_WITH_THE_DISK = "lost+found/"
"""Nobody but root may look into it."""

_Failure = Callable[..., StorageError]
"""One of ``unreadable`` and its like."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What a folder holds.

    :param key: for a folder, with a slash behind it; for a partial file, of the object that it was to become.
    :param state: None for a folder.
    :param partial: the file's own name, if it is a partial one.
    """

    key: str
    state: os.stat_result | None = None
    partial: str = ""


class FilesystemStore:
    """The regular files below a directory. Symbolic links below it are refused: they could lead outside.

    An object is written to a partial file beside it first, ``.<name>.<random>.partial``, which no listing shows.
    """

    part_limits = PartLimits(whole_bytes=128 * 2**20, least_bytes=64 * 2**20, most_parts=10_000, is_buffered=False)

    def __init__(self, location: Location) -> None:
        self._location = location
        self._root = location.prefix
        self._lost: OSError | None = None

    def list_objects(self, prefix: str = "") -> Generator[StoredObject, None, None]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        for key, partial, state in self._walk(prefix):
            if not partial:
                yield StoredObject(key, state.st_size, _etag(state), _modified_at(state))

    def read(self, key: str) -> bytes | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        return collected(self._location, key, self.stream(key))

    def stream(
        self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None
    ) -> Generator[bytes, None, None]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        with self._reading(key) as file:
            state = os.fstat(file.fileno())
            yield from self._pieces(
                key, file, range(start, state.st_size if end is None else end), etag or _etag(state)
            )

    def write(self, key: str, pieces: Iterable[bytes], size_bytes: int) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        path = _path(key)
        with ExitStack() as opened:
            with self._translating(unwritable, key):
                new = opened.enter_context(new_file(self._root, path))
            self._put(new, key, exactly(self._location, key, pieces, size_bytes), 0)
            with self._translating(unwritable, key):
                if size_bytes > PIECE_BYTES:  # else the disk would idle until all is settled
                    new.keep()
                return _etag(new.replace())

    def create(self, key: str, content: bytes) -> bool:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        path = _path(key)
        with self._translating(unwritable, key):
            with new_file(self._root, path) as new:
                new.put(content, 0)
                if new.link():
                    return True
            with opened_file(self._root, path) as file:
                return file is not None and file.read(len(content) + 1) == content

    def delete(self, keys: Iterable[str]) -> None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        failures: dict[str, OSError] = {}
        for key in keys:
            try:
                remove_file(self._root, _path(key))
            except OSError as error:
                if error.errno in _PASSING:
                    raise self._translated(undeletable, key, error) from error
                failures[key] = error
        if failures:
            reasons = {key: error.strerror or str(error) for key, error in failures.items()}
            raise undeleted(self._location, reasons, _hint(next(iter(failures.values()))))

    def begin_upload(self, key: str, size_bytes: int, scratch: str) -> str:  # noqa: ARG002 - the protocol's
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`: a partial file, the id its name."""
        path = _path(key)
        with self._translating(unwritable, key):
            return begin_file(self._root, path)

    def put_part(self, key: str, upload_id: str, part: Part, pieces: Iterable[bytes]) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        with self._begun(key, upload_id) as new:
            end = self._put(new, key, exactly(self._location, key, pieces, part.size_bytes), part.start)
            with self._translating(unwritable, key):
                new.keep()
        return f"{part.start}-{end}"

    def finish_upload(self, key: str, upload_id: str, size_bytes: int, receipts: Sequence[str]) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        with self._begun(key, upload_id) as new, self._translating(unwritable, key):
            if os.fstat(new.descriptor).st_size != size_bytes or not _covers(receipts, size_bytes):
                raise unwritable(self._location, key, "a part of it is missing", kind=ObjectNotFound)
            return _etag(new.replace())

    def copy(self, source: Location, key: str, target_key: str, *, listed: StoredObject | None = None) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        other = FilesystemStore(source)
        with other._reading(key) as file:
            state = os.fstat(file.fileno())
            pieces = other._pieces(key, file, range(state.st_size), listed.etag if listed else _etag(state))
            return self.write(target_key, pieces, state.st_size)

    def settle(self) -> None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        with self._translating(unwritable, ""):
            if self._lost:  # which the operating system tells once
                raise self._lost
            try:
                settle(self._root)
            except OSError as error:
                self._lost = error
                raise

    def lock_policy(self) -> str:
        """Return nothing: a directory has none."""
        return ""

    def list_locks(self, prefix: str = "") -> Iterator[Lock]:  # noqa: ARG002 - the protocol's
        """Yield nothing: what may not be deleted shows when it is."""
        yield from ()

    def deletion_policy(self) -> str:
        """Return nothing: the file system's own snapshots, say, can't be told."""
        return ""

    def list_unfinished_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        for key, partial, state in self._walk(prefix):
            if partial:
                yield UnfinishedUpload(key, partial, _modified_at(state))

    def abort(self, upload: UnfinishedUpload) -> None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        *folders, name = _path(upload.key)
        partial = _require_partial(upload.upload_id, name)
        with self._translating(undeletable, upload.key):
            remove_file(self._root, [*folders, partial])

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _walk(self, prefix: str) -> Iterator[tuple[str, str, os.stat_result]]:
        """Yield key, partial and state of the files whose keys begin with ``prefix``, in the order of object stores."""
        pending = [_Found("")]
        while pending:
            found = pending.pop()
            if found.state:
                yield found.key, found.partial, found.state
            else:
                pending += self._found_in(found.key, prefix)

    def _found_in(self, folder: str, prefix: str) -> list[_Found]:
        """Return what is in a folder and of interest, the last first; nothing if it is gone by now."""
        with (
            self._translating(unlistable, prefix),
            suppress(NoSuchFolder),
            opened_folder(self._root, folder.split("/")[:-1]) as opened,
            os.scandir(opened) as entries,
        ):
            found = [one for entry in entries if (one := _found(entry, folder, prefix))]
            return sorted(found, key=lambda one: os.fsencode(one.key), reverse=True)
        return []

    @contextmanager
    def _reading(self, key: str) -> Iterator[BinaryIO]:
        path = _path(key)
        with self._translating(unreadable, key), opened_file(self._root, path) as file:
            if file is None:
                raise unreadable(self._location, key, "there is no such object", kind=ObjectNotFound)
            yield file

    @contextmanager
    def _begun(self, key: str, upload_id: str) -> Iterator[NewFile]:
        """Open an upload's file.

        :raises ObjectNotFound: there is none.
        """
        path = _path(key)
        partial = _require_partial(upload_id, path[-1])
        with ExitStack() as opened:
            with self._translating(unwritable, key):
                new = opened.enter_context(begun_file(self._root, path, partial))
            if new is None:
                raise unwritable(self._location, key, "there is no such upload", kind=ObjectNotFound)
            yield new

    def _put(self, new: NewFile, key: str, pieces: Iterable[bytes], start: int) -> int:
        """Write pieces from ``start`` on; return where they end."""
        for piece in pieces:
            with self._translating(unwritable, key):
                new.put(piece, start)
            start += len(piece)
        return start

    def _pieces(self, key: str, file: BinaryIO, wanted: range, etag: str) -> Iterator[bytes]:
        """Yield bytes of a file that must have this etag, before and after."""
        self._require_unchanged(key, file, etag)
        size_bytes = os.fstat(file.fileno()).st_size
        if max(wanted.start, wanted.stop) > size_bytes:
            raise unreadable(self._location, key, f"it has {size_bytes} bytes, and more were asked for")
        file.seek(wanted.start)
        left = len(wanted)
        while left:
            piece = file.read(min(left, PIECE_BYTES))
            left -= len(piece)
            if not piece or not left:
                self._require_unchanged(key, file, etag)
            if not piece:
                raise unreadable(self._location, key, f"{left} bytes are missing at its end")
            yield piece

    def _require_unchanged(self, key: str, file: BinaryIO, etag: str) -> None:
        if _etag(os.fstat(file.fileno())) != etag:
            raise unreadable(self._location, key, "it was written anew in the meantime", kind=ObjectChanged)

    @contextmanager
    def _translating(self, failure: _Failure, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._translated(failure, key, error) from error

    def _translated(self, failure: _Failure, key: str, error: OSError) -> StorageError:
        """Return our error for one of the operating system's: the only map there is."""
        kind = StorageUnreachable if error.errno in _PASSING else StorageError
        return failure(self._location, key, error.strerror or error, hint=_hint(error), kind=kind)


def _path(key: str) -> list[str]:
    """Return the names on the way to an object.

    :raises InvalidRequest: the key would leave the location, or is one of a partial file.
    """
    path = require_key(key).split("/")
    if PARTIAL.fullmatch(path[-1]):
        raise InvalidRequest(f"{key!r} is no key of an object: files that are not whole yet have such names.")
    return path


def _require_partial(upload_id: str, name: str) -> str:
    """Return the name of a partial file.

    :raises InvalidRequest: it is none of a file of that name.
    """
    partial = PARTIAL.fullmatch(upload_id)
    if not partial or partial["name"] != name:
        raise InvalidRequest(f"{upload_id!r} is no unfinished upload to {name!r}.")
    return upload_id


def _covers(receipts: Iterable[str], size_bytes: int) -> bool:
    """Return whether parts with these receipts are a whole: one behind the other, and none is missing."""
    end = 0
    for receipt in receipts:
        start, _, stop = receipt.partition("-")
        if start != str(end):
            return False
        end = int(stop)
    return end == size_bytes


def _found(entry: os.DirEntry[str], folder: str, prefix: str) -> _Found | None:
    """Return an entry of a folder; None for one that is of no interest, or gone by now."""
    if entry.is_dir(follow_symlinks=False):
        key = f"{folder}{entry.name}/"
        leads_there = key.startswith(prefix) or prefix.startswith(key)
        return _Found(key) if leads_there and key != _MADE_WITH_THE_DISK else None
    partial = PARTIAL.fullmatch(entry.name)
    key = folder + (partial["name"] if partial else entry.name)
    if not key.startswith(prefix) or not entry.is_file(follow_symlinks=False):
        return None
    with suppress(FileNotFoundError):
        return _Found(key, entry.stat(follow_symlinks=False), entry.name if partial else "")
    return None


def _etag(state: os.stat_result) -> str:
    return f"{state.st_ino:x}-{state.st_size:x}-{state.st_mtime_ns:x}"


def _modified_at(state: os.stat_result) -> datetime:
    return datetime.fromtimestamp(state.st_mtime, UTC)


def _hint(error: OSError) -> str:
    return _HINTS.get(error.errno or 0, "")
