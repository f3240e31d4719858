"""Google Cloud Storage."""

from __future__ import annotations

import http.client
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
import urllib3
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2 import service_account

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import InvalidRequest, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.store import (
    CONNECT_TIMEOUT_SECONDS,
    LARGEST_READ_BYTES,
    READ_TIMEOUT_SECONDS,
    name_in_bucket,
    too_large,
    unreadable,
)

try:
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
except ImportError:  # google-cloud-storage below 3
    from google.resumable_media import DataCorruption, InvalidResponse

_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
_PATIENCE: dict[str, Any] = {
    "timeout": (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
    "retry": DEFAULT_RETRY.with_delay(initial=1.0, maximum=4.0).with_timeout(5.0),
}
"""For each request. The time-out of the repeats is for when they begin."""

_FAILURES = (
    exceptions.GoogleAPIError,
    GoogleAuthError,
    DataCorruption,
    InvalidResponse,
    OSError,  # those of requests too
    http.client.HTTPException,
    urllib3.exceptions.HTTPError,
)
"""What the library raises: much of it is of the libraries below."""

_CREDENTIALS = (
    "Look at the key in the connection; without one, the worker's own Application Default Credentials are used."
)
_HINTS = {
    401: _CREDENTIALS,
    403: "The identity needs storage.objects.get and storage.objects.list: without the latter, Google does not tell "
    "whether an object is there.",
    404: "Look at the bucket in the location.",
}
"""By HTTP status."""

_FAULT = 500
_TOO_MANY = 429
_AROUND_THE_MESSAGE = re.compile(r"^[A-Z]+ \S+: |: \('Request failed.*$", re.DOTALL)
"""What the library adds to the server's own words."""


@dataclass(frozen=True, slots=True)
class GCSAccess:
    """How Google is reached; without any, by its Application Default Credentials.

    :param key_path: the file of a service account's key.
    :param keyfile: such a key itself.
    """

    key_path: str | None = None
    keyfile: Mapping[str, Any] | None = field(default=None, repr=False)
    is_anonymous: bool = False


class _Bounded(io.BytesIO):
    """Takes no more than a descriptor."""

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > LARGEST_READ_BYTES:
            raise _TooLarge
        return super().write(data)


class _TooLarge(Exception):
    pass


class GCSStore:
    """The objects below a prefix of a bucket.

    :raises InvalidRequest: the key is none.
    :raises StorageError: no credentials were found.
    """

    def __init__(self, location: Location, access: GCSAccess) -> None:
        self._location = location
        credentials = _credentials(access)
        try:
            self._client = _client(credentials)
        except (*_FAILURES, ValueError) as error:
            raise StorageError(f"{location} can't be opened: {error}", hint=_CREDENTIALS) from error

    def read(self, key: str) -> bytes | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        name = name_in_bucket(self._location, key)
        content = _Bounded()
        try:
            # As it lies there: not decompressed on the way.
            self._bucket.blob(name).download_to_file(content, raw_download=True, checksum="crc32c", **_PATIENCE)
        except exceptions.NotFound:
            self._require_absence(key, name)
            return None
        except _TooLarge:
            raise too_large(self._location, key) from None
        except _FAILURES as error:
            raise self._translated(key, error) from error
        return content.getvalue()

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    @property
    def _bucket(self) -> Any:
        return self._client.bucket(self._location.bucket)

    def _require_absence(self, key: str, name: str) -> None:
        """Raise StorageError unless the bucket is there and the object is not.

        Google says 404 also where the bucket is missing, and where an object was replaced while it was read.
        """
        try:
            found = list(self._client.list_blobs(self._bucket, prefix=name, max_results=1, **_PATIENCE))
        except _FAILURES as error:
            raise self._translated(key, error) from error
        if found and found[0].name == name:
            raise unreadable(self._location, key, "it changed while it was read", kind=StorageUnreachable)

    def _translated(self, key: str, error: BaseException) -> StorageError:
        """Return our error for one of this library's: the only map there is."""
        if isinstance(error, exceptions.RetryError) and error.cause:
            error = error.cause
        reason, hint, kind = str(error), "", StorageError
        if status := _status(error):
            words = _AROUND_THE_MESSAGE.sub("", getattr(error, "message", "")).strip()
            reason = f"Google answered {status}: {words or 'nothing else'}"
            hint = _HINTS.get(status, "")
            kind = StorageUnreachable if status >= _FAULT or status == _TOO_MANY else StorageError
        elif isinstance(error, requests.exceptions.SSLError):
            hint = "Name the CA bundle in the worker's environment: REQUESTS_CA_BUNDLE."
        elif isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
            hint = _CREDENTIALS
        else:
            hint, kind = "Look at the network of the worker, and at STORAGE_EMULATOR_HOST.", StorageUnreachable
        return unreadable(self._location, key, reason, hint=hint, kind=kind)


def _client(credentials: Any) -> Client:
    # Without a project: only making and listing buckets needs one.
    client = Client(project=None, credentials=credentials)
    # Else the first request has a thread look the bucket up, for traces: that takes a permission of its own.
    client._bucket_metadata_cache = None  # noqa: SLF001
    # Else the library leaves the connections of refused downloads open.
    client._http.hooks["response"].append(_read_refusal)  # noqa: SLF001
    return client


def _read_refusal(response: requests.Response, **_: object) -> None:
    if not response.ok:
        response.content  # noqa: B018 - reading it frees the connection


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error stands for, None where there was no answer."""
    if isinstance(error, exceptions.GoogleAPICallError):
        return int(error.code) if error.code else None
    return int(error.response.status_code) if isinstance(error, InvalidResponse) else None


def _credentials(access: GCSAccess) -> Any:
    """Return the credentials; None for the library's own search."""
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
