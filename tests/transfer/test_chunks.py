from __future__ import annotations

import io
import json
import tarfile
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.exceptions import ChunkDamaged, StorageUnreachable
from airflow_provider_vectorbackup.transfer.chunks import scan_chunk
from airflow_provider_vectorbackup.transfer.tar import Member
from tests import trees
from tests.transfer.archives import GZIP_HEADER, File, cut, decode, encode, gzip_of, tar_of, zstd_of

FILES = (
    File("article/s1/indexcount", b"12345678"),
    File("article/s1/lsm/objects/segment-1.db", bytes(range(256)) * 5 + b"some words, some more words " * 20),
    File("article/s1/lsm/objects/segment-2.db", b"part", {"WEAVIATE.fileOffset": "8192"}),
    File("article/s1/version"),
)
ARCHIVE = tar_of(FILES)
MEMBERS = [
    Member("article/s1/indexcount", 8),
    Member("article/s1/lsm/objects/segment-1.db", 1840),
    Member("article/s1/lsm/objects/segment-2.db", 4, offset_bytes=8192),
    Member("article/s1/version", 0),
]

segments = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=60)
names = st.lists(segments.filter(lambda segment: segment not in (".", "..")), min_size=1, max_size=5).map("/".join)
offsets = st.integers(0, 2**50).map(lambda offset: {"WEAVIATE.fileOffset": str(offset)})
files = st.builds(File, names, st.binary(max_size=3000), st.just({}) | offsets)
archives = st.lists(files, max_size=6).map(tar_of)
piece_sizes = st.lists(st.integers(0, 2000), min_size=1, max_size=5).filter(any)


def scanned(chunk: bytes, codec: Codec, sizes: tuple[int, ...] = (1000,)) -> list[Member]:
    return list(scan_chunk(cut(chunk, sizes), codec))


def read_otherwise(archive: bytes) -> list[Member]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return [
            Member(entry.name, entry.size, int(entry.pax_headers.get("WEAVIATE.fileOffset", 0)))
            for entry in opened
            if entry.isreg()
        ]


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("sizes", [(10**6,), (1,), (0, 7, 513)])
def test_members_are_those_of_the_archive(codec: Codec, sizes: tuple[int, ...]) -> None:
    assert scanned(encode(ARCHIVE, codec), codec, sizes) == MEMBERS


@given(archives, st.sampled_from(Codec), piece_sizes)
def test_reads_what_others_read(archive: bytes, codec: Codec, sizes: list[int]) -> None:
    assert scanned(encode(archive, codec), codec, tuple(sizes)) == read_otherwise(archive)


def test_servers_own_chunks(tmp_path: Path) -> None:
    seen: Counter[Codec] = Counter()
    for codec, chunk in _recorded(tmp_path):
        scan = scan_chunk([chunk], codec)
        assert list(scan) == read_otherwise(decode(chunk, codec) or b"")
        assert scan.contents_checked is (codec is not Codec.NONE)
        with pytest.raises(ChunkDamaged):
            scanned(chunk[:-1], codec)
        seen[codec] += 1
    assert set(seen) == set(Codec)


@pytest.mark.parametrize("codec", Codec)
def test_no_beginning_passes_for_the_whole(codec: Codec) -> None:
    chunk = encode(ARCHIVE, codec)
    for size in range(len(chunk)):
        for sizes in ((len(chunk),), (100,)):
            with pytest.raises(ChunkDamaged):
                scanned(chunk[:size], codec, sizes)


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.ZSTD])
def test_no_flipped_bit_that_matters_passes(codec: Codec) -> None:
    chunk = encode(ARCHIVE, codec)
    passed = 0
    for bit in range(len(chunk) * 8):
        flipped = _flipped(chunk, bit)
        try:
            found = scanned(flipped, codec, (10**6,))
        except ChunkDamaged:
            continue
        passed += 1
        assert decode(flipped, codec) == ARCHIVE, f"bit {bit}"
        assert found == MEMBERS
    assert passed < len(chunk) * 8 / 20, "hardly any bit makes no difference"


def test_without_compression_only_contents_and_offsets_can_change_unseen() -> None:
    unchecked = {at for part in (*(file.content for file in FILES), b"8192") for at in _place(part)}
    for bit in range(len(ARCHIVE) * 8):
        if bit // 8 not in unchecked:
            with pytest.raises(ChunkDamaged):
                scanned(_flipped(ARCHIVE, bit), Codec.NONE, (10**6,))


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("more", [b"\0", b"x", bytes(512), bytes(8192), ARCHIVE], ids=lambda more: str(len(more)))
def test_nothing_may_follow(codec: Codec, more: bytes) -> None:
    chunk = encode(ARCHIVE, codec)
    _refuses(codec, chunk + more, goes_on=True)
    _refuses(codec, encode(ARCHIVE + more, codec), goes_on=True)


