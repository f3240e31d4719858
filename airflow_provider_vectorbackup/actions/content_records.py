"""Content records in storage: gzipped lines of JSON beside the backup that they are of.

The first line is the head, then one a collection; the last line says how many there were, so that a record which is cut
off is none.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import Any

from airflow_provider_vectorbackup.actions.evidence import OpenStore
from airflow_provider_vectorbackup.backups.content import CollectionContent, Moment, RecordHead
from airflow_provider_vectorbackup.backups.ids import require_legal_id
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor, InvalidRequest, ObjectNotFound
from airflow_provider_vectorbackup.storage.store import PIECE_BYTES, Store
from airflow_provider_vectorbackup.transfer.reading import read_through
from airflow_provider_vectorbackup.weaviate.layout import OWN_FOLDER

_NAME = "content-{}.jsonl.gz"
_IN_MEMORY_BYTES = 8 * 2**20
_GZIP = zlib.MAX_WBITS | 16
_END = "end"


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """Where a record lies.

    :param location: of the backup.
    :param key: in it.
    """

    location: Location
    key: str

    @classmethod
    def beside(cls, location: Location, backup_id: str, moment: Moment) -> RecordPlace:
        """Return the place of a record beside a backup."""
        return cls(location, record_key(backup_id, moment))

    @classmethod
    def parse(cls, uri: str) -> RecordPlace:
        """Read the URI of a record.

        :raises InvalidRequest: it is none.
        """
        folder, _, rest = str(uri).partition(f"/{OWN_FOLDER}/")
        if not rest:
            raise InvalidRequest(
                f"{uri!r} is not the URI of a content record.",
                hint="Give the uri that the task which recorded it returned, or the URI of a backup.",
            )
        location, backup_id = Location.of_backup(folder)
        return cls(location, f"{require_legal_id(backup_id)}/{OWN_FOLDER}/{rest}")

    @property
    def uri(self) -> str:
        """As :meth:`parse` reads it."""
        return self.location.uri_of(self.key)


@dataclass(frozen=True, slots=True)
class Record:
    """A record that is being read; its collections can be gone through once."""

    head: RecordHead
    collections: Iterator[CollectionContent]


def is_record(uri: str) -> bool:
    """Whether a URI is one of a record, not of a backup."""
    return f"/{OWN_FOLDER}/" in uri


def record_key(backup_id: str, moment: Moment) -> str:
    """Return where a record lies in its location."""
    return f"{require_legal_id(backup_id)}/{OWN_FOLDER}/{_NAME.format(moment)}"


def record_prefix(backup_id: str) -> str:
    """Return what the keys of a backup's records begin with."""
    return f"{backup_id}/{OWN_FOLDER}/{_NAME.partition('{')[0]}"


def write_record(store: Store, key: str, head: RecordHead, collections: Iterable[CollectionContent]) -> None:
    """Write a record, one collection after the other; it can be seen once it is whole."""
    with SpooledTemporaryFile(_IN_MEMORY_BYTES) as scratch:
        with gzip.GzipFile(fileobj=scratch, mode="wb", mtime=0) as packed:
            packed.write(_line(head.to_json()))
            count = 0
            for collection in collections:
                packed.write(_line(collection.to_json()))
                count += 1
            packed.write(_line({_END: count}))
        size_bytes = scratch.tell()
        scratch.seek(0)
        store.write(key, iter(lambda: scratch.read(PIECE_BYTES), b""), size_bytes)


@contextmanager
def opened_record(store: Store, key: str) -> Iterator[Record]:
    """Yield a record, read as it is gone through.

    :raises ObjectNotFound: there is none.
    :raises BrokenDescriptor: it can't be read; also later, of a collection.
    """
    with closing(store.stream(key)) as pieces:
        lines = _lines(key, pieces)
        first = next(lines, None)
        if not isinstance(first, dict):
            raise BrokenDescriptor(f"The content record {key} is empty.")
        yield Record(RecordHead.from_json(first), _collections(key, lines))


@contextmanager
def opened_at(place: RecordPlace, open_store: OpenStore) -> Iterator[Record]:
    """Yield a record, wherever it lies.

    :raises ObjectNotFound: there is none.
    """
    with closing(open_store(place.location)) as store, opened_record(store, place.key) as record:
        yield record


def places_beside(store: Store, location: Location, backup_id: str) -> tuple[RecordPlace, ...]:
    """Return the records beside a backup: those of before and after it, or what there is of them.

    :raises ObjectNotFound: there is none.
    """
    listed = {stored.key for stored in store.list_objects(record_prefix(backup_id))}
    keys = [key for moment in Moment if (key := record_key(backup_id, moment)) in listed]
    if not keys:
        raise ObjectNotFound(
            f"There is no content record beside {location.uri_of(backup_id)}.",
            hint="Make the backup with content_record=True, or name a record.",
            backup_id=backup_id,
        )
    return tuple(RecordPlace(location, key) for key in keys)


def copy_records(source: Store, target: Store, backup_id: str) -> None:
    """Copy the records beside a backup."""
    for stored in list(source.list_objects(record_prefix(backup_id))):
        target.write(stored.key, read_through(source, stored), stored.size_bytes)


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _collections(key: str, lines: Iterator[Any]) -> Iterator[CollectionContent]:
    count = 0
    for line in lines:
        if isinstance(line, dict) and _END in line:
            if line[_END] != count:
                raise BrokenDescriptor(
                    f"The content record {key} lacks collections: {count} of {line[_END]} are there."
                )
            if next(lines, None) is not None:
                raise BrokenDescriptor(f"The content record {key} goes on after its end.")
            return
        yield CollectionContent.from_json(line)
        count += 1
    raise BrokenDescriptor(f"The content record {key} is cut off after {count} collections.")


def _lines(key: str, pieces: Iterable[bytes]) -> Iterator[Any]:
    """Yield the lines of a gzipped file of JSON, decoded.

    :raises BrokenDescriptor: it is none.
    """
    unpacking, rest = zlib.decompressobj(_GZIP), bytearray()
    try:
        for piece in pieces:
            rest += unpacking.decompress(piece)
            *whole, last = rest.split(b"\n")
            rest = bytearray(last)
            yield from map(json.loads, whole)
    except InvalidRequest:
        raise
    except (zlib.error, ValueError, RecursionError) as error:
        raise BrokenDescriptor(f"The content record {key} can't be read: {error}.") from error
    if not unpacking.eof:
        raise BrokenDescriptor(f"The content record {key} is cut off.")
