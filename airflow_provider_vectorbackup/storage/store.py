"""What a store can do, and what a key is. Providers' files are imported only where one of theirs is opened."""

from __future__ import annotations

import re
import unicodedata
from typing import Protocol

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import InvalidRequest, StorageError

LARGEST_READ_BYTES = 64 * 2**20
"""What :meth:`Store.read` takes into memory; descriptors are far below."""

CONNECT_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 30
"""Between two bytes of an answer."""

_SEGMENT_ENDS = re.compile(r"[/\\]")
"""Azure takes a backslash for a slash."""

_UNFIT = frozenset({"Cc", "Cs"})
"""Categories of characters: control, and halves of surrogate pairs, which no provider takes."""


class Store(Protocol):
    """The objects of one location. Not for use by several threads at once."""

    def read(self, key: str) -> bytes | None:
        """Return a small object's content, None where there is no such object.

        :param key: relative to the location's prefix.
        :raises InvalidRequest: the key would leave the location.
        :raises StorageError: it can't be read, is too large, or it can't be told whether it is there.
        """

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


def unreadable(
    location: Location, key: str, reason: object, *, hint: str = "", kind: type[StorageError] = StorageError
) -> StorageError:
    """Return the error for an object that can't be read."""
    return kind(f"{location.uri_of(key)} can't be read: {str(reason).strip().rstrip('.')}.", hint=hint)


def too_large(location: Location, key: str) -> StorageError:
    """Return the error for an object that is no descriptor."""
    return unreadable(location, key, f"it is larger than {LARGEST_READ_BYTES} bytes")
