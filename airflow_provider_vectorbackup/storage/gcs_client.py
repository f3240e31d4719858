"""How Google is reached: its library's client, from what a connection says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from google.oauth2 import service_account
from requests.adapters import HTTPAdapter

from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.storage.store import CONNECTIONS

CREDENTIALS = (
    "Look at the key in the connection; without one, the worker's own Application Default Credentials are used."
)
"""A hint."""

_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


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


def open_client(credentials: Any) -> Client:
    """Return Google's client; None is for its own search for credentials."""
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


def credentials_of(access: GCSAccess) -> Any:
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
