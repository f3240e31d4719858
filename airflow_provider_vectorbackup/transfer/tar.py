"""The members of a tar archive, read as a stream.

Of POSIX.1-2001 (ustar, and PAX headers before it), exactly what the servers write is taken: regular files with relative
names, then two zero blocks, and nothing after them. All else is damage, also where a restore would pass over it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from airflow_provider_vectorbackup.exceptions import ChunkDamaged

_BLOCK_BYTES = 512
_ZEROS = bytes(_BLOCK_BYTES)
_MAGIC = b"ustar\x0000"
_REGULAR, _EXTENDED = b"0", b"x"

_CHECKSUM = slice(148, 156)
_BLANK_CHECKSUM = sum(b" " * 8)
"""A header's checksum counts its own field as spaces."""

_LARGEST_EXTENSION_BYTES = 2**16
"""Of a PAX header, which is kept in memory: far more than the longest path."""

_RECORD = re.compile(rb"(\d{1,6}) ([^=]+)=")
_OCTAL = re.compile(rb"[ \0]*([0-7]+)[ \0]*")
_DECIMAL = re.compile(r"[0-9]{1,19}")
_OFFSET = "WEAVIATE.fileOffset"
_KEYWORDS = {"path", "size", "uid", "gid", "uname", "gname", "mtime", "atime", "ctime", _OFFSET}
"""What Go writes of a regular file, and Weaviate. Another could change what a member means, as that one did."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a chunk, or a part of one.

    :param name: relative, without ``..``.
    :param size_bytes: of this part.
    :param offset_bytes: where in the file it belongs; 0 for a file that is not split.
    """

    name: str
    size_bytes: int
    offset_bytes: int = 0


def read_members(pieces: Iterable[bytes]) -> Iterator[Member]:
    """Yield each member once its data has been passed; read the pieces to their end.

    :raises ChunkDamaged: this is no archive of the servers', or not all of it.
    """
    archive = _Archive(pieces)
    while (header := archive.take(_BLOCK_BYTES)) != _ZEROS:
        kind = _kind(header)
        records: Mapping[str, str] = {}
        if kind == _EXTENDED:
            records = _parse_records(archive.take_padded(_size(header)))
            header = archive.take(_BLOCK_BYTES)
            kind = _kind(header)
        member = _parse_member(kind, header, records)
        archive.skip_padded(member.size_bytes)
        yield member
    if archive.take(_BLOCK_BYTES) != _ZEROS:
        raise ChunkDamaged("The archive does not end with two zero blocks.")
    archive.require_end()


class _Archive:
    """The bytes of an archive, from the first to the last. What is skipped is not copied."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        taken = self._piece[self._at : self._at + size]
        self._at += len(taken)
        while len(taken) < size:
            self._advance()
            more = self._piece[: size - len(taken)]
            self._at = len(more)
            taken += more
        return taken

    def take_padded(self, size: int) -> bytes:
        if size > _LARGEST_EXTENSION_BYTES:
            raise ChunkDamaged(f"A PAX header in the archive is {size} bytes long.")
        taken = self.take(size)
        self._take_padding(size)
        return taken

    def skip_padded(self, size: int) -> None:
        self._at += size
        while self._at > len(self._piece):
            self._at -= len(self._piece)
            self._advance()
        self._take_padding(size)

    def require_end(self) -> None:
        if self._at < len(self._piece) or any(self._pieces):
            raise ChunkDamaged("The archive goes on after its end.")

    def _take_padding(self, size: int) -> None:
        """Take what fills a block after ``size`` bytes."""
        if any(self.take(-size % _BLOCK_BYTES)):
            raise ChunkDamaged("The archive has data between its members.")

    def _advance(self) -> None:
        try:
            self._piece = next(self._pieces)
        except StopIteration:
            raise ChunkDamaged("The archive is cut off: it ends before its two zero blocks.") from None


def _kind(header: bytes) -> bytes:
    """Return the type of what follows a header.

    :raises ChunkDamaged: its checksum or magic differs.
    """
    if header[_CHECKSUM] != b"%06o\0 " % (sum(header) - sum(header[_CHECKSUM]) + _BLANK_CHECKSUM):
        raise ChunkDamaged("The checksum of a header in the archive differs.")
    if header[257:265] != _MAGIC:
        raise ChunkDamaged(f"A header in the archive is of another format: {header[257:265]!r}.")
    return header[156:157]


def _size(header: bytes) -> int:
    return _parse_number(header[124:136])


def _parse_member(kind: bytes, header: bytes, records: Mapping[str, str]) -> Member:
    name = records.get("path") or _name(header)
    if kind != _REGULAR or name.endswith("/"):
        raise ChunkDamaged(f"The archive holds {name!r}, which is no regular file (type {kind!r}).")
    if {"", ".", ".."} & set(name.split("/")) or "\0" in name:
        raise ChunkDamaged(f"The archive holds {name!r}, which is no name of a file in a shard.")
    size = _parse_decimal(records["size"]) if "size" in records else _size(header)
    return Member(name, size, _parse_decimal(records.get(_OFFSET, "0")))


def _name(header: bytes) -> str:
    name, prefix = (_decode(field.partition(b"\0")[0]) for field in (header[:100], header[345:500]))
    return f"{prefix}/{name}" if prefix else name


def _parse_records(extension: bytes) -> dict[str, str]:
    """Read a PAX header: records of their own length, a space, keyword, ``=``, value, and the end of the line."""
    records: dict[str, str] = {}
    at = 0
    while at < len(extension):
        begin = _RECORD.match(extension, at)
        end = at + int(begin[1]) if begin else 0
        if not begin or begin.end() >= end or extension[end - 1 : end] != b"\n":
            raise ChunkDamaged("A PAX header in the archive is malformed.")
        records[_decode(begin[2])] = _decode(extension[begin.end() : end - 1])
        at = end
    if unknown := records.keys() - _KEYWORDS:
        raise ChunkDamaged(f"A PAX header in the archive has unknown records: {', '.join(sorted(unknown))}.")
    return records


def _parse_number(field: bytes) -> int:
    """Read a number of a header: octal digits, or base 256 behind a byte 0x80."""
    if field[0] == 0x80:  # noqa: PLR2004  # the marker
        return int.from_bytes(field[1:])
    digits = _OCTAL.fullmatch(field)
    if not digits:
        raise ChunkDamaged(f"A header in the archive has {field!r} for a number.")
    return int(digits[1], 8)


def _parse_decimal(text: str) -> int:
    if not _DECIMAL.fullmatch(text):
        raise ChunkDamaged(f"A PAX header in the archive has {text!r} for a number.")
    return int(text)


def _decode(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise ChunkDamaged(f"A name in the archive is not UTF-8: {text!r}.") from None
