"""S3, and what speaks its protocol."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from typing import Any
from urllib.parse import unquote_plus

import boto3
import botocore
from botocore import exceptions
from botocore.config import Config
from botocore.utils import parse_timestamp

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import InvalidRequest, ObjectChanged, StorageError
from airflow_provider_vectorbackup.storage.pieces import collected, exactly, in_parts
from airflow_provider_vectorbackup.storage.s3_errors import FAILURES, HINTS, Failure, code_of, translated, translating
from airflow_provider_vectorbackup.storage.s3_requests import Answer, Requests, md5
from airflow_provider_vectorbackup.storage.store import (
    CONNECT_TIMEOUT_SECONDS,
    CONNECTIONS,
    PART_BYTES,
    PIECE_BYTES,
    READ_TIMEOUT_SECONDS,
    StoredObject,
    UnfinishedUpload,
    key_of_name,
    name_in_bucket,
    prefix_in_bucket,
    undeletable,
    undeleted,
    unlistable,
    unreadable,
    unwritable,
)

COPY_BYTES = 2**29
"""Copied in one request. S3 takes ten times as much; slower servers say nothing until they have copied it all, and what
is silent for longer than READ_TIMEOUT_SECONDS counts as gone."""

_MOST_PARTS = 10_000
_BATCH = 1000
"""Deleted in one request."""

_ATTEMPTS = 3
_NO_NAME = frozenset({"XMinioInvalidResourceName", "XMinioInvalidObjectName"})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/")

_SETTINGS = "Look at profile_name, region_name and config_kwargs in the connection."
_UNFIT = (exceptions.BotoCoreError, ValueError, TypeError, AttributeError)
"""What the library says of settings; it looks at few of them before it uses them."""


@dataclass(frozen=True, slots=True)
class S3Access:
    """How S3 is reached; what is None is left to boto3's own chain.

    :param verify: whether certificates are checked; a text is the path of the CA bundle to check against.
    :param config: further settings for botocore's Config, as in the connection's ``config_kwargs``.
    :param session: a ready boto3.Session, in place of keys, profile and region.
    """

    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    verify: bool | str | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    session: Any | None = field(default=None, repr=False)


class S3Store:
    """The objects below a prefix of a bucket.

    :raises InvalidRequest: the access can't be what it says.
    :raises StorageError: the profile is not known here.
    """

    def __init__(self, location: Location, access: S3Access) -> None:
        self._location = location
        config = _config(access)
        try:
            session = access.session or _session(access)
            self._client = _client(session, access, config)
            self._requests = Requests(self._client, session.get_credentials(), location.bucket)
        except _UNFIT as error:
            raise StorageError(f"{location} can't be opened: {error}.", hint=_SETTINGS) from error

    def list_objects(self, prefix: str = "") -> Generator[StoredObject, None, None]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        # botocore has the names sent URL-encoded, and decodes them: XML can't hold them all.
        begin = prefix_in_bucket(self._location, prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._location.bucket, Prefix=begin)
        with translating(partial(unlistable, self._location, prefix)), _nothing_where_no_name_can_be():
            for found in (found for page in pages for found in page.get("Contents", ())):
                if not found["Key"].endswith("/"):
                    key, modified_at = key_of_name(self._location, found["Key"]), found["LastModified"]
                    yield StoredObject(key, found["Size"], found["ETag"], modified_at.astimezone(UTC))

    def read(self, key: str) -> bytes | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        return collected(self._location, key, self.stream(key))

    def stream(
        self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None
    ) -> Generator[bytes, None, None]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        name, failure = name_in_bucket(self._location, key), partial(unreadable, self._location, key)
        if start == end:
            return
        conditions = {"If-Match": etag} if etag else {}
        if start or end is not None:
            conditions["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        with translating(failure):
            try:
                answer = self._requests.get(name, conditions)
            except exceptions.ClientError as error:
                if code_of(error) == "InvalidRange" and end is None and self._size(name, etag) == start:
                    return
                raise
            with closing(answer.body):
                _require_asked(failure, answer, start, end, etag)
                # To its end, where its length is compared.
                yield from answer.body.iter_chunks(PIECE_BYTES)

    def write(self, key: str, pieces: Iterable[bytes], size_bytes: int) -> None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        name, failure = name_in_bucket(self._location, key), partial(unwritable, self._location, key)
        wanted = exactly(self._location, key, pieces, size_bytes)
        if size_bytes > PART_BYTES:
            with self._upload(failure, name) as (upload_id, etags):
                for part in in_parts(wanted, _part_bytes(size_bytes, PART_BYTES)):
                    with translating(failure):
                        etags.append(self._requests.put_part(name, upload_id, len(etags) + 1, part))
            return
        content = bytearray()
        for piece in wanted:
            content += piece
        with translating(failure):
            self._requests.put(name, content)

    def create(self, key: str, content: bytes) -> bool:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        name, failure = name_in_bucket(self._location, key), partial(unwritable, self._location, key)
        for left in reversed(range(_ATTEMPTS)):
            try:
                self._client.put_object(
                    Bucket=self._location.bucket, Key=name, Body=content, ContentMD5=md5(content), IfNoneMatch="*"
                )
            except FAILURES as error:
                if code_of(error) == "PreconditionFailed":
                    return self.read(key) == content
                # Another one is being written just now.
                if code_of(error) != "ConditionalRequestConflict" or not left:
                    raise translated(failure, error) from error
            else:
                return True
        return False

    def delete(self, keys: Iterable[str]) -> None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        rest, reasons, hint = iter(keys), dict[str, str](), ""
        while key_by_name := {name_in_bucket(self._location, key): key for key in islice(rest, _BATCH)}:
            named = {"Objects": [{"Key": name} for name in key_by_name], "Quiet": True}
            with translating(partial(undeletable, self._location, next(iter(key_by_name.values())))):
                answer = self._client.delete_objects(Bucket=self._location.bucket, Delete=named)
            for error in answer.get("Errors", ()):
                name, code = error.get("Key", ""), error.get("Code", "")
                reasons[key_by_name.get(name, name)] = f"{code}: {error.get('Message', 'nothing else')}"
                hint = hint or HINTS.get(code, "")
        if reasons:
            raise undeleted(self._location, reasons, hint)

    def copy(self, source: Location, key: str, target_key: str) -> None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        origin = {"Bucket": source.bucket, "Key": name_in_bucket(source, key)}
        name, failure = name_in_bucket(self._location, target_key), partial(unwritable, self._location, target_key)
        with translating(partial(unreadable, source, key)):
            found = self._head(origin)
        size, target = found["ContentLength"], {"Bucket": self._location.bucket, "Key": name}
        if size <= COPY_BYTES:
            with translating(failure):
                self._client.copy_object(**target, CopySource=origin)
            return
        part_bytes = _part_bytes(size, COPY_BYTES)
        with self._upload(failure, name) as (upload_id, etags), translating(failure):
            for start in range(0, size, part_bytes):
                answer = self._client.upload_part_copy(
                    **target,
                    CopySource=origin,
                    CopySourceIfMatch=found["ETag"],
                    CopySourceRange=f"bytes={start}-{min(start + part_bytes, size) - 1}",
                    UploadId=upload_id,
                    PartNumber=len(etags) + 1,
                )
                etags.append(answer["CopyPartResult"]["ETag"])

    def list_unfinished_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        begin = prefix_in_bucket(self._location, prefix)
        with translating(partial(unlistable, self._location, prefix)), _nothing_where_no_name_can_be():
            found = self._unfinished(begin)
            # MinIO shows the uploads to exactly that name, or all of the bucket that were begun since it was started.
            for name, upload in chain([first], found) if (first := next(found, None)) else self._unfinished(""):
                if name.startswith(begin):
                    key, started_at = key_of_name(self._location, name), upload["Initiated"]
                    yield UnfinishedUpload(key, upload["UploadId"], started_at.astimezone(UTC))

    def abort(self, upload: UnfinishedUpload) -> None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        name = name_in_bucket(self._location, upload.key)
        with translating(partial(unwritable, self._location, upload.key)):
            self._abort(name, upload.upload_id)

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    @contextmanager
    def _upload(self, failure: Failure, name: str) -> Iterator[tuple[str, list[str]]]:
        """Begin an upload, yield its id and a list for its parts' ETags, and complete it; abort it on any error."""
        target = {"Bucket": self._location.bucket, "Key": name}
        with translating(failure):
            upload_id, etags = self._client.create_multipart_upload(**target)["UploadId"], list[str]()
        try:
            yield upload_id, etags
            with translating(failure):
                self._complete(name, upload_id, etags)
        except BaseException:
            with suppress(*FAILURES):
                self._abort(name, upload_id)
            raise

    def _complete(self, name: str, upload_id: str, etags: list[str]) -> None:
        target = {"Bucket": self._location.bucket, "Key": name}
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        try:
            self._client.complete_multipart_upload(**target, UploadId=upload_id, MultipartUpload={"Parts": parts})
        except exceptions.ClientError as error:
            # Asked again after a lost answer.
            if code_of(error) != "NoSuchUpload" or not self._holds(target, etags):
                raise

    def _abort(self, name: str, upload_id: str) -> None:
        with suppress(self._client.exceptions.NoSuchUpload):
            self._client.abort_multipart_upload(Bucket=self._location.bucket, Key=name, UploadId=upload_id)

    def _unfinished(self, begin: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield uploads with the names that they are to, page by page."""
        marker: dict[str, str] = {}
        while True:
            # XML can't hold all names.
            page = self._client.list_multipart_uploads(
                Bucket=self._location.bucket, Prefix=begin, EncodingType="url", **marker
            )
            plain = unquote_plus if page.get("EncodingType") else str
            yield from ((plain(upload["Key"]), upload) for upload in page.get("Uploads", ()))
            if not page.get("IsTruncated"):
                return
            marker = {"KeyMarker": plain(page["NextKeyMarker"]), "UploadIdMarker": page["NextUploadIdMarker"]}

    def _head(self, target: Mapping[str, str], **conditions: str) -> Any:
        """Return what S3 says of an object; a refusal of HEAD has no words, that of GET has."""
        try:
            return self._client.head_object(**target, **conditions)
        except exceptions.ClientError:
            self._client.get_object(**target, **conditions, Range="bytes=0-0")["Body"].close()
            raise

    def _holds(self, target: Mapping[str, str], etags: Iterable[str]) -> bool:
        with suppress(*FAILURES):
            return bool(self._client.head_object(**target)["ETag"] == _etag_of(etags))
        return False

    def _size(self, name: str, etag: str | None) -> int:
        conditions = {"IfMatch": etag} if etag else {}
        return int(self._head({"Bucket": self._location.bucket, "Key": name}, **conditions)["ContentLength"])


@contextmanager
def _nothing_where_no_name_can_be() -> Iterator[None]:
    """MinIO holds no names with ``..`` or ``//`` in them, and refuses to list what would begin so."""
    try:
        yield
    except exceptions.ClientError as error:
        if code_of(error) not in _NO_NAME:
            raise


def _require_asked(failure: Failure, answer: Answer, start: int, end: int | None, etag: str | None) -> None:
    """Raise unless the answer is what was asked for: some servers pass over conditions, all cut what goes too far."""
    if etag and answer.headers.get("etag", etag) != etag:
        raise failure("it was written anew", kind=ObjectChanged)
    given = _CONTENT_RANGE.match(answer.headers.get("content-range", ""))
    if (start or end is not None) and not given:
        raise failure("the server does not answer ranges")
    if given and (int(given[1]) != start or (end is not None and int(given[2]) + 1 != end)):
        raise failure(f"it ends after {int(given[2]) + 1} bytes")


def _part_bytes(size_bytes: int, least: int) -> int:
    """Return the size of parts, whole MiB, of which there are not too many."""
    mebibytes = -(-size_bytes // (_MOST_PARTS * 2**20))
    return max(least, mebibytes * 2**20)


def _etag_of(etags: Iterable[str]) -> str:
    """Return the ETag of what these parts make, empty where they tell nothing of their content."""
    with suppress(ValueError):
        digests = [bytes.fromhex(etag.strip('"')) for etag in etags]
        return f'"{hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"'
    return ""


def _session(access: S3Access) -> boto3.Session:
    return boto3.Session(
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
        aws_session_token=access.session_token,
        profile_name=access.profile,
        region_name=access.region,
    )


def _client(session: boto3.Session, access: S3Access, config: Config) -> Any:
    # What botocore does by itself takes two thirds of the time of a listing.
    parsers = session._session.get_component("response_parser_factory")  # noqa: SLF001 - boto3 has no way to say it
    parsers.set_parser_defaults(timestamp_parser=_parse_time)
    client = session.client("s3", endpoint_url=access.endpoint_url, verify=access.verify, config=config)
    client.meta.events.register("before-call.s3.DeleteObjects", _add_md5)
    return client


def _parse_time(value: Any) -> datetime:
    """Read a time of a body, which is of ISO 8601; leave others, such as those of headers, to botocore."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        parsed: datetime = parse_timestamp(value)
        return parsed


def _add_md5(params: dict[str, Any], **_: object) -> None:
    """Add the checksum that older servers than Amazon's want, beside the newer one of botocore's."""
    params["headers"]["Content-MD5"] = md5(params["body"])


def _config(access: S3Access) -> Config:
    """Return our settings, and over them those of the connection."""
    usual = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=CONNECTIONS,
        # The one that botocore would add to every object is not understood by all servers.
        request_checksum_calculation="when_required",
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
