"""What a store can do, and what a key is. Providers' files are imported only where one of theirs is opened."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Protocol

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import DeletionFailed, InvalidRequest, StorageError

LARGEST_READ_BYTES = 64 * 2**20
"""What :meth:`Store.read` and :meth:`Store.create` take into memory; descriptors are far below."""

PIECE_BYTES = 2**18
"""The most that :meth:`Store.stream` yields at once."""

PART_BYTES = 16 * 2**20
"""The size of an upload's parts, and of what is uploaded in one request; larger where there would be too many."""

CONNECTIONS = 16
"""Kept open by a store, for as many threads."""

CONNECT_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 30
"""Between two bytes of an answer."""

_NAMED = 3
"""The most objects that one message names."""

_SEGMENT_ENDS = re.compile(r"[/\\]")
"""Azure takes a backslash for a slash."""

_UNFIT = frozenset({"Cc", "Cs"})
"""Categories of characters: control, and halves of surrogate pairs, which no provider takes."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing shows it.

    :param key: relative to the location's prefix.
    :param etag: another one whenever the content was written anew; compared with others of the same store only.
    :param modified_at: UTC.
    """

    key: str
    size_bytes: int
    etag: str
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """An upload that was begun and neither ended nor aborted; it takes up space and no listing of objects shows it.

    :param upload_id: the store's own name for it.
    :param started_at: UTC; None where the store does not tell.
    """

    key: str
    upload_id: str
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """What keeps an object from being deleted for good.

    :param reason: in words, like ``a legal hold``.
    :param until: UTC, when it ends by itself; None for what somebody has to lift, or where the storage does not tell.
    :param may_have_ended: whether the storage tells neither an end nor whether that has passed: a deletion will show.
    """

    key: str
    reason: str
    until: datetime | None = None
    may_have_ended: bool = False


