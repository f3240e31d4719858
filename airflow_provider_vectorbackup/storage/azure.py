"""Azure Blob Storage: the extra ``azure``."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

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
    from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
    from azure.identity import ClientSecretCredential, DefaultAzureCredential
    from azure.storage.blob import BlobServiceClient
except ModuleNotFoundError as missing:
    raise StorageError(
        f"Locations of Azure need a library that is not installed here: {missing.name}.",
        hint="Run: pip install 'airflow-provider-vectorbackup[azure]'",
    ) from missing

_SETTINGS: Mapping[str, Any] = {
    "connection_timeout": CONNECT_TIMEOUT_SECONDS,
    "read_timeout": READ_TIMEOUT_SECONDS,
    "retry_total": 2,
    "initial_backoff": 1,
    "increment_base": 1,
    "random_jitter_range": 1,
    "max_single_get_size": LARGEST_READ_BYTES,
    "http_logging_level": logging.DEBUG,  # each request is ten lines of it
}

_IDENTITY = "Look at the key or token in the connection; an identity needs the role Storage Blob Data Reader."
_NETWORK = "Look at the account in the connection, and at the network of the worker."
_HINTS = {
    401: _IDENTITY,
    403: _IDENTITY,
    404: "Look at the container in the location, and at the account in the connection.",
    409: "It may have been moved to an archive; have Azure rehydrate it first.",
}
"""By HTTP status."""

_ABSENT = "BlobNotFound"
_FAULT = 500
_TOO_MANY = 429
_QUERY = re.compile(r"\?\S+")
"""In a URL, where a SAS token stands."""


@dataclass(frozen=True, slots=True)
class AzureAccess:
    """How an account is reached: by a connection string, a key, a SAS token, a service principal, or an identity.

    :param account_url: not needed with a connection string, which holds it.
    :param identity: arguments of azure-identity's DefaultAzureCredential, which is used where nothing else is given.
    """

    account_url: str = ""
    connection_string: str | None = field(default=None, repr=False)
    account_name: str = ""
    account_key: str | None = field(default=None, repr=False)
    sas_token: str | None = field(default=None, repr=False)
    tenant_id: str | None = None
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    identity: Mapping[str, str] = field(default_factory=dict)


class AzureStore:
    """The objects below a prefix of a container.

    :raises InvalidRequest: the connection string, or the account's URL, is none.
    """

    def __init__(self, location: Location, access: AzureAccess) -> None:
        self._location = location
        self._opened = ExitStack()
        self._service = self._opened.enter_context(_service(access, self._opened))

    def read(self, key: str) -> bytes | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        name = name_in_bucket(self._location, key)
        try:
            stream = self._service.get_blob_client(self._location.bucket, name).download_blob(max_concurrency=1)
            if stream.size <= LARGEST_READ_BYTES:
                content: bytes = stream.readall()
                return content
        except AzureError as error:
            failure = self._translated(key, error)
        else:
            failure = too_large(self._location, key)
        if failure:
            raise failure  # here, so that the library's error, which may show a SAS token, is not its context
        return None

    def close(self) -> None:
        """Close connections."""
        self._opened.close()

    def _translated(self, key: str, error: AzureError) -> StorageError | None:
        """Return our error for one of this library's, None for an absent object: the only map there is."""
        if not isinstance(error, HttpResponseError) or error.status_code is None:
            signed_in = not isinstance(error, ClientAuthenticationError)
            return unreadable(
                self._location,
                key,
                _QUERY.sub("", error.message.partition("\n")[0]),
                hint=_NETWORK if signed_in else _IDENTITY,
                kind=StorageUnreachable if signed_in else StorageError,
            )
        status, code = error.status_code, getattr(error, "error_code", None)
        code = getattr(code, "value", code) or "nothing else"
        if code == _ABSENT:
            return None
        # Not the server's words: those on a failed signature repeat what was signed.
        return unreadable(
            self._location,
            key,
            f"Azure answered {status} {code}",
            hint=_HINTS.get(status, ""),
            kind=StorageUnreachable if status >= _FAULT or status == _TOO_MANY else StorageError,
        )


def _service(access: AzureAccess, opened: ExitStack) -> BlobServiceClient:
    try:
        if access.connection_string:
            return BlobServiceClient.from_connection_string(access.connection_string, **_SETTINGS)
        return BlobServiceClient(access.account_url, credential=_credential(access, opened), **_SETTINGS)
    except ValueError:
        pass  # the library's words may quote the connection string
    raise InvalidRequest(
        "The connection string, or the account's URL, can't be used.",
        hint="Copy the connection string from Azure, or give the account's URL as the host.",
    )


def _credential(access: AzureAccess, opened: ExitStack) -> Any:
    if access.account_key:
        return AzureNamedKeyCredential(access.account_name, access.account_key)
    if access.sas_token:
        return AzureSasCredential(access.sas_token)
    if access.tenant_id:
        return opened.enter_context(ClientSecretCredential(access.tenant_id, access.client_id, access.client_secret))
    return opened.enter_context(DefaultAzureCredential(**access.identity))
