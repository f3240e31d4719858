"""A directory, mounted on the worker."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from typing import BinaryIO

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.store import LARGEST_READ_BYTES, require_key, too_large, unreadable

_FOLDER = os.O_RDONLY | os.O_DIRECTORY

_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH})
"""What a network file system says while its server is away."""

_HINTS = {
    errno.ENOENT: "The directory must be there and mounted on the worker.",
    errno.EACCES: "The worker's user needs the permission to read it.",
    errno.ELOOP: "A symbolic link below the location's directory is not followed: it could lead outside.",
}


class FilesystemStore:
    """The regular files below a directory. Symbolic links below it are refused: they could lead outside."""

    def __init__(self, location: Location) -> None:
        self._location = location

    def read(self, key: str) -> bytes | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        segments = require_key(key).split("/")
        try:
            with ExitStack() as opened:
                file = self._open(segments, opened)
                content = file.read(LARGEST_READ_BYTES + 1) if file else None
        except OSError as error:
            raise self._translated(key, error) from error
        if content and len(content) > LARGEST_READ_BYTES:
            raise too_large(self._location, key)
        return content

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _open(self, segments: list[str], opened: ExitStack) -> BinaryIO | None:
        """Open a file folder by folder, so that no link is followed on the way; None where there is no such file."""
        folder = os.open(self._location.prefix, _FOLDER)
        opened.callback(os.close, folder)
        for segment in segments[:-1]:
            if not stat.S_ISDIR(_mode(segment, folder)):
                return None
            folder = os.open(segment, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            opened.callback(os.close, folder)
        if not stat.S_ISREG(_mode(segments[-1], folder)):
            return None
        return opened.enter_context(os.fdopen(os.open(segments[-1], os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb"))

    def _translated(self, key: str, error: OSError) -> StorageError:
        """Return our error for one of the operating system's: the only map there is."""
        kind = StorageUnreachable if error.errno in _PASSING else StorageError
        return unreadable(
            self._location, key, error.strerror or error, hint=_HINTS.get(error.errno or 0, ""), kind=kind
        )


def _mode(name: str, folder: int) -> int:
    """Return the mode of an entry of an open folder, 0 where there is none.

    :raises OSError: it is a symbolic link, or can't be looked at.
    """
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "there is a symbolic link on the way")
    return mode
