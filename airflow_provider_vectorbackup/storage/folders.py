"""Files below a directory, reached folder by folder, so that no symbolic link is followed on the way.

``root`` is the directory, which may be a link itself; ``folders`` and ``path`` are names below it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from typing import BinaryIO

PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.partial", re.DOTALL)
"""The name of a file that is not whole yet: hidden, and removed by :func:`new_file` unless its process ends first."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_ATTEMPTS = 10
"""To make a folder and a file in it, where others remove the folder while it is empty."""


class NoSuchFolder(Exception):
    """There is no such folder below the root. No OSError: those of a root that is missing must not pass for it."""


@contextmanager
def opened_folder(root: str, folders: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """Open a folder for ``dir_fd``.

    :raises NoSuchFolder: it is not there, and not to be made.
    :raises OSError: the root is not there, a symbolic link is on the way, a folder can't be opened or made.
    """
    folder = os.open(root, _FOLDER)
    try:
        for name in folders:
            inner = _open_inner(name, folder, make=make)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


@contextmanager
def opened_file(root: str, path: Sequence[str]) -> Iterator[BinaryIO | None]:
    """Open a regular file to read it; None where there is no such file."""
    descriptor = None
    with suppress(NoSuchFolder), opened_folder(root, path[:-1]) as folder:
        if stat.S_ISREG(_mode(path[-1], folder)):
            with suppress(FileNotFoundError):
                descriptor = os.open(path[-1], os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    if descriptor is None:
        yield None
    else:
        with os.fdopen(descriptor, "rb") as file:
            yield file


def remove_file(root: str, path: Sequence[str]) -> None:
    """Remove a regular file, if it is there, and the folders that are empty then."""
    with suppress(NoSuchFolder), opened_folder(root, path[:-1]) as folder:
        if stat.S_ISREG(_mode(path[-1], folder)):
            with suppress(FileNotFoundError):
                os.unlink(path[-1], dir_fd=folder)
    _remove_empty(root, path[:-1])


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that takes its place only once it is whole."""

    file: BinaryIO | FileIO
    folder: int
    partial: str
    name: str

    def replace(self) -> os.stat_result:
        """Put it in its place, whatever file is there; return its state."""
        self._flush()
        _mode(self.name, self.folder)  # refuses a symbolic link
        os.replace(self.partial, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        _sync_folder(self.folder)
        return os.fstat(self.file.fileno())

    def put(self, content: bytes, start: int) -> None:
        """Write content to its place, past the file's own position: several may write at once."""
        rest = memoryview(content)
        while rest:
            written = os.pwrite(self.file.fileno(), rest, start)
            start, rest = start + written, rest[written:]

    def keep(self) -> None:
        """Write what was put to the disk: it survives the machine."""
        os.fdatasync(self.file.fileno())

    def link(self) -> bool:
        """Put it in its place; return False if a file is there."""
        self._flush()
        try:
            os.link(self.partial, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder, follow_symlinks=False)
        except FileExistsError:
            if stat.S_ISDIR(_mode(self.name, self.folder)):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
            return False
        _sync_folder(self.folder)
        return True

    def _flush(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())


@contextmanager
def new_file(root: str, path: Sequence[str]) -> Iterator[NewFile]:
    """Make a partial file beside the place of a new one, and its folders. What was not put in its place is removed."""
    *folders, name = path
    partial = _partial(name)
    with ExitStack() as opened:
        opened.callback(_remove_empty, root, folders)
        folder, file = _create(root, folders, partial, opened)
        try:
            yield NewFile(file, folder, partial, name)
        finally:
            # What failed before is more telling than what fails now.
            with suppress(OSError):
                file.close()
            with suppress(OSError):
                os.unlink(partial, dir_fd=folder)


def begin_file(root: str, path: Sequence[str]) -> str:
    """Make a partial file as :func:`new_file` does, which stays; return its name."""
    *folders, name = path
    partial = _partial(name)
    with ExitStack() as opened:
        opened.callback(_remove_empty, root, folders)
        folder, file = _create(root, folders, partial, opened)
        file.close()
        try:
            _sync_folder(folder)
        except OSError:
            with suppress(OSError):
                os.unlink(partial, dir_fd=folder)
            raise
    return partial


@contextmanager
def begun_file(root: str, path: Sequence[str], partial: str) -> Iterator[NewFile | None]:
    """Open a partial file to write to it; None where there is none. It stays, whatever happens."""
    *folders, name = path
    with ExitStack() as opened:
        file = None
        with suppress(NoSuchFolder):
            folder = opened.enter_context(opened_folder(root, folders))
            if stat.S_ISREG(_mode(partial, folder)):
                with suppress(FileNotFoundError):
                    descriptor = os.open(partial, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=folder)
                    file = NewFile(
                        opened.enter_context(os.fdopen(descriptor, "wb", buffering=0)), folder, partial, name
                    )
        yield file


def _partial(name: str) -> str:
    return f".{name}.{secrets.token_hex(4)}.partial"


def _create(root: str, folders: Sequence[str], name: str, opened: ExitStack) -> tuple[int, BinaryIO]:
    """Make a file; return its folder and itself."""
    for left in reversed(range(_ATTEMPTS)):
        with ExitStack() as trying:
            try:
                folder = trying.enter_context(opened_folder(root, folders, make=True))
                descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
            except FileNotFoundError:
                if left:
                    continue
                raise
            opened.push(trying.pop_all())
            return folder, os.fdopen(descriptor, "wb")
    raise AssertionError


def _open_inner(name: str, folder: int, *, make: bool) -> int:
    mode = _mode(name, folder)
    if make and not mode:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
        _sync_folder(folder)
    elif not make and not stat.S_ISDIR(mode):
        raise NoSuchFolder
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)


def _remove_empty(root: str, folders: Sequence[str]) -> None:
    """Remove a folder if it is empty, then the one that it is in, and so on, up to the root's."""
    for depth in range(len(folders), 0, -1):
        with suppress(NoSuchFolder):
            try:
                with opened_folder(root, folders[: depth - 1]) as parent:
                    os.rmdir(folders[depth - 1], dir_fd=parent)
            except FileNotFoundError:
                continue
            except OSError:
                return  # not empty, as a rule


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


def _sync_folder(folder: int) -> None:
    """Write a folder's entries to the disk, where the file system can."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
