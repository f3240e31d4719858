"""What keeps Azure's blobs from being deleted, or from being deleted for good: immutable storage, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from operator import attrgetter

from azure.storage.blob import BlobProperties, BlobServiceClient, ContainerClient, ContainerProperties

from airflow_provider_vectorbackup.exceptions import ObjectNotFound, StorageError
from airflow_provider_vectorbackup.storage.azure_requests import Fail, attempt
from airflow_provider_vectorbackup.storage.store import Lock

_LOOKED_THROUGH = 1000


def lock_policy(fail: Fail, container: ContainerClient) -> str:
    """Return what keeps the objects of a container, in words."""
    keeps = attempt(fail, container.get_container_properties)
    policies = {
        "an immutability policy": keeps.has_immutability_policy,
        "a legal hold": keeps.has_legal_hold,
        "immutable storage with versioning": keeps.immutable_storage_with_versioning_enabled,
    }
    return " and ".join(words for words, is_set in policies.items() if is_set)


def lock_fields(container: ContainerProperties) -> tuple[str, ...] | None:
    """Return what a listing has to include for :func:`lock_on`, None where nothing in the container has a lock."""
    if container.immutable_storage_with_versioning_enabled:
        return "immutabilitypolicy", "legalhold"
    return () if container.has_immutability_policy or container.has_legal_hold else None


def lock_on(key: str, blob: BlobProperties, container: ContainerProperties, now: datetime) -> Lock | None:
    """Return what locks an object: a legal hold, its own policy, or else the container's, of which no end is told."""
    if blob.has_legal_hold or container.has_legal_hold:
        return Lock(key, "a legal hold")
    own = blob.immutability_policy
    if own.expiry_time:
        until = own.expiry_time.astimezone(UTC)
        return Lock(key, f"an immutability policy ({own.policy_mode})", until) if until > now else None
    if container.has_immutability_policy:
        return Lock(key, "the container's immutability policy", may_have_ended=True)
    return None


def deletion_policy(
    fail: Fail, service: BlobServiceClient, container: ContainerClient, listed: Iterator[BlobProperties]
) -> str | None:
    """Return what keeps the bytes of deleted objects, as a store does.

    Whether an account has versioning, its objects alone tell: each that was written since has a version.
    """
    soft_delete = _soft_delete(fail, service)
    versioning = "versioning" if _has_version(fail, container, listed) else ""
    return " and ".join(filter(None, (versioning, soft_delete))) or soft_delete


def _soft_delete(fail: Fail, service: BlobServiceClient) -> str | None:
    """Return it in words, None where the identity may not look: the roles for data alone are not enough."""
    try:
        kept = attempt(fail, service.get_service_properties)["delete_retention_policy"]
    except StorageError as error:
        if error.retryable:
            raise
        return None
    return f"soft delete for {kept.days} days" if kept.enabled else ""


def _has_version(fail: Fail, container: ContainerClient, listed: Iterator[BlobProperties]) -> bool:
    """Look at one of the newest objects: a listing tells versions only together with the older ones."""
    newest = max(islice(listed, _LOOKED_THROUGH), key=attrgetter("last_modified"), default=None)
    with suppress(ObjectNotFound):  # gone meanwhile
        if newest:
            return bool(attempt(fail, container.get_blob_client(newest.name).get_blob_properties).version_id)
    return False
