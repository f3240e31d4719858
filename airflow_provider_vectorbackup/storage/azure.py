"""Azure Blob Storage: the extra ``azure``."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from operator import attrgetter

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import (
    InvalidRequest,
    ObjectChanged,
    ObjectNotFound,
    StorageError,
    StorageUnreachable,
)
from airflow_provider_vectorbackup.storage.azure_access import AzureAccess
from airflow_provider_vectorbackup.storage.pieces import exactly
from airflow_provider_vectorbackup.storage.store import (
    CONNECTIONS,
    LARGEST_READ_BYTES,
    PIECE_BYTES,
    Lock,
    Part,
    StoredObject,
    UnfinishedUpload,
    key_of_name,
    name_in_bucket,
    prefix_in_bucket,
    too_large,
    undeletable,
    undeleted,
    unlistable,
    unreadable,
    unwritable,
)

try:
    from azure.storage.blob import BlobClient, BlobProperties, StorageStreamDownloader

    from airflow_provider_vectorbackup.storage.azure_blocks import PART_LIMITS, Source, Target, new_upload
    from airflow_provider_vectorbackup.storage.azure_locks import deletion_policy, lock_fields, lock_on, lock_policy
    from airflow_provider_vectorbackup.storage.azure_requests import (
        Fail,
        OutOfRange,
        attempt,
        deletion,
        only,
        open_service,
        own_reason,
        translated,
    )
except ModuleNotFoundError as missing:
    raise StorageError(
        f"Locations of Azure need a library that is not installed here: {missing.name}.",
        hint="Run: pip install 'airflow-provider-vectorbackup[azure]'",
    ) from missing

_DELETED_TOGETHER = 256

_FOLDER = "hdi_isfolder"
"""In the metadata of what is a folder in accounts with a hierarchical namespace."""

_IN_TWO_UNITS = re.compile("[\U00010000-\U0010ffff]")
"""Of UTF-16."""

_HELD = "Leases, snapshots and retention policies keep objects: end or remove them, or wait for their end."


class AzureStore:
    """The objects below a prefix of a container.

    Uploads have no ids here: a name has one set of uncommitted blocks. Where it has content too, they show nowhere, and
    Azure drops them with the next content or after a week.

    :raises InvalidRequest: the connection string, or the account's URL, is none.
    """

    part_limits = PART_LIMITS

    def __init__(self, location: Location, access: AzureAccess) -> None:
        self._location = location
        self._opened = ExitStack()
        self._service = open_service(access, self._opened)
        self._container = self._service.get_container_client(location.bucket)

    def list_objects(self, prefix: str = "") -> Generator[StoredObject, None, None]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        yield from _as_utf8(
            StoredObject(
                key_of_name(self._location, blob.name),
                blob.size,
                blob.etag.strip('"'),
                blob.last_modified.astimezone(UTC),
            )
            for blob in self._listed_objects(prefix)
        )

    def read(self, key: str) -> bytes | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        fail, blob = partial(unreadable, self._location, key), self._blob(key)
        try:
            download = _download(fail, blob)
        except ObjectNotFound:
            return None
        if download and download.size > LARGEST_READ_BYTES:
            raise too_large(self._location, key)
        return attempt(fail, download.readall) if download else b""

    def stream(
        self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None
    ) -> Generator[bytes, None, None]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        fail, blob = partial(unreadable, self._location, key), self._blob(key)
        if start == end or (start and end is None):  # Azure refuses a range that begins at the end
            found = attempt(fail, partial(blob.get_blob_properties, **only(etag)))
            end, etag = found.size if end is None else end, found.etag
            if start == end:
                return
        if end is not None and end < start:
            raise fail(f"it has {end} bytes, and none from {start} on")
        download = _download(fail, blob, start, end, etag)
        left = download.size if download else 0
        if end is not None and left != end - start:
            raise fail(f"it has {start + left} bytes, not {end}")
        chunks = iter(download.chunks() if download else ())
        while chunk := attempt(fail, partial(next, chunks, b"")):
            left -= len(chunk)
            for begin in range(0, len(chunk), PIECE_BYTES):
                yield chunk[begin : begin + PIECE_BYTES]
        if left:
            raise fail(f"{left} bytes of it did not come", kind=StorageUnreachable)

    def write(self, key: str, pieces: Iterable[bytes], size_bytes: int) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        return self._target(key).write(exactly(self._location, key, pieces, size_bytes), size_bytes)

    def create(self, key: str, content: bytes) -> bool:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        fail, blob = partial(unwritable, self._location, key), self._blob(key)
        try:
            attempt(fail, partial(blob.upload_blob, content, overwrite=False, validate_content=True))
        except ObjectChanged as taken:
            try:
                there = _download(fail, blob)
                if there is None or there.size != len(content):
                    return there is None and not content
                return attempt(fail, there.readall) == content
            except ObjectNotFound:
                raise taken from None  # gone again
        return True

    def delete(self, keys: Iterable[str]) -> None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`.

        One request each: a batch's answers could be told apart by their order only, which Azure does not promise. An
        object with snapshots stays: somebody made them to keep it.
        """
        reasons: dict[str, str] = {}
        remaining = iter(keys)
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            while some := {key: self._blob(key).delete_blob for key in islice(remaining, _DELETED_TOGETHER)}:
                for key, error in zip(some, threads.map(deletion, some.values()), strict=True):
                    if error and (reason := own_reason(error)):
                        reasons[key] = reason
                    elif error:
                        raise translated(partial(undeletable, self._location, key), error)
        if reasons:
            raise undeleted(self._location, reasons, _HELD)

    def begin_upload(self, key: str, size_bytes: int, scratch: str) -> str:  # noqa: ARG002 - the protocol's
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`; Azure itself begins with the first part."""
        _name(self._location, key)
        return new_upload()

    def put_part(self, key: str, upload_id: str, part: Part, pieces: Iterable[bytes]) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`.

        Not whether the upload is there: that is for its end to tell.
        """
        target = self._target(key)
        content = b"".join(exactly(self._location, key, pieces, part.size_bytes))
        return target.put(upload_id, part.number, content)

    def finish_upload(self, key: str, upload_id: str, size_bytes: int, receipts: Sequence[str]) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        return self._target(key).finish(upload_id, size_bytes, receipts)

    def copy(self, source: Location, key: str, target_key: str, *, listed: StoredObject | None = None) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`.

        Not by Azure's copies in the background, which replace the target before it is whole.
        """
        original = self._service.get_blob_client(source.bucket, _name(source, key))
        return self._target(target_key).copy(Source(self._service, original, partial(unreadable, source, key)), listed)

    def settle(self) -> None:
        """Do nothing: what was answered is kept."""

    def lock_policy(self) -> str | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        return self._policy(partial(lock_policy, container=self._container))

    def list_locks(self, prefix: str = "") -> Iterator[Lock]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`.

        An immutability policy of a container as a whole counts for all objects, and may have ended: Azure tells neither
        its length nor from when it counts, but to those who manage the account.
        """
        container = attempt(partial(unlistable, self._location, prefix), self._container.get_container_properties)
        if (fields := lock_fields(container)) is None:
            return
        now = datetime.now(UTC)
        for blob in self._listed_objects(prefix, *fields):
            if lock := lock_on(key_of_name(self._location, blob.name), blob, container, now):
                yield lock

    def deletion_policy(self) -> str | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        listed = self._listed_objects("")
        return self._policy(partial(deletion_policy, service=self._service, container=self._container, listed=listed))

    def list_unfinished_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        for blob in self._listed(prefix, "uncommittedblobs"):
            key = key_of_name(self._location, blob.name)
            exists = self._container.get_blob_client(blob.name).exists
            if blob.size == 0 and not attempt(partial(unlistable, self._location, key), exists):
                yield UnfinishedUpload(key, blob.name, blob.creation_time or blob.last_modified)

    def abort(self, upload: UnfinishedUpload) -> None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        self._target(upload.key).free()

    def close(self) -> None:
        """Close connections."""
        self._opened.close()

    def _blob(self, key: str) -> BlobClient:
        return self._container.get_blob_client(_name(self._location, key))

    def _target(self, key: str) -> Target:
        return Target(self._container, self._blob(key), partial(unwritable, self._location, key))

    def _policy(self, tell: Callable[[Fail], str | None]) -> str | None:
        """Return what is told of a policy, None where the identity may not look."""
        try:
            return tell(partial(unreadable, self._location, ""))
        except StorageError as error:
            if error.retryable:
                raise
            return None

    def _listed_objects(self, prefix: str, *include: str) -> Iterator[BlobProperties]:
        for blob in self._listed(prefix, "metadata", *include):
            if not (blob.name.endswith("/") or _FOLDER in {name.lower() for name in blob.metadata or ()}):
                yield blob

    def _listed(self, prefix: str, *include: str) -> Iterator[BlobProperties]:
        fail = partial(unlistable, self._location, prefix)
        name = prefix_in_bucket(self._location, prefix)
        blobs = iter(self._container.list_blobs(name_starts_with=name, include=list(include)))
        while blob := attempt(fail, partial(next, blobs, None)):
            yield blob


def _name(location: Location, key: str) -> str:
    name = name_in_bucket(location, key)
    if "\\" in key:  # under the name with a slash there may be another object
        raise InvalidRequest(f"{key!r} can't be a key in {location}: Azure takes a backslash for a slash.")
    return name


def _download(
    fail: Fail, blob: BlobClient, start: int = 0, end: int | None = None, etag: str | None = None
) -> StorageStreamDownloader[bytes] | None:
    """Begin to read an object as it lies there, all of it from the same content; None where that is empty.

    Without a range, the library would ask for the empty object once more, and leave that answer's connection open.
    """
    length = None if end is None else end - start
    try:
        return attempt(fail, lambda: blob.download_blob(start, length, decompress=False, **only(etag)))
    except OutOfRange:
        if start or attempt(fail, partial(blob.get_blob_properties, **only(etag))).size:
            raise
    return None


def _as_utf8(objects: Iterable[StoredObject]) -> Iterator[StoredObject]:
    """Yield what may be in the order of its keys as UTF-16 in that of UTF-8.

    They differ only in where characters beyond U+FFFF stand, so that only keys with such are held back.
    """
    held: list[tuple[str, StoredObject]] = []
    for each in objects:
        passed = [one for before, one in held if not each.key.startswith(before)]
        yield from sorted(passed, key=_key)
        held = [(before, one) for before, one in held if each.key.startswith(before)]
        if beyond := _IN_TWO_UNITS.search(each.key):
            held.append((each.key[: beyond.start()], each))
        else:
            yield each
    yield from sorted((one for _, one in held), key=_key)


_key = attrgetter("key")
