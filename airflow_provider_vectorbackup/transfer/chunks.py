"""A chunk: one tar archive, compressed as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.transfer.decoding import DECODERS
from airflow_provider_vectorbackup.transfer.tar import Member, read_members


class ChunkScan(Iterator[Member]):
    """The members of a chunk, in its order. See :func:`scan_chunk`.

    :ivar contents_checked: whether a checksum of the contents has been compared: False before the end, and for good
        where the chunk has none.
    """

    def __init__(self, pieces: Iterable[bytes], codec: Codec) -> None:
        self.contents_checked = False
        self._members = read_members(self._decode(pieces, codec))

    def __next__(self) -> Member:
        return next(self._members)

    def _decode(self, pieces: Iterable[bytes], codec: Codec) -> Iterator[bytes]:
        self.contents_checked = yield from DECODERS[codec](pieces)


def scan_chunk(pieces: Iterable[bytes], codec: Codec) -> ChunkScan:
    """Read a chunk from its bytes, in pieces of any size, and return an iterator over its members.

    Only when that has ended has the chunk been read to its last byte and found whole. The memory it takes is bounded,
    whatever the size of the chunk and whatever it claims. Threads may scan one chunk each, side by side.

    :raises ChunkDamaged: while iterating: the chunk is not what a server wrote, in whatever respect. Any member that
        came before may be damaged, too.
    """
    return ChunkScan(pieces, codec)
