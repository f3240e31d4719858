"""S3, and what speaks its protocol."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC
from functools import partial
from itertools import chain, islice
from typing import Any
from urllib.parse import unquote_plus

from botocore import exceptions

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import ObjectChanged, StorageError
from airflow_provider_vectorbackup.storage.pieces import collected, exactly, in_parts
from airflow_provider_vectorbackup.storage.s3_client import (
    ATTEMPTS,
    UNFIT,
    S3Access,
    open_client,
    open_session,
    settings_of,
)
from airflow_provider_vectorbackup.storage.s3_copying import copied_parts, copy
from airflow_provider_vectorbackup.storage.s3_errors import (
    FAILURES,
    HINTS,
    Failure,
    code_of,
    translated,
    translating,
    translating_of_upload,
)
from airflow_provider_vectorbackup.storage.s3_listing import list_objects
from airflow_provider_vectorbackup.storage.s3_locks import deletion_policy, list_locks, lock_policy
from airflow_provider_vectorbackup.storage.s3_reading import Answer, get, get_small, head
from airflow_provider_vectorbackup.storage.s3_requests import Requests, md5
from airflow_provider_vectorbackup.storage.s3_writing import Buffers, Writing
from airflow_provider_vectorbackup.storage.store import (
    PART_BYTES,
    PIECE_BYTES,
    Lock,
    Part,
    PartLimits,
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

__all__ = ["S3Access", "S3Store"]

COPY_BYTES = 2**29
"""Copied in one request. S3 takes ten times as much; slower servers say nothing until they have copied it all, and what
is silent for longer than READ_TIMEOUT_SECONDS counts as gone."""

_MOST_PARTS = 10_000
_BATCH = 1000
"""Deleted in one request."""

_NO_NAME = frozenset({"XMinioInvalidResourceName", "XMinioInvalidObjectName"})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/")

_OF_SOURCE = frozenset({"NoSuchKey", "PreconditionFailed"})

_SETTINGS = "Look at profile_name, region_name and config_kwargs in the connection."


class S3Store:
    """The objects below a prefix of a bucket.

    :raises InvalidRequest: the access can't be what it says.
    :raises StorageError: the profile is not known here.
    """

    part_limits = PartLimits(PART_BYTES, PART_BYTES, _MOST_PARTS, is_buffered=True)

    def __init__(self, location: Location, access: S3Access) -> None:
        self._location = location
        config = settings_of(access)
        try:
            session = open_session(access)
            self._client = open_client(session, access, config)
            self._requests = Requests(self._client, session.get_credentials(), location.bucket)
        except UNFIT as error:
            raise StorageError(f"{location} can't be opened: {error}.", hint=_SETTINGS) from error
        self._writing = Writing(self._requests)
        self._buffers = Buffers()

    def list_objects(self, prefix: str = "") -> Generator[StoredObject, None, None]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        with translating(partial(unlistable, self._location, prefix)), _nothing_where_no_name_can_be():
            yield from list_objects(self._requests, self._location, prefix)

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
            if (content := get_small(self._requests, name, start, end, etag)) is not None:
                yield content
                return
            try:
                answer = get(self._requests, name, conditions)
            except exceptions.ClientError as error:
                if code_of(error) == "InvalidRange" and end is None and self._size(name, etag) == start:
                    return
                raise
            with closing(answer.body):
                _require_asked(failure, answer, start, end, etag)
                # To its end, where its length is compared.
                yield from answer.body.iter_chunks(PIECE_BYTES)

    def write(self, key: str, pieces: Iterable[bytes], size_bytes: int) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        name, failure = name_in_bucket(self._location, key), partial(unwritable, self._location, key)
        wanted = exactly(self._location, key, pieces, size_bytes)
        if size_bytes > self.part_limits.whole_bytes:
            with self._upload(failure, name) as (upload_id, receipts):
                for part in in_parts(wanted, self.part_limits.part_bytes(size_bytes)):
                    with translating(failure):
                        receipts.append(self._writing.put_part(name, upload_id, len(receipts) + 1, part))
                with translating(failure):
                    return self._writing.complete(name, upload_id, size_bytes, receipts)
        with self._buffers.joined(wanted, size_bytes) as content, translating(failure):
            return self._writing.put(name, content)

    def create(self, key: str, content: bytes) -> bool:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        name, failure = name_in_bucket(self._location, key), partial(unwritable, self._location, key)
        for left in reversed(range(ATTEMPTS)):
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

    def begin_upload(self, key: str, size_bytes: int, scratch: str) -> str:  # noqa: ARG002 - S3 knows parts
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        with translating(partial(unwritable, self._location, key)):
            return self._writing.begin(name_in_bucket(self._location, key))

    def put_part(self, key: str, upload_id: str, part: Part, pieces: Iterable[bytes]) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        name = name_in_bucket(self._location, key)
        wanted, failure = (
            exactly(self._location, key, pieces, part.size_bytes),
            partial(unwritable, self._location, key),
        )
        with self._buffers.joined(wanted, part.size_bytes) as content, translating_of_upload(failure):
            return self._writing.put_part(name, upload_id, part.number, content)

    def finish_upload(self, key: str, upload_id: str, size_bytes: int, receipts: Sequence[str]) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        with translating_of_upload(partial(unwritable, self._location, key)):
            return self._writing.complete(name_in_bucket(self._location, key), upload_id, size_bytes, receipts)

    def copy(self, source: Location, key: str, target_key: str, *, listed: StoredObject | None = None) -> str:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        origin = {"Bucket": source.bucket, "Key": name_in_bucket(source, key)}
        name, failure = name_in_bucket(self._location, target_key), partial(unwritable, self._location, target_key)
        if listed:
            size, etag = listed.size_bytes, listed.etag
        else:
            with translating(partial(unreadable, source, key)):
                found = head(self._client, origin)
            size, etag = found["ContentLength"], found["ETag"]
        with translating(failure), _of_source(source, key):
            if size <= COPY_BYTES:
                return copy(self._requests, name, origin, etag)
            with self._upload(failure, name, checksums=False) as (upload_id, receipts):
                part_bytes = max(COPY_BYTES, self.part_limits.part_bytes(size))
                receipts.extend(
                    copied_parts(self._requests, name, upload_id, origin, etag, size=size, part_bytes=part_bytes)
                )
                return self._writing.complete(name, upload_id, size, receipts)

    def settle(self) -> None:
        """Do nothing: what was answered is kept."""

    def lock_policy(self) -> str | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        return lock_policy(self._client, self._location.bucket)

    def list_locks(self, prefix: str = "") -> Iterator[Lock]:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        with translating(partial(unlistable, self._location, prefix)), _nothing_where_no_name_can_be():
            yield from list_locks(self._requests, self._location, prefix)

    def deletion_policy(self) -> str | None:
        """See :class:`~airflow_provider_vectorbackup.storage.store.Store`."""
        return deletion_policy(self._client, self._location.bucket, partial(unreadable, self._location, ""))

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
    def _upload(self, failure: Failure, name: str, *, checksums: bool = True) -> Iterator[tuple[str, list[str]]]:
        """Begin an upload, yield its id and a list for its parts' receipts; abort it on any error."""
        with translating(failure):
            upload_id, receipts = self._writing.begin(name, checksums=checksums), list[str]()
        try:
            yield upload_id, receipts
        except BaseException:
            with suppress(*FAILURES):
                self._abort(name, upload_id)
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

    def _size(self, name: str, etag: str | None) -> int:
        conditions = {"IfMatch": etag} if etag else {}
        target = {"Bucket": self._location.bucket, "Key": name}
        return int(head(self._client, target, **conditions)["ContentLength"])


@contextmanager
def _of_source(source: Location, key: str) -> Iterator[None]:
    """Raise our errors for what is the source's fault."""
    try:
        yield
    except exceptions.ClientError as error:
        if code_of(error) in _OF_SOURCE:
            raise translated(partial(unreadable, source, key), error) from error
        raise


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
