"""What a compressed stream holds, piece by piece, checked to its last byte.

A decoder takes a stream's pieces and yields what they hold in pieces of its own, which are small whatever the ratio. It
ends only after the last byte, and then returns whether a checksum of the contents was compared.

A stream is exactly one gzip member, or one zstd frame, as the servers write it. Other decoders skip what follows, or
take it for more of the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import chain
from typing import Protocol, cast

from isal import igzip_lib

from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.exceptions import ChunkDamaged

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Decoder = Callable[[Iterable[bytes]], Generator[bytes, None, bool]]

_FAULTS = (cast("type[Exception]", igzip_lib.IsalError), zstd.ZstdError)

_STEP_BYTES = 128 * 2**10
"""Of input and of output at a time: both stay in the processor's cache."""

_ZSTD_OPTIONS: Mapping[int, int] = {zstd.DecompressionParameter.window_log_max: 25}
"""A frame's window is kept in memory. Servers write at most 16 MiB; this is 32."""

_GZIP_HEADER_BYTES = 10
_GZIP_HEADER = re.compile(rb"\x1f\x8b\x08\0\0{4}[\0\2\4]\xff")
"""Deflate, no optional fields, no time, a level, unknown system: what Go writes. No decoder looks at most of it."""

_ZSTD_HEADER_BYTES = 5
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_CHECKSUM_FLAG = 0b100


class _Decompressor(Protocol):
    """One gzip member or zstd frame. Each call goes on until the output is full or the input is used up."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes | memoryview, /, max_length: int = -1) -> bytes: ...


def _gunzip(pieces: Iterable[bytes]) -> Generator[bytes, None, bool]:
    header, pieces = _peek(pieces, _GZIP_HEADER_BYTES)
    if not _GZIP_HEADER.fullmatch(header):
        raise _begins_otherwise(Codec.GZIP, header)
    yield from _decompress(pieces, igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP))
    return True


def _unzstd(pieces: Iterable[bytes]) -> Generator[bytes, None, bool]:
    header, pieces = _peek(pieces, _ZSTD_HEADER_BYTES)
    if len(header) < _ZSTD_HEADER_BYTES or not header.startswith(_ZSTD_MAGIC):
        raise _begins_otherwise(Codec.ZSTD, header)
    yield from _decompress(pieces, zstd.ZstdDecompressor(options=_ZSTD_OPTIONS))
    return bool(header[-1] & _ZSTD_CHECKSUM_FLAG)


def _as_it_is(pieces: Iterable[bytes]) -> Generator[bytes, None, bool]:
    yield from pieces
    return False


DECODERS: Mapping[Codec, Decoder] = {Codec.GZIP: _gunzip, Codec.ZSTD: _unzstd, Codec.NONE: _as_it_is}
"""Each raises ChunkDamaged where the stream is not what its codec writes, or its checksum differs."""


def _decompress(pieces: Iterable[bytes], decompressor: _Decompressor) -> Iterator[bytes]:
    for step in _steps(pieces):
        if decompressor.eof:
            raise _goes_on()
        given: bytes | memoryview = step
        while not decompressor.eof and (output := _next_output(decompressor, given)):
            yield output
            given = b""
        if decompressor.unused_data:
            raise _goes_on()
    if not decompressor.eof:
        raise ChunkDamaged("The chunk is cut off: its compressed data has no end.")


def _steps(pieces: Iterable[bytes]) -> Iterator[memoryview]:
    for piece in pieces:
        view = memoryview(piece)
        yield from (view[at : at + _STEP_BYTES] for at in range(0, len(piece), _STEP_BYTES))


def _next_output(decompressor: _Decompressor, given: bytes | memoryview) -> bytes:
    try:
        return decompressor.decompress(given, _STEP_BYTES)
    except _FAULTS as error:
        raise ChunkDamaged(f"The chunk can't be decompressed: {error}.") from error


def _peek(pieces: Iterable[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, fewer if there are no more, and all of the pieces."""
    rest = iter(pieces)
    first = b""
    while len(first) < size and (piece := next(rest, None)) is not None:
        first += piece
    return first[:size], chain((first,), rest)


def _begins_otherwise(codec: Codec, header: bytes) -> ChunkDamaged:
    return ChunkDamaged(f"The chunk does not begin as {codec} does, but with {header.hex(' ') or 'nothing'}.")


def _goes_on() -> ChunkDamaged:
    return ChunkDamaged("The chunk goes on after the end of its compressed data.")
