"""Google Cloud Storage."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import islice
from typing import Any

import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError, TransportError

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import (
    ObjectChanged,
    ObjectNotFound,
    StorageError,
    StorageUnreachable,
)
from airflow_provider_vectorbackup.storage.gcs_answers import Stored
from airflow_provider_vectorbackup.storage.gcs_client import CREDENTIALS, GCSAccess, credentials_of, open_client
from airflow_provider_vectorbackup.storage.gcs_locks import (
    DELETION_POLICY_FIELDS,
    LOCK_FIELDS,
    LOCK_POLICY_FIELDS,
    deletion_policy_in,
    lock_on,
    lock_policy_in,
)
from airflow_provider_vectorbackup.storage.gcs_parts import (
    Component,
    components,
    compose,
    key_of_part,
    new_upload,
    receipt_of,
    require_upload,
)
from airflow_provider_vectorbackup.storage.gcs_requests import BATCH, FAILURES, PATIENCE, Requests
from airflow_provider_vectorbackup.storage.pieces import collected, exactly, in_parts
from airflow_provider_vectorbackup.storage.store import (
    PART_BYTES,
    Lock,
    Part,
    PartLimits,
    StoredObject,
    UnfinishedUpload,
    key_of_name,
    name_in_bucket,
    prefix_in_bucket,
    require_key,
    undeletable,
    undeleted,
    unlistable,
    unreadable,
    unwritable,
)

__all__ = ["GCSAccess", "GCSStore"]

SMALL_BYTES = 2**20
"""Up to this size, an object is kept while it is sent, and sent again where that fails in passing."""

_HINTS = {401: CREDENTIALS, 404: "Look at the bucket in the location."}
"""By HTTP status."""

_PERMISSIONS: dict[Callable[..., StorageError], str] = {
    unreadable: "The identity needs storage.objects.get and storage.objects.list: without the latter, Google does not "
    "tell whether an object is there.",
    unlistable: "The identity needs storage.objects.list.",
    unwritable: "The identity needs storage.objects.create, and storage.objects.delete where it replaces an object.",
    undeletable: "The identity needs storage.objects.delete.",
}
"""What a refusal hints at."""

_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
"""Beside all from 500 on."""

_ABSENT = "there is no such object"
_AROUND_THE_MESSAGE = re.compile(r"^[A-Z]+ \S+: ")
"""What the library adds to the server's own words."""

_QUERY = re.compile(r"\?\S+")
"""In a URL, where the id of an upload stands: it allows anybody to go on with it."""


