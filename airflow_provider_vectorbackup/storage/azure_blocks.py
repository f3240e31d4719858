"""Objects of Azure's that are put together from blocks, and copies inside an account."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
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

from airflow_provider_vectorbackup.exceptions import ObjectChanged, ObjectNotFound, StorageError
from airflow_provider_vectorbackup.storage.azure_requests import Fail, attempt, only
from airflow_provider_vectorbackup.storage.pieces import in_parts
from airflow_provider_vectorbackup.storage.store import PART_BYTES

_COPY_BYTES = 64 * 2**20
"""Of one request that copies: Azure answers once all is copied, and we wait as long as for any answer."""

_MOST_BLOCKS = 50_000

_SCOPE = "https://storage.azure.com/.default"
_SIGNED_FOR = timedelta(hours=1)
"""A copy of at most _COPY_BYTES."""

_NO_ETAG = "none"


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

    def write(self, pieces: Iterable[bytes], size_bytes: int) -> None:
        """Write it."""
        if size_bytes <= PART_BYTES:
            attempt(self.fail, partial(self.blob.upload_blob, b"".join(pieces), overwrite=True))
            return
        parts = in_parts(pieces, _block_bytes(size_bytes, PART_BYTES))
        self._commit((partial(self.blob.stage_block, data=bytes(part), length=len(part)) for part in parts), dict)

    def copy(self, source: Source) -> None:
        """Make it a copy, with the same metadata."""
        found = source.properties()
        if found.size > _COPY_BYTES:
            self._commit(self._copies(source, found.size), partial(_unchanged, source, found))
            return

        def copy() -> dict[str, Any]:
            condition: dict[str, Any] = {
                "source_etag": found.etag,
                "source_match_condition": MatchConditions.IfNotModified,
            }
            return self.blob.start_copy_from_url(requires_sync=True, **source.permitted(), **condition)

        if (status := attempt(self.fail, copy)["copy_status"]) != "success":
            raise self.fail(f"Azure said of the copy: {status}")

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
        keeps = attempt(self.fail, self.container.get_container_properties)
        if keeps.has_immutability_policy or keeps.has_legal_hold or keeps.immutable_storage_with_versioning_enabled:
            raise self.fail("the container keeps all content", hint="Azure drops uncommitted blocks after a week.")
        with suppress(ObjectNotFound, ObjectChanged):  # either is said to those only who may delete
            attempt(self.fail, partial(self.blob.delete_blob, **only(_NO_ETAG)))

    def _commit(self, stages: Iterable[Callable[[str], object]], properties: Callable[[], dict[str, Any]]) -> None:
        """Make blocks, each by a function of its id, and the object of them all.

        The ids are of this call only: of two uploads to one name, one fails, and none gets blocks of the other.
        """
        upload, ids = secrets.token_hex(8), list[str]()
        try:
            for stage in stages:
                ids.append(f"{upload}-{len(ids):05}")
                attempt(self.fail, partial(stage, ids[-1]))
            commit = partial(self.blob.commit_block_list, [BlobBlock(each) for each in ids], **properties())
            attempt(self.fail, commit)
        except BaseException:
            if ids:
                with suppress(StorageError):
                    self.free()
            raise

    def _copies(self, source: Source, size_bytes: int) -> Iterator[Callable[[str], object]]:
        block_bytes = _block_bytes(size_bytes, _COPY_BYTES)
        for start in range(0, size_bytes, block_bytes):

            def copy(block_id: str, start: int = start) -> object:
                length = min(block_bytes, size_bytes - start)
                which: dict[str, Any] = {"source_offset": start, "source_length": length}
                return self.blob.stage_block_from_url(block_id, **which, **source.permitted())

            yield copy


def _unchanged(source: Source, found: BlobProperties) -> dict[str, Any]:
    """Return what a copy takes over beside the content.

    :raises ObjectChanged: the source is another one by now: its blocks may be of both.
    """
    source.properties(found.etag)
    return {"metadata": found.metadata, "content_settings": found.content_settings}


def _block_bytes(size_bytes: int, least: int) -> int:
    return max(least, -(-size_bytes // _MOST_BLOCKS))
