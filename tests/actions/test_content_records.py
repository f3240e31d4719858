"""Content records in storage: written, read, cut off, copied. What they hold: tests/backups/test_content.py."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Generator, Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions import content_records
from airflow_provider_vectorbackup.actions.content_records import (
    RecordPlace,
    copy_records,
    is_record,
    opened_at,
    opened_record,
    places_beside,
    record_key,
    write_record,
)
from airflow_provider_vectorbackup.backups.content import (
    CollectionContent,
    Moment,
    RecordHead,
    SampledVector,
    SearchAnswer,
)
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor, InvalidRequest, ObjectNotFound
from airflow_provider_vectorbackup.storage.store import PIECE_BYTES
from tests.actions.copies import SMALL, Copying, own
from tests.actions.stores import StoreOf
from tests.backups.contents import an_object, collection_of, tenant_of

BEFORE, AFTER = (f"x1/_vectorbackup/content-{moment}.jsonl.gz" for moment in ("before", "after"))
OTHERS = ("x1/_vectorbackup/verify-quick.json", "x1/backup_config.json", "x10/_vectorbackup/content-before.jsonl.gz")
HEAD = RecordHead("2026-11-22T03:00:00+00:00", "1.39.2", ("Bus", "Car", "Van"), {"Auto": "Car"})
FOUND = (
    collection_of(name="Bus"),
    collection_of(
        tenant_of("Asia", 3, [an_object("a"), an_object("b")], [SearchAnswer("a", "", (("a", 0.0), ("b", 0.5)))]),
        tenant_of("Europe", None, activity="COLD"),
        name="Car",
    ),
    collection_of(tenant_of("", 7, [an_object("c", title=[0.5], body=[1.0, 2.0])]), name="Van", ef=64),
)
LINES = [HEAD.to_json(), *(found.to_json() for found in FOUND), {"end": 3}]


class DrippingStore(StoreOf):
    """Streams seven bytes at a time."""

    def stream(
        self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None
    ) -> Generator[bytes, None, None]:
        content = b"".join(super().stream(key, start=start, end=end, etag=etag))
        yield from (content[at : at + 7] for at in range(0, len(content), 7))


@pytest.fixture
def store(tmp_path: Path) -> StoreOf:
    return StoreOf(tmp_path, {})


@pytest.fixture(params=[StoreOf, DrippingStore])
def any_store(tmp_path: Path, request: pytest.FixtureRequest) -> StoreOf:
    """One whose pieces are large, and one whose pieces end anywhere."""
    made: StoreOf = request.param(tmp_path, {})
    return made


def read_whole(store: StoreOf, key: str = BEFORE) -> tuple[RecordHead, tuple[CollectionContent, ...]]:
    with opened_record(store, key) as record:
        return record.head, tuple(record.collections)


def put(store: StoreOf, content: bytes) -> None:
    store.write(BEFORE, [content], len(content))


def packed(*lines: Any) -> bytes:
    return gzip.compress(
        b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    )


def written(store: StoreOf, key: str = BEFORE) -> bytes:
    """Write the record; return what lies there then."""
    write_record(store, key, HEAD, FOUND)
    content = store.read(key)
    assert content
    return content


class TestWritten:
    def test_is_read_as_it_was(self, any_store: StoreOf) -> None:
        written(any_store)
        assert read_whole(any_store) == (HEAD, FOUND)

    def test_is_gzipped_lines_of_json(self, store: StoreOf) -> None:
        lines = gzip.decompress(written(store)).splitlines()
        assert [json.loads(line) for line in lines] == json.loads(json.dumps(LINES))

    def test_is_the_same_for_the_same_contents(self, store: StoreOf) -> None:
        assert written(store, BEFORE) == written(store, AFTER)

    def test_of_no_collection(self, store: StoreOf) -> None:
        write_record(store, BEFORE, HEAD, ())
        assert read_whole(store) == (HEAD, ())

    def test_larger_than_pieces_and_memory(self, store: StoreOf, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(content_records, "_IN_MEMORY_BYTES", 1000)
        noise = Random(1)
        many = [an_object(f"{number}", title=[noise.random() for _ in range(64)]) for number in range(2000)]
        big = [collection_of(tenant_of("t", 9, many), name=f"Car{number}") for number in range(3)]
        write_record(store, BEFORE, HEAD, iter(big))
        assert read_whole(store) == (HEAD, tuple(big))
        assert next(store.list_objects()).size_bytes > 4 * PIECE_BYTES

    def test_is_not_to_be_seen_before_it_is_whole(self, store: StoreOf) -> None:
        def breaking() -> Iterable[CollectionContent]:
            yield FOUND[0]
            raise RuntimeError("The server went away.")

        with pytest.raises(RuntimeError):
            write_record(store, BEFORE, HEAD, breaking())
        assert list(store.list_objects()) == []

    def test_later_one_takes_the_place_of_an_earlier(self, store: StoreOf) -> None:
        written(store)
        write_record(store, BEFORE, HEAD, FOUND[:1])
        assert read_whole(store) == (HEAD, FOUND[:1])

    def test_is_read_one_collection_after_the_other(self, store: StoreOf) -> None:
        written(store)
        with opened_record(store, BEFORE) as record:
            assert next(record.collections) == FOUND[0]

    def test_one_that_is_not_there(self, store: StoreOf) -> None:
        with pytest.raises(ObjectNotFound), opened_record(store, BEFORE):
            pytest.fail("opened")


class TestDamaged:
    def test_cut_off_anywhere_is_never_taken_for_a_shorter_one(self, any_store: StoreOf) -> None:
        content = written(any_store)
        refused = 0
        for length in range(len(content)):
            put(any_store, content[:length])
            try:
                assert read_whole(any_store) == (HEAD, FOUND)
            except BrokenDescriptor as error:
                assert re.search(r"is empty|is cut off|can't be read", error.message)  # noqa: PT017
                refused += 1
        assert refused == len(content)

    def test_with_any_byte_changed_is_never_taken_for_another(self, store: StoreOf) -> None:
        content = written(store)
        refused = 0
        for place in range(len(content)):
            for flipped in (0x01, 0xFF):
                put(store, content[:place] + bytes([content[place] ^ flipped]) + content[place + 1 :])
                try:
                    assert read_whole(store) == (HEAD, FOUND)
                except BrokenDescriptor:
                    refused += 1
        assert refused > 1.9 * len(content)

    @pytest.mark.parametrize("rest", [b"x", b"\n{}\n", b"\0" * 100])
    def test_what_follows_changes_nothing(self, any_store: StoreOf, rest: bytes) -> None:
        put(any_store, written(any_store) + rest)
        assert read_whole(any_store) == (HEAD, FOUND)

    def test_lines_after_the_last_are_refused(self, any_store: StoreOf) -> None:
        put(any_store, packed(*LINES, LINES[1], {"end": 4}))
        with pytest.raises(BrokenDescriptor, match="goes on after its end"):
            read_whole(any_store)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"x",
            b"{}",
            json.dumps(HEAD.to_json()).encode() + b"\n" + json.dumps({"end": 0}).encode() + b"\n",
            b"\x1f\x8b",
            b"\0" * 300_000,
            packed(),
            packed(b"\n"),
            packed(b"no JSON\n"),
            packed(b"\xff\xfe\n"),
            packed(b"[" * 100_000 + b"\n"),
            packed([]),
            packed(None),
            packed("head"),
            packed({}),
            packed({"end": 0}),
        ],
    )
    def test_what_is_no_record(self, any_store: StoreOf, content: bytes) -> None:
        put(any_store, content)
        with pytest.raises(BrokenDescriptor):
            read_whole(any_store)

    @pytest.mark.parametrize(
        ("lines", "text"),
        [
            (LINES[:-1], "is cut off after 3 collections"),
            (LINES[:1], "is cut off after 0 collections"),
            ([*LINES[:3], LINES[4]], "lacks collections: 2 of 3 are there"),
            ([LINES[0], LINES[4]], "lacks collections: 0 of 3 are there"),
            ([*LINES[:4], LINES[3], LINES[4]], "lacks collections: 4 of 3 are there"),
            ([*LINES[:4], {"end": None}], "lacks collections: 3 of None are there"),
            ([*LINES[:2], 7, LINES[4]], "can't be read"),
            ([*LINES[:2], None, LINES[4]], "can't be read"),
            ([*LINES[:2], {}, LINES[4]], "can't be read"),
            ([*LINES[:2], b"{\n", LINES[4]], "can't be read"),
            ([*LINES[:2], b"\n", LINES[4]], "can't be read"),
        ],
    )
    def test_what_lacks_a_line_or_has_an_odd_one(self, any_store: StoreOf, lines: list[Any], text: str) -> None:
        put(any_store, packed(*lines))
        with pytest.raises(BrokenDescriptor, match=text):
            read_whole(any_store)


LOCATIONS = (
    "file:///mnt/backups",
    "file:///mnt",
    "s3://aws_default@bucket/prefix",
    "s3://aws_default@bucket/a/b",
    "s3://aws_default@bucket",
    "s3://bucket/prefix",
    "s3://bucket",
    "gs://google_cloud_default@bucket/prefix",
    "gs://bucket",
    "azure://wasb_default@container/prefix",
    "azure://container",
)


class TestPlace:
    @pytest.mark.parametrize("moment", Moment)
    @pytest.mark.parametrize("uri", LOCATIONS)
    def test_uri_is_read_as_it_was_told(self, uri: str, moment: Moment) -> None:
        place = RecordPlace.beside(Location.parse(uri), "x1", moment)
        assert place.uri == f"{uri}/x1/_vectorbackup/content-{moment}.jsonl.gz"
        assert RecordPlace.parse(place.uri) == place
        assert is_record(place.uri)
        assert not is_record(f"{uri}/x1")

    @pytest.mark.parametrize(
        "uri",
        [
            "",
            "None",
            "x1",
            "s3://bucket/x1",
            "s3://bucket/x1/_vectorbackup",
            "s3://bucket/x1/_vectorbackup/",
            "/_vectorbackup/content-before.jsonl.gz",
            "x1/_vectorbackup/content-before.jsonl.gz",
            "s3://x1/_vectorbackup/content-before.jsonl.gz",
            "s3://bucket/Bad Id/_vectorbackup/content-before.jsonl.gz",
            "s3://bucket//_vectorbackup/content-before.jsonl.gz",
            "http://bucket/x1/_vectorbackup/content-before.jsonl.gz",
            "s3://user:secret@bucket/x1/_vectorbackup/content-before.jsonl.gz",
            "file://host/x1/_vectorbackup/content-before.jsonl.gz",
            "file:///a/../x1/_vectorbackup/content-before.jsonl.gz",
        ],
    )
    def test_what_is_no_uri_of_a_record(self, uri: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            RecordPlace.parse(uri)
        assert "secret" not in str(caught.value)

    def test_uri_that_leaves_the_backup_is_not_opened(self, store: StoreOf, tmp_path: Path) -> None:
        (tmp_path.parent / "outside").write_bytes(packed(*LINES))
        place = RecordPlace.parse(f"file://{tmp_path}/x1/_vectorbackup/../../../outside")
        with pytest.raises((InvalidRequest, BrokenDescriptor), match="is no key"), opened_at(place, store.open):
            pytest.fail("opened")

    @pytest.mark.parametrize("backup_id", ["", "Bad Id", "../x1"])
    def test_key_of_what_is_no_id(self, backup_id: str) -> None:
        with pytest.raises(InvalidRequest, match="is not a backup id"):
            record_key(backup_id, Moment.BEFORE)

    def test_is_opened_where_it_lies(self, store: StoreOf) -> None:
        written(store)
        place = RecordPlace.parse(f"s3://aws_default@bucket/prefix/{BEFORE}")
        with opened_at(place, store.open) as record:
            assert (record.head, tuple(record.collections)) == (HEAD, FOUND)
        assert store.opened == [Location.parse("s3://aws_default@bucket/prefix")]


class TestBeside:
    LOCATION = Location.parse("s3://aws_default@bucket/prefix")

    @pytest.mark.parametrize("keys", [[BEFORE], [AFTER], [BEFORE, AFTER]])
    def test_there_are_those_before_and_after_or_one(self, tmp_path: Path, keys: list[str]) -> None:
        store = StoreOf(tmp_path, dict.fromkeys([*OTHERS, *keys], b"x"))
        found = places_beside(store, self.LOCATION, "x1")
        assert found == tuple(RecordPlace(self.LOCATION, key) for key in keys)

    def test_there_are_none(self, tmp_path: Path) -> None:
        store = StoreOf(tmp_path, dict.fromkeys(OTHERS, b"x"))
        with pytest.raises(
            ObjectNotFound, match=r"no content record beside s3://aws_default@bucket/prefix/x1"
        ) as caught:
            places_beside(store, self.LOCATION, "x1")
        assert "content_record=True" in caught.value.hint


class TestCopied:
    @pytest.fixture
    def ends(self, tmp_path: Path) -> tuple[StoreOf, StoreOf]:
        for name in ("source", "target"):
            (tmp_path / name).mkdir()
        return StoreOf(tmp_path / "source", {}), StoreOf(tmp_path / "target", {})

    @pytest.mark.parametrize("keys", [[], [AFTER], [BEFORE, AFTER]])
    def test_records_and_nothing_else(self, ends: tuple[StoreOf, StoreOf], keys: list[str]) -> None:
        source, target = ends
        for key in (*OTHERS, *keys):
            source.create(key, key.encode())
        if keys:
            target.create(AFTER, b"an earlier one")
        copy_records(source, target, "x1")
        assert {found.key: target.read(found.key) for found in target.list_objects()} == {
            key: key.encode() for key in keys
        }

    def test_whole_ones_of_any_size(self, ends: tuple[StoreOf, StoreOf]) -> None:
        source, target = ends
        content = bytes(range(256)) * 3000
        source.create(BEFORE, content)
        copy_records(source, target, "x1")
        assert target.read(BEFORE) == content

    def test_copied_backup_has_its_records_too(self, tmp_path: Path) -> None:
        copying = Copying(tmp_path, SMALL)
        place = RecordPlace.beside(Location.parse("file:///source"), "second", Moment.BEFORE)
        write_record(copying.source, place.key, HEAD, FOUND)
        copying.copy("second")
        assert place.key in own(copying.target, "second")
        with opened_record(copying.target, place.key) as record:
            assert (record.head, tuple(record.collections)) == (HEAD, FOUND)
        assert copying.copy("second").copied == ()


def test_vectors_keep_their_bits() -> None:
    """What is compared months later is compared to the bit."""
    values = [0.1, 1 / 3, -7.25e-30, 3.4e38]
    vector = SampledVector.of(values)
    stored = SampledVector.from_json(json.loads(json.dumps(vector.to_json())))
    assert stored.values.tobytes() == vector.values.tobytes()
