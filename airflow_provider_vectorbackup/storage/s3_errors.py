"""What botocore raises, as errors of this package's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import urllib3
from botocore import exceptions

from airflow_provider_vectorbackup.exceptions import ObjectChanged, ObjectNotFound, StorageError, StorageUnreachable

_FAULT = 500
_TOO_MANY = 429

_KEYS = "Look at the keys in the connection; without any, the worker's own AWS configuration is used."
_ENDPOINT = "Look at endpoint_url, region_name and verify in the connection, and at the network of the worker."

HINTS = {
    "NoSuchBucket": "Look at the bucket in the location, and at endpoint_url and region_name in the connection.",
    "AccessDenied": "The identity needs s3:GetObject on the objects, and s3:ListBucket on the bucket: without it, S3 "
    "does not tell whether an object is there. To write, it needs s3:PutObject, s3:AbortMultipartUpload and "
    "s3:ListBucketMultipartUploads; to delete, s3:DeleteObject; to know of locks, "
    "s3:GetBucketObjectLockConfiguration, s3:GetObjectRetention and s3:GetObjectLegalHold.",
    "InvalidObjectState": "It was moved to an archive; have S3 restore it first.",
    "PermanentRedirect": _ENDPOINT,
    "AuthorizationHeaderMalformed": _ENDPOINT,
} | dict.fromkeys(("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"), _KEYS)
"""By S3's own error codes."""

_PASSING = frozenset({"SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "ConditionalRequestConflict"})
_KINDS: Mapping[str, type[StorageError]] = {
    "NoSuchKey": ObjectNotFound,
    "PreconditionFailed": ObjectChanged,
}
"""By S3's own error codes, where a status says less."""

_NO_UPLOAD = frozenset({"NoSuchUpload", "InvalidPart"})


class ContentDiffers(exceptions.BotoCoreError):  # type: ignore[misc] # the library has no types
    """The server says that it holds other bytes than it was sent."""

    fmt = "the server received other bytes than were sent: their CRC-32 is {stored}, not {sent}"


FAILURES = (exceptions.ClientError, exceptions.BotoCoreError, urllib3.exceptions.HTTPError)
Failure = Callable[..., StorageError]
"""From a reason, a hint and a kind to our error."""


_WITHOUT_ANSWER: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[StorageError], str], ...] = (
    (exceptions.SSLError, StorageError, "Give in the connection (verify) the path of a CA bundle on the worker."),
    (
        (
            exceptions.ConnectionError,
            exceptions.HTTPClientError,
            exceptions.IncompleteReadError,
            ContentDiffers,
            urllib3.exceptions.HTTPError,
        ),
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


@contextmanager
def translating(failure: Failure) -> Iterator[None]:
    """Raise our errors for this library's."""
    try:
        yield
    except FAILURES as error:
        raise translated(failure, error) from error


@contextmanager
def translating_of_upload(failure: Failure) -> Iterator[None]:
    """Raise our errors for this library's, where it may be that an upload, or a part of it, is not there any more."""
    try:
        yield
    except FAILURES as error:
        raise translated(failure, error, ObjectNotFound if code_of(error) in _NO_UPLOAD else None) from error


def translated(failure: Failure, error: Exception, kind: type[StorageError] | None = None) -> StorageError:
    """Return our error for one of this library's: the only map there is.

    :param kind: where more is known than the library says.
    """
    if isinstance(error, exceptions.ClientError):
        told, status = error.response["Error"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        code = told.get("Code", "")
        passing = status >= _FAULT or status == _TOO_MANY or code in _PASSING
        kind = kind or (StorageUnreachable if passing else _KINDS.get(code, StorageError))
        reason = f"S3 answered {status} {code}: {told.get('Message', 'nothing else')}"
        return failure(reason, hint=HINTS.get(code, ""), kind=kind)
    for kinds, ours, hint in _WITHOUT_ANSWER:
        if isinstance(error, kinds):
            return failure(error, hint=hint, kind=ours)
    return failure(error)


def code_of(error: Exception) -> str:
    """Return S3's own code for an error, empty where there was no answer."""
    return str(error.response["Error"].get("Code", "")) if isinstance(error, exceptions.ClientError) else ""


def status_of(error: exceptions.ClientError) -> int:
    """Return the HTTP status of an error."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
