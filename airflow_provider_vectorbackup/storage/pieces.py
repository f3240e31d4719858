"""The pieces of an object on their way into a store, or out of it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import InvalidRequest, ObjectNotFound
from airflow_provider_vectorbackup.storage.store import LARGEST_READ_BYTES, too_large


def collected(location: Location, key: str, pieces: Generator[bytes, None, None]) -> bytes | None:
    """Return a small object's content from what a store streams, None where there is no such object.

    :raises StorageError: it is too large.
    """
    content = bytearray()
    try:
        with closing(pieces):
            for piece in pieces:
                content += piece
                if len(content) > LARGEST_READ_BYTES:
                    raise too_large(location, key)
    except ObjectNotFound:
        return None
    return bytes(content)


def exactly(location: Location, key: str, pieces: Iterable[bytes], size_bytes: int) -> Iterator[bytes]:
    """Yield the pieces, except empty ones.

    :raises InvalidRequest: they are not ``size_bytes`` together; where they are more, before the one that is too much.
    """
    seen = 0
    for piece in pieces:
        seen += len(piece)
        if seen > size_bytes:
            break
        if piece:
            yield piece
    if seen != size_bytes:
        found = "more" if seen > size_bytes else seen
        raise InvalidRequest(
            f"{location.uri_of(key)} can't be written: {size_bytes} bytes were announced, and {found} came."
        )


def in_parts(pieces: Iterable[bytes], part_bytes: int) -> Iterator[bytearray]:
    """Yield the same bytes in parts of one size, each of them emptied afterwards: there is one in memory.

    The last, which may be smaller, and is empty where there are no bytes at all, comes only after the last piece: an
    error of the pieces comes before it.
    """
    part = bytearray()
    for piece in pieces:
        rest = memoryview(piece)
        while len(part) + len(rest) > part_bytes:
            taken = rest[: part_bytes - len(part)]
            part += taken
            rest = rest[len(taken) :]
            yield part
            part.clear()
        part += rest
    yield part
