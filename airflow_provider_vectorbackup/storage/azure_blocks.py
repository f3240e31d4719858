"""Objects of Azure's that are put together from blocks, and copies inside an account."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from azure.core import MatchConditions
from azure.core.credentials import AzureSasCredential
from azure.storage.blob import (
    BlobBlock,
    BlobClient,
    BlobProperties,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    generate_blob_sas,
)

from airflow_provider_vectorbackup.exceptions import InvalidRequest, ObjectChanged, ObjectNotFound, StorageError
from airflow_provider_vectorbackup.storage.azure_locks import lock_policy
from airflow_provider_vectorbackup.storage.azure_requests import Fail, attempt, only
from airflow_provider_vectorbackup.storage.pieces import in_parts
from airflow_provider_vectorbackup.storage.store import PART_BYTES, PartLimits, StoredObject

_COPY_BYTES = 64 * 2**20
"""Of one request that copies: Azure answers once all is copied, and we wait as long as for any answer."""

PART_LIMITS = PartLimits(whole_bytes=PART_BYTES, least_bytes=PART_BYTES, most_parts=50_000, is_buffered=True)

_SCOPE = "https://storage.azure.com/.default"
_SIGNED_FOR = timedelta(hours=1)
"""A copy of at most _COPY_BYTES."""

_NO_ETAG = "none"
_UPLOAD_ID = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Source:
    """An object that is copied, as ``service`` may read it.

    :param fail: for when it can't be read.
    """

    service: BlobServiceClient
    blob: BlobClient
    fail: Fail

    def properties(self, etag: str | None = None) -> BlobProperties:
        """Look at it.

        :raises ObjectChanged: it is not the one with that etag.
        """
        return attempt(self.fail, partial(self.blob.get_blob_properties, **only(etag)))

    def permitted(self) -> dict[str, Any]:
        """Return where the storage itself finds it, and what lets it read there: for one request that begins now."""
        url, credential = self.blob.url, self.service.credential
        if hasattr(credential, "get_token"):
            return {"source_url": url, "source_authorization": f"Bearer {credential.get_token(_SCOPE).token}"}
        if isinstance(credential, AzureSasCredential):
            return {"source_url": f"{url}?{credential.signature.lstrip('?')}"}
        if key := getattr(credential, "account_key", None):
            names = (self.service.account_name or "", self.blob.container_name, self.blob.blob_name)
            allowed, until = BlobSasPermissions(read=True), datetime.now(UTC) + _SIGNED_FOR
            url = f"{url}?{generate_blob_sas(*names, account_key=key, permission=allowed, expiry=until)}"
        return {"source_url": url}  # a SAS token of a connection string is in it


@dataclass(frozen=True, slots=True)
class Target:
    """An object that is written: it can be seen once it is whole.

    :param fail: for when it can't be written.
    """

    container: ContainerClient
    blob: BlobClient
    fail: Fail

    def write(self, pieces: Iterable[bytes], size_bytes: int) -> str:
        """Write it; return its etag."""
        if size_bytes <= PART_BYTES:
            upload = partial(self.blob.upload_blob, b"".join(pieces), overwrite=True, validate_content=True)
            return _etag(attempt(self.fail, upload))
        parts = in_parts(pieces, _block_bytes(size_bytes, PART_BYTES))
        return self._commit((partial(self._stage, bytes(part)) for part in parts), dict)

    def put(self, upload_id: str, number: int, content: bytes) -> str:
        """Make a block of an upload; return its receipt."""
        block_id = _block_id(upload_id, number)
        attempt(self.fail, partial(self._stage, content, block_id))
        return f"{block_id}:{len(content)}"

    def finish(self, upload_id: str, size_bytes: int, receipts: Sequence[str]) -> str:
        """Make it of an upload's blocks; return its etag.

        :raises ObjectNotFound: one is missing.
        """
        ids = [_block_id(upload_id, number) for number in range(1, len(receipts) + 1)]
        given = [receipt.partition(":") for receipt in receipts]
        is_complete = [block_id for block_id, _, _ in given] == ids
        # Before anything is replaced. Azure has compared the content of each with its checksum, hence the size too.
        if not ids or not is_complete or sum(int(size) for _, _, size in given) != size_bytes:
            raise self.fail("a part of it is missing", kind=ObjectNotFound)
        try:
            return self._end(ids)
        except ObjectChanged as error:
            raise self.fail("a part of it is missing", kind=ObjectNotFound) from error

    def copy(self, source: Source, listed: StoredObject | None = None) -> str:
        """Make it a copy, with the same metadata; return its etag.

        :param listed: the source, which needs no look at it then.
        :raises ObjectChanged: the source is another one.
        """
        if not listed:
            found = source.properties()
            return self._copy(source, str(found.etag), found.size)
        try:
            return self._copy(source, listed.etag, listed.size_bytes)
        except StorageError as error:
            # It may be wrong with the source. Looked at without a condition, which fails where nothing is, too.
            if not error.retryable and _etag({"etag": source.properties().etag}) != listed.etag:
                raise source.fail("it was written anew", kind=ObjectChanged) from error
            raise

    def _copy(self, source: Source, etag: str, size_bytes: int) -> str:
        if size_bytes > _COPY_BYTES:
            return self._commit(self._copies(source, size_bytes), partial(_unchanged, source, etag))

        def copy() -> dict[str, Any]:
            condition = {f"source_{name}": value for name, value in only(etag).items()}
            return self.blob.start_copy_from_url(requires_sync=True, **source.permitted(), **condition)

        if (status := (copied := attempt(self.fail, copy))["copy_status"]) != "success":
            raise self.fail(f"Azure said of the copy: {status}")
        return _etag(copied)

    def free(self) -> None:
        """Free the uncommitted blocks of an object that has no content; where there is content, do nothing.

        Azure has no request for it: they go when content is committed. So an empty object is there for a moment, where
        it is certain that it can be deleted again: nowhere else is anything done.
        """
        with suppress(ObjectNotFound, ObjectChanged):
            attempt(self.fail, partial(self.blob.get_block_list, "uncommitted"))
            self._require_deletable()
            empty = partial(self.blob.commit_block_list, [], match_condition=MatchConditions.IfMissing)
            etag = str(attempt(self.fail, empty)["etag"])
            attempt(self.fail, partial(self.blob.delete_blob, **only(etag)))

    def _require_deletable(self) -> None:
        if lock_policy(self.fail, self.container):
            raise self.fail("the container keeps all content", hint="Azure drops uncommitted blocks after a week.")
        with suppress(ObjectNotFound, ObjectChanged):  # either is said to those only who may delete
            attempt(self.fail, partial(self.blob.delete_blob, **only(_NO_ETAG)))

    def _commit(self, stages: Iterable[Callable[[str], object]], properties: Callable[[], dict[str, Any]]) -> str:
        """Make blocks, each by a function of its id, and the object of them all; return its etag.

        The ids are of this call only: of two uploads to one name, one fails, and none gets blocks of the other.
        """
        upload_id, ids = new_upload(), list[str]()
        try:
            for stage in stages:
                ids.append(_block_id(upload_id, len(ids)))
                attempt(self.fail, partial(stage, ids[-1]))
            return self._end(ids, **properties())
        except BaseException:
            if ids:
                with suppress(StorageError):
                    self.free()
            raise

    def _stage(self, content: bytes, block_id: str) -> object:
        return self.blob.stage_block(block_id, content, len(content), validate_content=True)

    def _end(self, ids: Iterable[str], **properties: Any) -> str:
        blocks = [BlobBlock(each) for each in ids]
        return _etag(attempt(self.fail, partial(self.blob.commit_block_list, blocks, **properties)))

    def _copies(self, source: Source, size_bytes: int) -> Iterator[Callable[[str], object]]:
        block_bytes = _block_bytes(size_bytes, _COPY_BYTES)
        for start in range(0, size_bytes, block_bytes):

            def copy(block_id: str, start: int = start) -> object:
                length = min(block_bytes, size_bytes - start)
                which: dict[str, Any] = {"source_offset": start, "source_length": length}
                return self.blob.stage_block_from_url(block_id, **which, **source.permitted())

            yield copy


def new_upload() -> str:
    """Return the id of an upload: what its blocks' ids, all of the same length, begin with."""
    return secrets.token_hex(8)


def _etag(answer: Mapping[str, Any]) -> str:
    """Return the etag as a listing shows it, which has no quotes."""
    return str(answer["etag"]).strip('"')


def _block_id(upload_id: str, number: int) -> str:
    """Return a block's id.

    :raises InvalidRequest: the upload's id is none.
    """
    if not _UPLOAD_ID.fullmatch(upload_id):
        raise InvalidRequest(f"{upload_id!r} is no unfinished upload.")
    return f"{upload_id}-{number:05}"


def _unchanged(source: Source, etag: str) -> dict[str, Any]:
    """Return what a copy takes over beside the content.

    :raises ObjectChanged: the source is another one by now: its blocks may be of both.
    """
    found = source.properties(etag)
    return {"metadata": found.metadata, "content_settings": found.content_settings}


def _block_bytes(size_bytes: int, least: int) -> int:
    return max(least, -(-size_bytes // PART_LIMITS.most_parts))
