"""How the chunks of a backup are compressed."""

from __future__ import annotations

from enum import StrEnum


class Codec(StrEnum):
    """The values of a descriptor's ``compressionType``; one written before there was a choice is GZIP."""

    GZIP = "gzip"
    ZSTD = "zstd"
    NONE = "none"


_BLOCK_BYTES = 512
_OVERHEAD_BYTES = 8192
"""More than headers, padding and the end of an archive with one file add."""

_LEAST_BYTES = {Codec.GZIP: 20, Codec.ZSTD: 9, Codec.NONE: 2 * _BLOCK_BYTES}
"""Of a chunk: an archive without files."""

_MOST_RATIO = {Codec.GZIP: 1100, Codec.ZSTD: 50_000, Codec.NONE: 1}
"""By which the codec can shrink anything: deflate by 1032, zstd a block of 128 KiB to 4 bytes."""


def is_plausible(codec: Codec, stored_bytes: int, file_bytes: int | None = None) -> bool:
    """Whether a chunk can have this size.

    :param file_bytes: of the only file in it, where that is known.
    """
    if stored_bytes < _LEAST_BYTES[codec] or (codec is Codec.NONE and stored_bytes % _BLOCK_BYTES):
        return False
    if file_bytes is None:
        return True
    return file_bytes / _MOST_RATIO[codec] <= stored_bytes <= file_bytes * 1.01 + _OVERHEAD_BYTES
