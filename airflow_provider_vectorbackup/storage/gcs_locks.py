"""What keeps Google's objects from being deleted, or from being deleted for good, as its answers tell it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any

from airflow_provider_vectorbackup.storage.store import Lock

LOCK_POLICY_FIELDS = "retentionPolicy,defaultEventBasedHold"
DELETION_POLICY_FIELDS = "versioning,softDeletePolicy"
"""Of a bucket."""

LOCK_FIELDS = "nextPageToken,items(name,retentionExpirationTime,retention,temporaryHold,eventBasedHold)"
"""Of a listing."""

_DAY_SECONDS = 86400


def lock_policy_in(told: Mapping[str, Any]) -> str:
    """Return what keeps new objects of a bucket, in words."""
    seconds = (told.get("retentionPolicy") or {}).get("retentionPeriod")
    retention = f"a retention policy of {seconds} seconds" if seconds else ""
    hold = "a hold on each new object" if told.get("defaultEventBasedHold") else ""
    return " and ".join(filter(None, (retention, hold)))


def deletion_policy_in(told: Mapping[str, Any]) -> str:
    """Return what keeps the bytes of deleted objects of a bucket, in words."""
    seconds = int((told.get("softDeletePolicy") or {}).get("retentionDurationSeconds") or 0)
    versioning = "versioning" if (told.get("versioning") or {}).get("enabled") else ""
    soft_delete = f"soft delete for {seconds / _DAY_SECONDS:g} days" if seconds else ""
    return " and ".join(filter(None, (versioning, soft_delete)))


def lock_on(key: str, blob: Any, now: datetime) -> Lock | None:
    """Return what locks an object.

    :param blob: as Google's library lists it with ``LOCK_FIELDS``.
    """
    if blob.event_based_hold:
        return Lock(key, "an event-based hold")
    if blob.temporary_hold:
        return Lock(key, "a temporary hold")
    own = blob.retention
    times = (own.retain_until_time, f"a retention ({own.mode})"), (blob.retention_expiration_time, "a retention policy")
    in_force = [(until, reason) for until, reason in times if until and until > now]
    until, reason = max(in_force, key=itemgetter(0), default=(None, ""))
    return Lock(key, reason, until) if until else None
