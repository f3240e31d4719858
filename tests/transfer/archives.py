"""Chunks made by other means than ours: the standard library's tar and deflate, and libzstd."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from backports import zstd
from isal import isal_zlib

from airflow_provider_vectorbackup.backups.codecs import Codec

GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
ZERO_BLOCK = bytes(512)


@dataclass(frozen=True)
class File:
    """A regular file, or whatever else ``kind`` makes of it."""

    name: str
    content: bytes = b""
    records: dict[str, str] = field(default_factory=dict)
    kind: bytes = tarfile.REGTYPE


def tar_of(files: Iterable[File], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Make an archive as Go ends one: with two zero blocks, and no more of them to fill a record."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=form) as archive:
        for file in files:
            entry = tarfile.TarInfo(file.name)
            entry.size, entry.type, entry.pax_headers = len(file.content), file.kind, file.records
            archive.addfile(entry, io.BytesIO(file.content))
        end = archive.offset
    return written.getvalue()[:end] + ZERO_BLOCK * 2


def gzip_of(content: bytes, header: bytes = GZIP_HEADER) -> bytes:
    """Compress as Go does, but for the choices that are a compressor's own."""
    return b"".join(_gzipped([content], header))


def zstd_of(content: bytes, *, checksum: bool = True) -> bytes:
    """Compress, without the size in the frame's header, as where it is not known in advance."""
    return b"".join(_zstd_compressed([content], checksum=checksum))


def encode(content: bytes, codec: Codec) -> bytes:
    """Make a chunk of an archive."""
    return b"".join(_ENCODERS[codec]([content]))


def stream_of(name: str, pieces: Iterable[bytes], size: int, codec: Codec) -> Iterator[bytes]:
    """Yield a chunk of one file, which may be larger than memory; gzip by the quickest compressor there is."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    end = bytes(-size % len(ZERO_BLOCK)) + ZERO_BLOCK * 2
    encoders = _ENCODERS | {Codec.GZIP: partial(_gzipped, make_compressor=isal_zlib.compressobj)}
    return encoders[codec](chain([entry.tobuf(tarfile.PAX_FORMAT)], pieces, [end]))


def _gzipped(
    pieces: Iterable[bytes], header: bytes = GZIP_HEADER, make_compressor: Callable[..., Any] = zlib.compressobj
) -> Iterator[bytes]:
    compressor = make_compressor(wbits=-15)
    crc = size = 0
    yield header
    for piece in pieces:
        yield compressor.compress(piece)
        crc, size = zlib.crc32(piece, crc), size + len(piece)
    yield compressor.flush() + struct.pack("<II", crc, size % 2**32)


def _zstd_compressed(pieces: Iterable[bytes], *, checksum: bool = True) -> Iterator[bytes]:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: checksum})
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()


_ENCODERS: dict[Codec, Callable[[Iterable[bytes]], Iterator[bytes]]] = {
    Codec.GZIP: _gzipped,
    Codec.ZSTD: _zstd_compressed,
    Codec.NONE: iter,
}


def decode(chunk: bytes, codec: Codec) -> bytes | None:
    """Return what a whole chunk holds; None if another decoder than ours does not take it for one."""
    if codec is Codec.NONE:
        return chunk
    decompressor = zlib.decompressobj(wbits=31) if codec is Codec.GZIP else zstd.ZstdDecompressor()
    try:
        content = decompressor.decompress(chunk)
    except (zlib.error, zstd.ZstdError):
        return None
    return content if decompressor.eof and not decompressor.unused_data else None


def cut(content: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Yield the content in pieces of these sizes, in turn."""
    at = turn = 0
    while at < len(content):
        size = sizes[turn % len(sizes)]
        yield content[at : at + size]
        at, turn = at + size, turn + 1