@pytest.mark.parametrize(
    ("codec", "more"),
    [
        (Codec.GZIP, gzip_of(b"")),
        (Codec.GZIP, gzip_of(ARCHIVE)),
        (Codec.ZSTD, zstd_of(b"")),
        (Codec.ZSTD, zstd_of(ARCHIVE)),
        (Codec.ZSTD, b"\x50\x2a\x4d\x18\x01\0\0\0x"),
    ],
    ids=["empty member", "member", "empty frame", "frame", "frame to skip"],
)
def test_one_stream_a_chunk(codec: Codec, more: bytes) -> None:
    chunk = encode(ARCHIVE, codec)
    _refuses(codec, chunk + more, goes_on=True)
    _refuses(codec, more + chunk)
    half = len(ARCHIVE) // 2
    _refuses(codec, encode(ARCHIVE[:half], codec) + encode(ARCHIVE[half:], codec))


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("other", Codec)
def test_another_codec_is_refused(codec: Codec, other: Codec) -> None:
    if codec is not other:
        _refuses(codec, encode(ARCHIVE, other))


@pytest.mark.parametrize(
    "header",
    [
        GZIP_HEADER[:3] + b"\x08\0\0\0\0\0\xffname\0",
        GZIP_HEADER[:3] + b"\x10\0\0\0\0\0\xffcomment\0",
        GZIP_HEADER[:3] + b"\x04\0\0\0\0\0\xff\x01\0x",
        GZIP_HEADER[:3] + b"\x01\0\0\0\0\0\xff",
        GZIP_HEADER[:3] + b"\x80\0\0\0\0\0\xff",
        GZIP_HEADER[:3] + b"\0\0\0\0\x01\0\xff",
        GZIP_HEADER[:3] + b"\0\0\0\0\0\0\x03",
        GZIP_HEADER[:3] + b"\0\0\0\0\0\1\xff",
    ],
    ids=["name", "comment", "extra", "text", "reserved", "time", "system", "level"],
)
def test_a_header_that_no_server_writes(header: bytes) -> None:
    _refuses(Codec.GZIP, gzip_of(ARCHIVE, header))


@pytest.mark.parametrize("level", [b"\0", b"\2", b"\4"])
def test_any_level(level: bytes) -> None:
    assert scanned(gzip_of(ARCHIVE, GZIP_HEADER[:8] + level + b"\xff"), Codec.GZIP) == MEMBERS


@pytest.mark.parametrize(
    ("chunk", "codec", "checked"),
    [
        (gzip_of(ARCHIVE), Codec.GZIP, True),
        (zstd_of(ARCHIVE), Codec.ZSTD, True),
        (zstd_of(ARCHIVE, checksum=False), Codec.ZSTD, False),
        (ARCHIVE, Codec.NONE, False),
    ],
)
def test_tells_whether_contents_were_checked(chunk: bytes, codec: Codec, checked: bool) -> None:
    scan = scan_chunk([chunk], codec)
    before = [scan.contents_checked for _ in scan]
    assert before == [False] * len(MEMBERS)
    assert scan.contents_checked is checked
    damaged = scan_chunk([chunk, b"x"], codec)
    with pytest.raises(ChunkDamaged):
        list(damaged)
    assert not damaged.contents_checked


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("pieces", [[], [b""], [b"\0"], [bytes(512)]], ids=["none", "empty", "byte", "block"])
def test_too_little_is_nothing(codec: Codec, pieces: list[bytes]) -> None:
    with pytest.raises(ChunkDamaged):
        list(scan_chunk(pieces, codec))
    if codec is not Codec.NONE:
        _refuses(codec, encode(b"".join(pieces), codec))


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.ZSTD])
def test_memory_does_not_grow_with_what_is_packed(codec: Codec) -> None:
    chunk = encode(tar_of([File("article/s1/bomb.db", bytes(64 * 2**20))]), codec)
    tracemalloc.start()
    try:
        assert scanned(chunk, codec, (2**20,)) == [Member("article/s1/bomb.db", 64 * 2**20)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


@pytest.mark.parametrize(
    ("log", "reason"), [(23, "cut off"), (25, "cut off"), (26, "decompressed"), (31, "decompressed")]
)
def test_a_frame_may_not_ask_for_much_memory(log: int, reason: str) -> None:
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([(log - 10) << 3]) + b"\1\0\0"  # with one block, which is empty
    with pytest.raises(ChunkDamaged, match=reason):
        scanned(frame, Codec.ZSTD)


def test_what_the_storage_says_is_no_damage() -> None:
    def pieces() -> Iterator[bytes]:
        yield gzip_of(ARCHIVE)[:100]
        raise StorageUnreachable("Away.")

    with pytest.raises(StorageUnreachable):
        list(scan_chunk(pieces(), Codec.GZIP))


def _recorded(folder: Path) -> Iterator[tuple[Codec, bytes]]:
    """Yield the chunks of all nodes' parts that a server says are whole."""
    for name in trees.NAMES:
        for path in trees.unpack(name, folder).glob("*/*/backup.json"):
            told = json.loads(path.read_text())
            if told["status"] == "SUCCESS":
                codec = Codec(told.get("compressionType", "gzip"))
                yield from ((codec, chunk.read_bytes()) for chunk in path.parent.glob("*/chunk-*"))


def _refuses(codec: Codec, chunk: bytes, *, goes_on: bool = False) -> None:
    for size in (len(chunk), 100):
        with pytest.raises(ChunkDamaged, match="goes on" if goes_on else None):
            scanned(chunk, codec, (size,))


def _flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _place(part: bytes) -> range:
    at = ARCHIVE.index(part)
    return range(at, at + len(part))
