from __future__ import annotations

import tarfile

import pytest

from airflow_provider_vectorbackup.exceptions import ChunkDamaged
from airflow_provider_vectorbackup.transfer.tar import Member, read_members
from tests.transfer.archives import ZERO_BLOCK, File, cut, tar_of

END = ZERO_BLOCK * 2
LONG = "/".join(["article", "s" * 90, "lsm", "objects", "segment-1.db"])
BLOCK = 512


def members(archive: bytes) -> list[Member]:
    return list(read_members(cut(archive, (1000,))))


def header(name: bytes = b"a/b", kind: bytes = b"0", **fields: bytes) -> bytes:
    """Make a header by hand; ``fields`` replace what stands there otherwise."""
    values = {"size": b"00000000000\0", "magic": b"ustar\x0000", "prefix": b"", "checksum": b""} | fields
    places = {"size": 124, "magic": 257, "prefix": 345}
    block = bytearray(BLOCK)
    block[: len(name)], block[156:157], block[148:156] = name, kind, b" " * 8
    for field, at in places.items():
        block[at : at + len(values[field])] = values[field]
    block[148:156] = values["checksum"] or b"%06o\0 " % sum(block)
    return bytes(block)


def extension(records: bytes) -> bytes:
    """Make a PAX header by hand."""
    return header(kind=b"x", size=b"%011o\0" % len(records)) + records + bytes(-len(records) % BLOCK)


def test_headers_by_hand_are_good() -> None:
    assert members(header() + END) == [Member("a/b", 0)]
    assert members(extension(b"9 path=c\n") + header() + END) == [Member("c", 0)]


def test_an_empty_archive() -> None:
    assert members(END) == []


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(form: int) -> None:
    assert members(tar_of([File(LONG, b"x")], form)) == [Member(LONG, 1)]


def test_a_size_in_base_256() -> None:
    assert members(header(size=b"\x80" + bytes(9) + b"\x02\0") + b"x" * BLOCK + END) == [Member("a/b", BLOCK)]


def test_a_size_beyond_the_header() -> None:
    records = b"12 size=512\n"
    assert members(extension(records) + header() + b"x" * BLOCK + END) == [Member("a/b", BLOCK)]


def test_a_record_is_of_one_member() -> None:
    assert members(extension(b"9 path=c\n") + header() + header() + END) == [Member("c", 0), Member("a/b", 0)]


def test_records_about_what_is_not_looked_at() -> None:
    records = b"30 mtime=1700000000.123456789\n18 uid=1000680000\n9 path=c\n"
    assert members(extension(records) + header() + END) == [Member("c", 0)]


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.DIRTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.AREGTYPE,
        tarfile.CONTTYPE,
        tarfile.XGLTYPE,
        tarfile.GNUTYPE_SPARSE,
        tarfile.GNUTYPE_LONGNAME,
        b"?",
    ],
)
def test_only_regular_files(kind: bytes) -> None:
    with pytest.raises(ChunkDamaged, match="no regular file"):
        members(header(kind=kind) + END)


@pytest.mark.parametrize(
    "name", [b"", b"/", b"/a", b"..", b"../a", b"a/../b", b"a/..", b".", b"a/./b", b"a//b", b"a/", b"\xff"]
)
def test_names_that_lead_elsewhere(name: bytes) -> None:
    with pytest.raises(ChunkDamaged):
        members(header(name) + END)
    record = b" path=" + name + b"\n"
    length = len(record) + (1 if len(record) < 9 else 2)
    with pytest.raises(ChunkDamaged):
        members(extension(b"%d" % length + record) + header(name) + END)


def test_a_prefix_counts_for_a_name() -> None:
    assert members(header(b"b", prefix=b"a") + END) == [Member("a/b", 0)]
    with pytest.raises(ChunkDamaged):
        members(header(b"b", prefix=b"..") + END)


@pytest.mark.parametrize(
    "broken",
    [
        header(magic=b"ustar  \0"),
        header(magic=bytes(8)),
        header(magic=b"ustar\x0001"),
        header(checksum=b"000000\0 "),
        header(checksum=b"        "),
        header(checksum=bytes(8)),
        header(size=b"0000000000x\0"),
        header(size=b"-0000000001\0"),
        header(size=b"0000000_000\0"),
        header(size=b"0000 000000\0"),
        header(size=b"00000000008\0"),
        header(size=b"\xff" * 12),
        header(size=bytes(12)),
    ],
)
def test_broken_headers(broken: bytes) -> None:
    with pytest.raises(ChunkDamaged):
        members(broken + END)


@pytest.mark.parametrize(
    "records",
    [
        b"x",
        b"9 path=c",
        b"8 path=c\n",
        b"11 path=c\n",
        b"9 path:c\n",
        b"0 path=c\n",
        b"-9 path=c\n",
        b"6 path=c\n",
        b"9  path=c\n",
        b"9 path=c\n\n",
        b"9 path=\0\n",
        b"9 path=\xff\n",
        b"9 \xffath=c\n",
        b"10 size=-1\n",
        b"10 size=1.\n",
        b"10 size=1_\n",
        b"9 size=\n",
        b"25 WEAVIATE.fileOffset=\n",
        b"26 WEAVIATE.fileOffset=x\n",
        b"27 WEAVIATE.fileOffset=-1\n",
        b"22 GNU.sparse.major=1\n",
        b"11 patH=cd\n",
        b"999999 path=c\n",
    ],
)
def test_broken_records(records: bytes) -> None:
    with pytest.raises(ChunkDamaged):
        members(extension(records) + header() + END)


def test_a_pax_header_is_followed_by_its_member() -> None:
    for follower in (b"", END, extension(b"9 path=d\n") + header() + END):
        with pytest.raises(ChunkDamaged):
            members(extension(b"9 path=c\n") + follower)


def test_a_pax_header_is_bounded() -> None:
    for size in (b"%011o\0" % (2**16 + 1), b"77777777777\0", b"\x80" + b"\xff" * 11):
        with pytest.raises(ChunkDamaged, match="bytes long"):
            members(header(kind=b"x", size=size) + END)


@pytest.mark.parametrize("size", [0, 1, 511, 513, 1025, 8 * 2**30])
def test_a_wrong_size(size: int) -> None:
    lying = header(size=b"%011o\0" % size) if size < 8 * 2**30 else header(size=b"\x80" + size.to_bytes(11))
    with pytest.raises(ChunkDamaged):
        members(lying + b"x" * BLOCK + header(b"c") + END)


def test_nothing_lies_between_members() -> None:
    with pytest.raises(ChunkDamaged, match="between"):
        members(header(size=b"00000000001\0") + b"xy" + bytes(510) + END)


@pytest.mark.parametrize("end", [b"", bytes(1), bytes(511), ZERO_BLOCK, ZERO_BLOCK + bytes(511), ZERO_BLOCK + header()])
def test_the_end_is_two_zero_blocks(end: bytes) -> None:
    with pytest.raises(ChunkDamaged):
        members(header() + end)


@pytest.mark.parametrize("more", [b"\0", b"x", ZERO_BLOCK, header() + END])
def test_and_nothing_more(more: bytes) -> None:
    with pytest.raises(ChunkDamaged, match="goes on"):
        members(header() + END + more)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT])
def test_another_format(form: int) -> None:
    with pytest.raises(ChunkDamaged, match="another format"):
        members(tar_of([File("a", b"x")], form))
