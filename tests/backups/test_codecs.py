from __future__ import annotations

import gzip
import io
import tarfile

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.codecs import Codec, is_plausible


def archive(size: int | None) -> bytes:
    """Return a tar with one file of zeros, or with none, that ends as the server's do."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        if size is not None:
            member = tarfile.TarInfo("article/s1/big.db")
            member.size = size
            tar.addfile(member, io.BytesIO(bytes(size)))
        end = tar.offset
    return packed.getvalue()[:end].ljust(end + 1024, b"\0")


def compressed(codec: Codec, content: bytes) -> bytes:
    if codec is Codec.GZIP:
        return gzip.compress(content, 9)
    return zstd.compress(content, 19) if codec is Codec.ZSTD else content


@pytest.mark.parametrize("codec", Codec)
def test_archive_without_files_is_plausible(codec: Codec) -> None:
    assert is_plausible(codec, len(compressed(codec, archive(None))))


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("size", [0, 1, 100_000, 8_000_000])
def test_what_shrinks_most_is_plausible(codec: Codec, size: int) -> None:
    """Zeros, at the highest level: real files shrink less."""
    assert is_plausible(codec, len(compressed(codec, archive(size))), size)


@pytest.mark.parametrize("codec", Codec)
def test_what_is_empty_or_cut_off_early_is_not(codec: Codec) -> None:
    assert not is_plausible(codec, 0)
    assert not is_plausible(codec, 8)


@pytest.mark.parametrize(("codec", "least"), [(Codec.GZIP, 909), (Codec.ZSTD, 20), (Codec.NONE, 1_000_000)])
def test_file_that_can_not_be_in_so_few_bytes(codec: Codec, least: int) -> None:
    assert not is_plausible(codec, least, 1_000_001)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_tar_has_whole_blocks(size: int, file_bytes: int) -> None:
    assert is_plausible(Codec.NONE, size, file_bytes) == (size % 512 == 0 and size >= max(1024, file_bytes))