class _OfTheSource(Exception):
    """Carries an error of the pieces to be written past those of Google, whose type it may have."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(failure)
        self.failure = failure


class GCSStore:
    """The objects below a prefix of a bucket.

    :raises InvalidRequest: the key is none.
    :raises StorageError: no credentials were found.
    """

    part_limits = PartLimits(whole_bytes=128 * 2**20, least_bytes=64 * 2**20, most_parts=1024, is_buffered=False)

    def __init__(self, location: Location, access: GCSAccess) -> None:
        self._location = location
        credentials = credentials_of(access)
        try:
            self._client = open_client(credentials)
            self._requests = Requests(self._client)
        except (*FAILURES, ValueError) as error:
            raise StorageError(f"{location} can't be opened: {error}", hint=CREDENTIALS) from error

    def list_objects(self, prefix: str = "") -> Generator[StoredObject, None, None]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`; an etag is Google's generation."""
        for found in self._listed(prefix, "nextPageToken,items(name,size,generation,timeCreated)"):
            key = key_of_name(self._location, found.name)
            yield StoredObject(key, found.size, str(found.generation), found.time_created)

    def read(self, key: str) -> bytes | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        return collected(self._location, key, self.stream(key))

    def stream(
        self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None
    ) -> Generator[bytes, None, None]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        name = name_in_bucket(self._location, key)
        try:
            yield from self._requests.download(self._location.bucket, name, start, end, etag)
        except exceptions.NotFound:
            if self._is_there(self._location, key):
                raise unreadable(self._location, key, "it changed while it was read", kind=StorageUnreachable) from None
            raise unreadable(self._location, key, _ABSENT, kind=ObjectNotFound) from None
        except exceptions.PreconditionFailed as error:
            raise unreadable(self._location, key, "it was written anew", kind=ObjectChanged) from error
        except FAILURES as error:
            raise _translated(self._location, key, error) from error

    def write(self, key: str, pieces: Iterable[bytes], size_bytes: int) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        return self._written(key, pieces, size_bytes).generation

    def create(self, key: str, content: bytes) -> bool:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        name = name_in_bucket(self._location, key)
        try:
            self._requests.insert(self._location.bucket, name, content, replace=False)
        except exceptions.PreconditionFailed:
            return self.read(key) == content
        except FAILURES as error:
            raise _translated(self._location, key, error, unwritable) from error
        return True

    def delete(self, keys: Iterable[str]) -> None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        remaining, reasons, hint, has_bucket = iter(keys), dict[str, str](), "", False
        while batch := {name_in_bucket(self._location, key): key for key in islice(remaining, BATCH)}:
            for name, error in self._delete(batch).items():
                if not isinstance(error, exceptions.NotFound):
                    reasons[batch[name]], hint, _ = _told(error, undeletable)
                elif not has_bucket:
                    self._is_there(self._location, batch[name])
                    has_bucket = True
        if reasons:
            raise undeleted(self._location, reasons, hint)

    def begin_upload(self, key: str, size_bytes: int, scratch: str) -> str:  # noqa: ARG002 - the protocol's
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`; parts are objects, which a listing shows."""
        require_key(key)
        return new_upload(scratch)

    def put_part(self, key: str, upload_id: str, part: Part, pieces: Iterable[bytes]) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`.

        Not whether the upload is there: that is for its end to tell.
        """
        require_key(key)
        return receipt_of(self._written(key_of_part(upload_id, part.number), pieces, part.size_bytes))

    def finish_upload(self, key: str, upload_id: str, size_bytes: int, receipts: Sequence[str]) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        bucket, name = self._location.bucket, name_in_bucket(self._location, key)
        folder = name_in_bucket(self._location, require_upload(upload_id))
        missing = unwritable(self._location, key, "a part of it is missing", kind=ObjectNotFound)
        parts = self._components(upload_id, receipts)
        if not parts or sum(part.stored.size_bytes for part in parts) != size_bytes:
            raise missing
        try:
            stored = compose(self._requests, bucket, parts, folder, name)
        except (exceptions.NotFound, exceptions.PreconditionFailed) as error:
            raise missing from error
        except FAILURES as error:
            raise _translated(self._location, key, error, unwritable) from error
        with suppress(StorageError):  # the object is there; a listing shows what is left
            self.abort(UnfinishedUpload(key, upload_id))
        return stored.generation

    def copy(self, source: Location, key: str, target_key: str, *, listed: StoredObject | None = None) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        name, target_name = name_in_bucket(source, key), name_in_bucket(self._location, target_key)
        etag = listed.etag if listed else None
        try:
            return self._requests.rewrite(source.bucket, name, self._location.bucket, target_name, etag).generation
        except (exceptions.NotFound, exceptions.PreconditionFailed) as error:
            if not (found := self._generation(source, key)):
                raise unreadable(source, key, _ABSENT, kind=ObjectNotFound) from None
            if etag not in (None, found):
                raise unreadable(source, key, "it was written anew", kind=ObjectChanged) from error
            raise _translated(self._location, target_key, error, unwritable) from error
        except FAILURES as error:
            raise _translated(self._location, target_key, error, unwritable) from error

    def settle(self) -> None:
        """Do nothing: what was answered is kept."""

    def lock_policy(self) -> str | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        return self._policy(LOCK_POLICY_FIELDS, lock_policy_in)

    def list_locks(self, prefix: str = "") -> Iterator[Lock]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        now = datetime.now(UTC)
        for found in self._listed(prefix, LOCK_FIELDS):
            if lock := lock_on(key_of_name(self._location, found.name), found, now):
                yield lock

    def deletion_policy(self) -> str | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        return self._policy(DELETION_POLICY_FIELDS, deletion_policy_in)

    def list_unfinished_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:  # noqa: ARG002 - the protocol's
        """Yield nothing: the parts of our uploads are objects, and Google tells no others."""
        yield from ()

    def abort(self, upload: UnfinishedUpload) -> None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        require_key(upload.key)
        folder = f"{require_upload(upload.upload_id)}/"
        self.delete([found.key for found in self.list_objects(folder)])

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def _listed(self, prefix: str, fields: str) -> Iterator[Any]:
        """Yield objects as Google's library has them, with these fields only."""
        name = prefix_in_bucket(self._location, prefix)
        try:
            for found in self._client.list_blobs(self._location.bucket, prefix=name, fields=fields, **PATIENCE):
                if not found.name.endswith("/"):
                    yield found
        except FAILURES as error:
            raise _translated(self._location, prefix, error, unlistable) from error

    def _policy(self, fields: str, words: Callable[[Mapping[str, Any]], str]) -> str | None:
        """Return what a bucket tells of itself, None where the identity may not look."""
        try:
            return words(self._requests.bucket(self._location.bucket, fields))
        except FAILURES as error:
            failure = _translated(self._location, "", error)
            if failure.retryable:
                raise failure from error
            return None

    def _written(self, key: str, pieces: Iterable[bytes], size_bytes: int) -> Stored:
        bucket, name = self._location.bucket, name_in_bucket(self._location, key)
        given = _of_the_source(exactly(self._location, key, pieces, size_bytes))
        failure: Exception
        try:
            if size_bytes <= SMALL_BYTES:
                return self._requests.insert(bucket, name, next(in_parts(given, SMALL_BYTES)))
            if size_bytes <= self.part_limits.whole_bytes:
                return self._requests.send(bucket, name, given, size_bytes)
            return self._requests.upload(bucket, name, in_parts(given, PART_BYTES), size_bytes)
        except _OfTheSource as error:
            failure = error.failure
        except FAILURES as error:
            failure = _translated(self._location, key, error, unwritable)
        raise failure  # here, so that the library's error, which may show the id of an upload, is not its context

    def _components(self, upload_id: str, receipts: Sequence[str]) -> list[Component] | None:
        """Return the parts of an upload, None where one is missing."""
        there = {
            found.name: Stored(str(found.generation), found.size, found.crc32c or "")
            for found in self._listed(f"{upload_id}/", "nextPageToken,items(name,size,generation,crc32c)")
        }
        numbers = range(1, len(receipts) + 1)
        names = [name_in_bucket(self._location, key_of_part(upload_id, number)) for number in numbers]
        return components(names, receipts, there)

    def _delete(self, batch: Mapping[str, str]) -> dict[str, Exception]:
        try:
            return self._requests.delete_many(self._location.bucket, batch)
        except FAILURES as error:
            raise _translated(self._location, next(iter(batch.values())), error, undeletable) from error

    def _is_there(self, location: Location, key: str) -> bool:
        return self._generation(location, key) is not None

    def _generation(self, location: Location, key: str) -> str | None:
        """Return an object's generation after a 404, which Google says also of a bucket; None where there is none.

        :raises StorageError: it can't be told, or there is no bucket.
        """
        name = name_in_bucket(location, key)
        try:
            found = list(self._client.list_blobs(location.bucket, prefix=name, max_results=1, **PATIENCE))
        except FAILURES as error:
            raise _translated(location, key, error) from error
        return str(found[0].generation) if found and found[0].name == name else None


