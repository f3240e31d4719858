"""Requests to Azure: how an account is opened, and what its library raises."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar

from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ClientSecretCredential, DefaultAzureCredential
from azure.storage.blob import BlobServiceClient
from requests import Session
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from airflow_provider_vectorbackup.exceptions import (
    InvalidRequest,
    ObjectChanged,
    ObjectNotFound,
    StorageError,
    StorageUnreachable,
)
from airflow_provider_vectorbackup.storage.azure_access import AzureAccess
from airflow_provider_vectorbackup.storage.store import (
    CONNECT_TIMEOUT_SECONDS,
    CONNECTIONS,
    LARGEST_READ_BYTES,
    READ_TIMEOUT_SECONDS,
)

T = TypeVar("T")

Fail = Callable[..., StorageError]
"""``unreadable`` or its like, for a certain object."""

_RANGE_BYTES = 2**21
"""Of one request for content: the library collects it, in ten times as much memory, and asks anew where it was cut."""

_TIMEOUTS: Mapping[str, Any] = {
    "connection_timeout": CONNECT_TIMEOUT_SECONDS,
    "read_timeout": READ_TIMEOUT_SECONDS,
    "connection_data_block_size": 256 * 1024,
}
_SETTINGS: Mapping[str, Any] = {
    "retry_total": 2,
    "initial_backoff": 1,
    "increment_base": 1,
    "random_jitter_range": 1,
    "max_single_get_size": _RANGE_BYTES,
    "max_chunk_get_size": _RANGE_BYTES,
    "max_single_put_size": LARGEST_READ_BYTES,
    "http_logging_level": logging.DEBUG,  # each request is ten lines of it
}

_IDENTITY = (
    "Look at the key or token in the connection; an identity needs the role Storage Blob Data Reader, and Storage Blob "
    "Data Contributor where it writes or deletes."
)
_NETWORK = "Look at the account in the connection, and at the network of the worker."
_HINTS: Mapping[int | str, str] = {
    401: _IDENTITY,
    403: _IDENTITY,
    404: "Look at the container in the location, and at the account in the connection.",
    "BlobArchived": "It was moved to an archive; have Azure rehydrate it first.",
    "InvalidBlobOrBlock": "Another program left an unfinished upload to it; abort that first.",
    "LeaseIdMissing": "Somebody holds a lease on it; break it, or wait for its end.",
}
"""By Azure's code, else by HTTP status."""


class OutOfRange(StorageError):
    """The object ends before the range that was asked for."""


_KINDS: Mapping[str, type[StorageError]] = {
    "BlobNotFound": ObjectNotFound,
    "BlobAlreadyExists": ObjectChanged,
    "ConditionNotMet": ObjectChanged,
    "SourceConditionNotMet": ObjectChanged,
    "TargetConditionNotMet": ObjectChanged,
    "InvalidRange": OutOfRange,
    "Md5Mismatch": StorageUnreachable,  # damaged on the way
    "InvalidBlockList": ObjectChanged,  # another upload to the same object ended meanwhile, and Azure dropped this one
}
"""By Azure's code."""

_OF_ONE_OBJECT = frozenset({409, 412})
_FAULT = 500
_TOO_MANY = 429
_QUERY = re.compile(r"\?\S+")
"""In a URL, where a SAS token stands."""


def open_service(access: AzureAccess, opened: ExitStack) -> BlobServiceClient:
    """Return a client of an account; ``opened`` closes it, and what it needs.

    :raises InvalidRequest: the connection string, or the account's URL, is none.
    """
    session = opened.enter_context(Session())
    adapter = HTTPAdapter(pool_maxsize=CONNECTIONS, max_retries=Retry(total=False, redirect=False))
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    settings = {**_SETTINGS, "transport": RequestsTransport(session=session, **_TIMEOUTS)}
    try:
        if access.connection_string:
            service = BlobServiceClient.from_connection_string(access.connection_string, **settings)
        else:
            service = BlobServiceClient(access.account_url, credential=_credential(access, opened), **settings)
        return opened.enter_context(service)
    except ValueError:
        pass  # the library's words may quote the connection string
    raise InvalidRequest(
        "The connection string, or the account's URL, can't be used.",
        hint="Copy the connection string from Azure, or give the account's URL as the host.",
    )


def _credential(access: AzureAccess, opened: ExitStack) -> Any:
    if access.credential is not None:
        return access.credential
    if access.account_key:
        return AzureNamedKeyCredential(access.account_name, access.account_key)
    if access.sas_token:
        return AzureSasCredential(access.sas_token)
    if access.tenant_id:
        return opened.enter_context(ClientSecretCredential(access.tenant_id, access.client_id, access.client_secret))
    return opened.enter_context(DefaultAzureCredential(**access.identity))


def attempt(fail: Fail, request: Callable[[], T]) -> T:
    """Return what a request returns.

    :raises StorageError: the one that ``fail`` makes of the library's.
    """
    try:
        return request()
    except (AzureError, HTTPError, ValueError) as error:
        failure = translated(fail, error)
    raise failure  # here, so that the library's error, which may show a SAS token, is not its context


def translated(fail: Fail, error: Exception) -> StorageError:
    """Return our error for one of this library's: the only map there is."""
    if isinstance(error, ValueError):
        return fail("the answer is none of Azure's", hint=_NETWORK)
    if not isinstance(error, HttpResponseError) or error.status_code is None:
        signed_in = not isinstance(error, ClientAuthenticationError)
        return fail(
            _QUERY.sub("", str(error).partition("\n")[0]),
            hint=_NETWORK if signed_in else _IDENTITY,
            kind=StorageUnreachable if signed_in else StorageError,
        )
    status, code = error.status_code, _code(error)
    passing = status >= _FAULT or status == _TOO_MANY
    return fail(
        _answer(error),
        hint=_HINTS.get(code) or _HINTS.get(status, ""),
        kind=_KINDS.get(code) or (StorageUnreachable if passing else StorageError),
    )


def deletion(request: Callable[[], None]) -> Exception | None:
    """Delete something; return why it is still there, None if it is not."""
    try:
        request()
    except (AzureError, HTTPError) as error:
        absent = isinstance(error, HttpResponseError) and _KINDS.get(_code(error)) is ObjectNotFound
        return None if absent else error
    return None


def own_reason(error: Exception) -> str | None:
    """Return why just this object can't be deleted; None where it is not for a reason of its own."""
    if isinstance(error, HttpResponseError) and error.status_code in _OF_ONE_OBJECT:
        return _answer(error)
    return None


def only(etag: str | None) -> dict[str, Any]:
    """Return a request's condition: that the object is the one with this etag, as listed or as read."""
    if etag is None:
        return {}
    quoted = '"{}"'.format(etag.strip('"'))
    return {"etag": quoted, "match_condition": MatchConditions.IfNotModified}


def _answer(error: HttpResponseError) -> str:
    """Not in the server's words: those on a failed signature repeat what was signed."""
    return f"Azure answered {error.status_code} {_code(error) or 'nothing else'}"


def _code(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")
