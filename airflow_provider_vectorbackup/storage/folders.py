"""Files below a directory, reached folder by folder, so that no symbolic link is followed on the way.

``root`` is the directory, which may be a link itself; ``folders`` and ``path`` are names below it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.partial", re.DOTALL)
"""The name of a file that is not whole yet: hidden, and removed by :func:`new_file` unless its process ends first."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_ATTEMPTS = 10
"""To make a folder and a file in it, where others remove the folder while it is empty."""

_syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
"""Only Linux has it."""


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


def settle(root: str) -> None:
    """Have the file system that the root is on write to the disk all that it holds.

    :raises OSError: the root is not there, or something could not be written: whose it was is not told.
    """
    folder = os.open(root, _FOLDER)
    try:
        if _syncfs is None:
            os.sync()
        elif _syncfs(folder):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(folder)


@dataclass(slots=True)
class NewFile:
    """A file that takes its place only once it is whole.

    :ivar descriptor: -1 once it is closed.
    :ivar is_moved: whether the partial file has become the whole one.
    """

    descriptor: int
    folder: int
    partial: str
    name: str
    is_moved: bool = False

    def put(self, content: bytes, start: int) -> None:
        """Write content to its place: several may write at once."""
        rest = memoryview(content)
        while rest:
            written = os.pwrite(self.descriptor, rest, start)
            start, rest = start + written, rest[written:]

    def keep(self) -> None:
        """Write what was put to the disk: it survives the machine."""
        os.fdatasync(self.descriptor)

    def replace(self) -> os.stat_result:
        """Put it in its place, whatever file is there; return its state. Only :func:`settle` makes that survive."""
        self.close()  # a network file system may only now tell what it could not write
        state = os.stat(self.partial, dir_fd=self.folder, follow_symlinks=False)
        _mode(self.name, self.folder)  # refuses a symbolic link
        os.replace(self.partial, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        self.is_moved = True
        return state

    def link(self) -> bool:
        """Put it in its place, to survive the machine; return False if a file is there."""
        os.fsync(self.descriptor)
        try:
            os.link(self.partial, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder, follow_symlinks=False)
        except FileExistsError:
            if stat.S_ISDIR(_mode(self.name, self.folder)):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
            return False
        _sync_folder(self.folder)
        return True

    def close(self) -> None:
        """Write no more to it."""
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)


@contextmanager
def new_file(root: str, path: Sequence[str]) -> Iterator[NewFile]:
    """Make a partial file beside the place of a new one, and its folders. What was not put in its place is removed."""
    with ExitStack() as left, ExitStack() as opened:
        left.callback(_remove_empty, root, path[:-1])
        new = _created(root, path, opened)
        try:
            yield new
        finally:
            # What failed before is more telling than what fails now.
            with suppress(OSError):
                new.close()
            if new.is_moved:
                left.pop_all()
            else:
                with suppress(OSError):
                    os.unlink(new.partial, dir_fd=new.folder)


def begin_file(root: str, path: Sequence[str]) -> str:
    """Make a partial file as :func:`new_file` does, which stays; return its name."""
    with ExitStack() as opened:
        opened.callback(_remove_empty, root, path[:-1])
        new = _created(root, path, opened)
        new.close()
        try:
            _sync_folder(new.folder)
        except OSError:
            with suppress(OSError):
                os.unlink(new.partial, dir_fd=new.folder)
            raise
    return new.partial


@contextmanager
def begun_file(root: str, path: Sequence[str], partial: str) -> Iterator[NewFile | None]:
    """Open a partial file to write to it; None where there is none. It stays, whatever happens."""
    *folders, name = path
    with ExitStack() as opened:
        new = None
        with suppress(NoSuchFolder):
            folder = opened.enter_context(opened_folder(root, folders))
            if stat.S_ISREG(_mode(partial, folder)):
                with suppress(FileNotFoundError):
                    descriptor = os.open(partial, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=folder)
                    new = NewFile(descriptor, folder, partial, name)
                    opened.callback(new.close)
        yield new


def _created(root: str, path: Sequence[str], opened: ExitStack) -> NewFile:
    """Make a partial file, whose folder stays open as long as ``opened``."""
    *folders, name = path
    partial = f".{name}.{secrets.token_hex(4)}.partial"
    for left in reversed(range(_ATTEMPTS)):
        with ExitStack() as trying:
            try:
                folder = trying.enter_context(opened_folder(root, folders, make=True))
                descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
            except FileNotFoundError:
                if left:
                    continue
                raise
            opened.push(trying.pop_all())
            return NewFile(descriptor, folder, partial, name)
    raise AssertionError


def _open_inner(name: str, folder: int, *, make: bool) -> int:
    with suppress(FileNotFoundError, NotADirectoryError):
        return _open_folder(name, folder)
    mode = _mode(name, folder)  # refuses a symbolic link
    if make and not mode:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
        _sync_folder(folder)
    elif not make and not stat.S_ISDIR(mode):
        raise NoSuchFolder
    return _open_folder(name, folder)


def _open_folder(name: str, folder: int) -> int:
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