def _of_the_source(pieces: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from pieces
    except FAILURES as error:
        raise _OfTheSource(error) from error


def _translated(
    location: Location, key: str, error: BaseException, failure: Callable[..., StorageError] = unreadable
) -> StorageError:
    reason, hint, kind = _told(error, failure)
    return failure(location, key, reason, hint=hint, kind=kind)


def _told(error: BaseException, failure: Callable[..., StorageError]) -> tuple[str, str, type[StorageError]]:
    """Return reason, hint and kind of our error for one of this library's: the only map there is."""
    if isinstance(error, exceptions.RetryError) and error.cause:
        error = error.cause
    if isinstance(error, exceptions.GoogleAPICallError) and error.code:
        status, words = int(error.code), _AROUND_THE_MESSAGE.sub("", error.message or "").strip()
        hint = _PERMISSIONS[failure] if status == HTTPStatus.FORBIDDEN else _HINTS.get(status, "")
        is_passing = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING
        kind = StorageUnreachable if is_passing else StorageError
        return f"Google answered {status}: {words or 'nothing else'}", hint, kind
    reason = _QUERY.sub("", str(error))
    if isinstance(error, requests.exceptions.SSLError):
        return reason, "Name the CA bundle in the worker's environment: REQUESTS_CA_BUNDLE.", StorageError
    if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
        return reason, CREDENTIALS, StorageError
    return reason, "Look at the network of the worker, and at STORAGE_EMULATOR_HOST.", StorageUnreachable
