"""Google Cloud Storage."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import Any

import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud.storage import Client
from google.oauth2 import service_account
from requests.adapters import HTTPAdapter

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import (
    InvalidRequest,
    ObjectChanged,
    ObjectNotFound,
    StorageError,
    StorageUnreachable,
)
from airflow_provider_vectorbackup.storage.gcs_answers import Stored
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
    CONNECTIONS,
    PART_BYTES,
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

SMALL_BYTES = 2**20
"""Up to this size, an object is kept while it is sent, and sent again where that fails in passing."""

_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]

_CREDENTIALS = (
    "Look at the key in the connection; without one, the worker's own Application Default Credentials are used."
)
_HINTS = {401: _CREDENTIALS, 404: "Look at the bucket in the location."}
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


@dataclass(frozen=True, slots=True)
class GCSAccess:
    """How Google is reached; without any, by its Application Default Credentials.

    :param key_path: the file of a service account's key.
    :param keyfile: such a key itself.
    :param credentials: of google-auth, used as they are.
    """

    key_path: str | None = None
    keyfile: Mapping[str, Any] | None = field(default=None, repr=False)
    is_anonymous: bool = False
    credentials: Any | None = field(default=None, repr=False)


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
        credentials = _credentials(access)
        try:
            self._client = _client(credentials)
            self._requests = Requests(self._client)
        except (*FAILURES, ValueError) as error:
            raise StorageError(f"{location} can't be opened: {error}", hint=_CREDENTIALS) from error

    def list_objects(self, prefix: str = "") -> Generator[StoredObject, None, None]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`; an etag is Google's generation."""
        try:
            for found in self._client.list_blobs(
                self._location.bucket,
                prefix=prefix_in_bucket(self._location, prefix),
                fields="nextPageToken,items(name,size,generation,timeCreated)",
                **PATIENCE,
            ):
                if not found.name.endswith("/"):
                    key = key_of_name(self._location, found.name)
                    yield StoredObject(key, found.size, str(found.generation), found.time_created)
        except FAILURES as error:
            raise _translated(self._location, prefix, error, unlistable) from error

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
        try:
            told = self._requests.bucket(self._location.bucket, "retentionPolicy,defaultEventBasedHold")
        except FAILURES as error:
            failure = _translated(self._location, "", error)
            if failure.retryable:
                raise failure from error
            return None
        seconds = (told.get("retentionPolicy") or {}).get("retentionPeriod")
        retention = f"a retention policy of {seconds} seconds" if seconds else ""
        hold = "a hold on each new object" if told.get("defaultEventBasedHold") else ""
        return " and ".join(filter(None, (retention, hold)))

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
        there: dict[str, Stored] = {}
        try:
            for found in self._client.list_blobs(
                self._location.bucket,
                prefix=f"{name_in_bucket(self._location, upload_id)}/",
                fields="nextPageToken,items(name,size,generation,crc32c)",
                **PATIENCE,
            ):
                there[found.name] = Stored(str(found.generation), found.size, found.crc32c or "")
        except FAILURES as error:
            raise _translated(self._location, upload_id, error, unlistable) from error
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
        return reason, _CREDENTIALS, StorageError
    return reason, "Look at the network of the worker, and at STORAGE_EMULATOR_HOST.", StorageUnreachable


def _client(credentials: Any) -> Client:
    # Without a project: only making and listing buckets needs one.
    client = Client(project=None, credentials=credentials)
    # Else the first request has a thread look the bucket up, for traces: that takes a permission of its own.
    client._bucket_metadata_cache = None  # noqa: SLF001
    if not client._http.is_mtls:  # noqa: SLF001 - that one has an adapter of its own
        for scheme in ("http://", "https://"):
            client._http.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))  # noqa: SLF001
    # Else the library leaves the connections of refused downloads open.
    client._http.hooks["response"].append(_read_refusal)  # noqa: SLF001
    return client


def _read_refusal(response: requests.Response, **_: object) -> None:
    if not response.ok:
        response.content  # noqa: B018 - reading it frees the connection


def _credentials(access: GCSAccess) -> Any:
    """Return the credentials; None for the library's own search."""
    if access.credentials is not None:
        return access.credentials
    if access.is_anonymous:
        return AnonymousCredentials()
    try:
        if access.key_path:
            return service_account.Credentials.from_service_account_file(access.key_path, scopes=_SCOPES)
        if access.keyfile:
            return service_account.Credentials.from_service_account_info(access.keyfile, scopes=_SCOPES)
    except OSError as error:
        raise InvalidRequest(
            f"key_path: the file {access.key_path!r} can't be read: {error.strerror}.", hint="It must be on the worker."
        ) from error
    except (ValueError, TypeError, AttributeError):
        # Not the library's words: they may quote the key.
        raise InvalidRequest(
            f"{'key_path' if access.key_path else 'keyfile_dict'} holds no key of a service account.",
            hint="Give the JSON file that Google made for the service account.",
        ) from None
    return None
