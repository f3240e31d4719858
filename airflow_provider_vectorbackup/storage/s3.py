"""S3, and what speaks its protocol."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore
from botocore import exceptions
from botocore.config import Config

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

_ATTEMPTS = 3
_PIECE_BYTES = 2**20
_FAULT = 500
_TOO_MANY = 429

_KEYS = "Look at the keys in the connection; without any, the worker's own AWS configuration is used."
_SETTINGS = "Look at profile_name, region_name and config_kwargs in the connection."
_ENDPOINT = "Look at endpoint_url, region_name and verify in the connection, and at the network of the worker."

_HINTS = {
    "NoSuchBucket": "Look at the bucket in the location, and at endpoint_url and region_name in the connection.",
    "AccessDenied": "The identity needs s3:GetObject on the objects, and s3:ListBucket on the bucket: without it, S3 "
    "does not tell whether an object is there.",
    "InvalidObjectState": "It was moved to an archive; have S3 restore it first.",
    "PermanentRedirect": _ENDPOINT,
    "AuthorizationHeaderMalformed": _ENDPOINT,
} | dict.fromkeys(("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"), _KEYS)
"""By S3's own error codes."""

_PASSING = frozenset({"SlowDown", "RequestTimeout", "RequestTimeTooSkewed"})

_UNFIT = (exceptions.BotoCoreError, ValueError, TypeError, AttributeError)
"""What the library says of settings; it looks at few of them before it uses them."""

_WITHOUT_ANSWER: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[StorageError], str], ...] = (
    (exceptions.SSLError, StorageError, "Give in the connection (verify) the path of a CA bundle on the worker."),
    (
        (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.IncompleteReadError),
        StorageUnreachable,
        _ENDPOINT,
    ),
    (
        (
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.CredentialRetrievalError,
            exceptions.TokenRetrievalError,
            exceptions.SSOError,
        ),
        StorageError,
        _KEYS,
    ),
)


@dataclass(frozen=True, slots=True)
class S3Access:
    """How S3 is reached; what is None is left to boto3's own chain.

    :param verify: whether certificates are checked; a text is the path of the CA bundle to check against.
    :param config: further settings for botocore's Config, as in the connection's ``config_kwargs``.
    """

    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    verify: bool | str | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)


class S3Store:
    """The objects below a prefix of a bucket.

    :raises InvalidRequest: the access can't be what it says.
    :raises StorageError: the profile is not known here.
    """

    def __init__(self, location: Location, access: S3Access) -> None:
        self._location = location
        config = _config(access)
        try:
            self._client = _client(access, config)
        except _UNFIT as error:
            raise StorageError(f"{location} can't be opened: {error}.", hint=_SETTINGS) from error

    def read(self, key: str) -> bytes | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        name, content = name_in_bucket(self._location, key), bytearray()
        try:
            answer = self._client.get_object(Bucket=self._location.bucket, Key=name)
            with closing(answer["Body"]) as body:
                # To its end, where the library compares length and checksum.
                for piece in body.iter_chunks(_PIECE_BYTES):
                    content += piece
                    if len(content) > LARGEST_READ_BYTES:
                        raise too_large(self._location, key)
        except self._client.exceptions.NoSuchKey:
            return None
        except (exceptions.ClientError, exceptions.BotoCoreError) as error:
            raise self._translated(key, error) from error
        return bytes(content)

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def _translated(self, key: str, error: Exception) -> StorageError:
        """Return our error for one of this library's: the only map there is."""
        if isinstance(error, exceptions.ClientError):
            told, status = error.response["Error"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            code = told.get("Code", "")
            passing = status >= _FAULT or status == _TOO_MANY or code in _PASSING
            return unreadable(
                self._location,
                key,
                f"S3 answered {status} {code}: {told.get('Message', 'nothing else')}",
                hint=_HINTS.get(code, ""),
                kind=StorageUnreachable if passing else StorageError,
            )
        for kinds, kind, hint in _WITHOUT_ANSWER:
            if isinstance(error, kinds):
                return unreadable(self._location, key, error, hint=hint, kind=kind)
        return unreadable(self._location, key, error)


def _client(access: S3Access, config: Config) -> Any:
    session = boto3.Session(
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
        aws_session_token=access.session_token,
        profile_name=access.profile,
        region_name=access.region,
    )
    return session.client("s3", endpoint_url=access.endpoint_url, verify=access.verify, config=config)


def _config(access: S3Access) -> Config:
    """Return our settings, and over them those of the connection."""
    usual = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        # Other servers than Amazon's seldom have a host name for every bucket.
        s3={"addressing_style": "path"} if access.endpoint_url else None,
    )
    given = dict(access.config)
    if given.get("signature_version") == "unsigned":
        given["signature_version"] = botocore.UNSIGNED
    try:
        return usual.merge(Config(**given))
    except _UNFIT as error:
        raise InvalidRequest(f"config_kwargs: {error}.", hint="Give what botocore's Config takes.") from error