@dataclass(frozen=True, slots=True)
class PartLimits:
    """How a store wants large objects written.

    :param whole_bytes: up to this size, an object is written by one :meth:`Store.write`.
    :param least_bytes: of all parts but the last.
    :param most_parts: of one object.
    :param is_buffered: whether what is written, object or part, is kept in memory as a whole until it is.
    """

    whole_bytes: int
    least_bytes: int
    most_parts: int
    is_buffered: bool

    def part_bytes(self, size_bytes: int) -> int:
        """Return the size of an object's parts, whole MiB: larger where there would be too many."""
        return max(self.least_bytes, -(-size_bytes // (self.most_parts * 2**20)) * 2**20)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an object that is written.

    :param number: from 1 on.
    """

    number: int
    start: int
    size_bytes: int


class Store(Protocol):
    """The objects of one location. Several threads may use it at once.

    Every method raises, beside what it names: InvalidRequest for a key that would leave the location, StorageError for
    what the storage refuses, StorageUnreachable for what may pass.
    """

    part_limits: PartLimits

    def list_objects(self, prefix: str = "") -> Generator[StoredObject, None, None]:
        """Yield the objects whose keys begin with ``prefix``, page by page, in the order of their keys as UTF-8.

        Keys come as they are there, even those that no other method takes; folders' markers do not.
        """

    def read(self, key: str) -> bytes | None:
        """Return a small object's content, None where there is no such object.

        :raises StorageError: it can't be read, is too large, or it can't be told whether it is there.
        """

    def stream(
        self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None
    ) -> Generator[bytes, None, None]:
        """Yield an object's bytes from ``start`` on, up to ``end`` (not included) if one is given.

        Ends normally only after the last byte asked for. Close the iterator (``contextlib.closing``) if it is left
        early.

        :param etag: as listed; another content is then refused.
        :raises ObjectNotFound: there is no such object.
        :raises ObjectChanged: it is not the one with that ``etag`` any more.
        """

    def write(self, key: str, pieces: Iterable[bytes], size_bytes: int) -> str:
        """Write an object of known size from pieces of any size, and return its etag; one that is there is replaced.

        The checksum that the storage makes of it is compared, where it makes one: by the storage, before it stores
        anything, or here, by its answer. It can be seen once it is whole, not before. If this raises, also because
        ``pieces`` did, nothing has changed and no unfinished upload of this call is left, as far as the storage can
        still be reached.

        :raises InvalidRequest: the pieces are not ``size_bytes`` together.
        """

    def create(self, key: str, content: bytes) -> bool:
        """Write a small object unless there is one of that key; return whether this call wrote it.

        Of several at once, one writes. After a lost answer, an object with this very content counts as written.
        """

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, many in a request where the storage can; those that are not there are no error.

        :raises DeletionFailed: some could not be deleted; all others were.
        """

    def begin_upload(self, key: str, size_bytes: int, scratch: str) -> str:
        """Begin to write an object in parts, and return the upload's id, by which any process can go on with it.

        :param scratch: where a store that knows no parts may put them as objects: the start of a key.
        """

    def put_part(self, key: str, upload_id: str, part: Part, pieces: Iterable[bytes]) -> str:
        """Write a part, in place of one of that number, and return its receipt; compared as by :meth:`write`.

        Parts may come in any order, from several threads and processes. What has a receipt survives this process.

        :raises ObjectNotFound: there is no such upload (any more).
        :raises InvalidRequest: the pieces are not the part's size together.
        """

    def finish_upload(self, key: str, upload_id: str, size_bytes: int, receipts: Sequence[str]) -> str:
        """Make an object of its parts, all of them and in their order, and return its etag; then, it can be seen.

        :raises ObjectNotFound: there is no such upload (any more), or a part of it is missing.
        """

    def copy(self, source: Location, key: str, target_key: str, *, listed: StoredObject | None = None) -> str:
        """Copy an object of ``source``, reached with this store's own credentials, inside the storage; return its etag.

        ``source`` may be this store's location, or another of the same scheme. No bytes pass through this process,
        except on a file system. What is at ``target_key`` is replaced, once the copy is whole.

        :param listed: the object as ``source`` listed it, which spares a look at it; another one is then refused.
        :raises ObjectNotFound: there is no such object in ``source``.
        :raises ObjectChanged: it is not the one that was listed.
        """

    def settle(self) -> None:
        """Return when all that was written survives the machine's crash; after :meth:`create`, what it wrote does.

        :raises StorageError: it does not, or that can't be told; from then on, it is raised each time.
        """

    def lock_policy(self) -> str | None:
        """Return in words what keeps new objects here from being deleted or replaced for a time.

        Empty where nothing does; None where it can't be told, for want of a permission, say.
        """

    def list_locks(self, prefix: str = "") -> Iterator[Lock]:
        """Yield the locks that are in force now on objects whose keys begin with ``prefix``, at most one an object.

        Of several, the one that lasts longest. Where there are versions, an object with a lock may still be deleted:
        then it can't be seen any more, and takes up space as long.

        :raises StorageError: the objects can't be listed, or it can't be told whether there are any locks.
        """

    def deletion_policy(self) -> str | None:
        """Return in words what keeps the bytes of deleted objects taking up space: versioning, soft delete.

        Empty where they are freed at once, as far as the storage tells; None where it can't be told, for want of a
        permission, say.
        """

    def list_unfinished_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """Yield the unfinished uploads to keys that begin with ``prefix``, as far as the storage tells."""

    def abort(self, upload: UnfinishedUpload) -> None:
        """Give up an unfinished upload and free its space; one that is not there any more is no error."""

    def close(self) -> None:
        """Close connections."""


def require_key(key: str) -> str:
    """Return ``key`` if it stays in its location.

    :raises InvalidRequest: it is absolute, has an empty segment, ``.``, ``..``, or control characters.
    """
    segments = _SEGMENT_ENDS.split(key)
    if {"", ".", ".."} & set(segments) or _UNFIT & {unicodedata.category(character) for character in key}:
        raise InvalidRequest(
            f"{key!r} is no key of an object in a location.",
            hint="A key is relative, like my-backup/backup_config.json.",
        )
    return key


def name_in_bucket(location: Location, key: str) -> str:
    """Return the whole name of an object of a location.

    :raises InvalidRequest: the key would leave the location.
    """
    return f"{location.prefix}/{require_key(key)}".lstrip("/")


def prefix_in_bucket(location: Location, prefix: str) -> str:
    """Return what the whole names of a location's objects begin with."""
    return f"{location.prefix}/{prefix}".lstrip("/")


def key_of_name(location: Location, name: str) -> str:
    """Return the key of an object, from its whole name in the bucket."""
    return name.removeprefix(f"{location.prefix}/") if location.prefix else name


def unreadable(
    location: Location, key: str, reason: object, *, hint: str = "", kind: type[StorageError] = StorageError
) -> StorageError:
    """Return the error for an object that can't be read."""
    return kind(_sentence(location, key, "can't be read", reason), hint=hint)


def unwritable(
    location: Location, key: str, reason: object, *, hint: str = "", kind: type[StorageError] = StorageError
) -> StorageError:
    """Return the error for an object that can't be written."""
    return kind(_sentence(location, key, "can't be written", reason), hint=hint)


def unlistable(
    location: Location, prefix: str, reason: object, *, hint: str = "", kind: type[StorageError] = StorageError
) -> StorageError:
    """Return the error for objects that can't be listed."""
    return kind(_sentence(location, prefix, "can't be listed", reason), hint=hint)


def undeletable(
    location: Location, key: str, reason: object, *, hint: str = "", kind: type[StorageError] = StorageError
) -> StorageError:
    """Return the error for objects none of which can be deleted, for a reason that is not their own."""
    return kind(_sentence(location, key, "can't be deleted", reason), hint=hint)


def undeleted(location: Location, reasons: Mapping[str, str], hint: str = "") -> DeletionFailed:
    """Return the error for objects that could not be deleted.

    :param reasons: by key, in the storage's words.
    """
    few = "; ".join(f"{key!r}: {reason.strip().rstrip('.')}" for key, reason in islice(reasons.items(), _NAMED))
    more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    objects = "1 object" if len(reasons) == 1 else f"{len(reasons)} objects"
    return DeletionFailed(f"{objects} of {location} can't be deleted: {few}{more}.", hint=hint, reasons=reasons)


def too_large(location: Location, key: str) -> StorageError:
    """Return the error for an object that is no descriptor."""
    return unreadable(location, key, f"it is larger than {LARGEST_READ_BYTES} bytes")


def _sentence(location: Location, key: str, failure: str, reason: object) -> str:
    return f"{location.uri_of(key)} {failure}: {str(reason).strip().rstrip('.')}."
