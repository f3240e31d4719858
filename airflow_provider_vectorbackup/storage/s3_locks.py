"""What keeps objects of S3 from being deleted, or from being deleted for good: Object Lock, and versioning.

Where a bucket has versions, a plain deletion only hides an object, whatever locks it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from typing import Any

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.storage.s3_errors import FAILURES, Failure, code_of, translated
from airflow_provider_vectorbackup.storage.s3_listing import list_objects
from airflow_provider_vectorbackup.storage.s3_reading import head
from airflow_provider_vectorbackup.storage.s3_requests import Requests
from airflow_provider_vectorbackup.storage.store import CONNECTIONS, Lock, prefix_in_bucket

_NOT_KNOWN = "NotImplemented"
"""Said by servers that have no such thing."""

_NO_LOCK = frozenset({"ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration", _NOT_KNOWN})
_NO_OBJECT = "NoSuchKey"
_LOOKED_AT_TOGETHER = 256

_VERSIONING = {
    "Enabled": "versioning",
    "Suspended": "versioning, now suspended, of objects that were written before",
}
"""By status; what is written while it is suspended has no versions."""


def lock_policy(client: Any, bucket: str) -> str | None:
    """Return what keeps new objects of a bucket, as a store does."""
    try:
        found = client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    except FAILURES as error:
        return "" if code_of(error) in _NO_LOCK else None
    kept = found.get("Rule", {}).get("DefaultRetention", {})
    times = [f"{kept[unit]} {unit.lower()}" for unit in ("Days", "Years") if kept.get(unit)]
    return f"Object Lock: {kept.get('Mode')} for {times[0]}" if times else ""


def deletion_policy(client: Any, bucket: str, failure: Failure) -> str | None:
    """Return what keeps the bytes of deleted objects of a bucket, as a store does.

    :raises StorageUnreachable: this may pass.
    """
    try:
        status = client.get_bucket_versioning(Bucket=bucket).get("Status", "")
    except FAILURES as error:
        if code_of(error) == _NOT_KNOWN:
            return ""
        told = translated(failure, error)
        if told.retryable:
            raise told from error
        return None
    return _VERSIONING.get(status, "")


def list_locks(requests: Requests, location: Location, prefix: str) -> Iterator[Lock]:
    """Yield the locks of objects as a store does: by one request, or by one an object where the bucket has Object Lock.

    Raises what the client raises, also where the identity may not know.
    """
    client = requests.client
    if not _has_object_lock(client, location.bucket):
        return
    keys: Iterator[str] = (found.key for found in list_objects(requests, location, prefix))
    if (first := next(keys, None)) is None:
        return
    _require_told(client, _target(location, first))
    keys, now = chain([first], keys), datetime.now(UTC)
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        while some := list(islice(keys, _LOOKED_AT_TOGETHER)):
            yield from filter(None, threads.map(partial(_lock_on, client, location, now), some))


def _has_object_lock(client: Any, bucket: str) -> bool:
    try:
        found = client.get_object_lock_configuration(Bucket=bucket)
    except FAILURES as error:
        if code_of(error) in _NO_LOCK:
            return False
        raise
    return bool(found.get("ObjectLockConfiguration"))


def _require_told(client: Any, target: Mapping[str, str]) -> None:
    """Raise where the identity may not know of locks: then HEAD is silent about them, as if there were none."""
    for ask in (client.get_object_retention, client.get_object_legal_hold):
        try:
            ask(**target)
        except FAILURES as error:
            if code_of(error) not in {*_NO_LOCK, _NO_OBJECT}:
                raise


def _lock_on(client: Any, location: Location, now: datetime, key: str) -> Lock | None:
    """Look at an object; one that is not there any more has none."""
    try:
        told = head(client, _target(location, key))
    except FAILURES as error:
        if code_of(error) == _NO_OBJECT:
            return None
        raise
    if told.get("ObjectLockLegalHoldStatus") == "ON":
        return Lock(key, "a legal hold")
    until = told.get("ObjectLockRetainUntilDate")
    if until and until > now:
        return Lock(key, f"Object Lock ({told.get('ObjectLockMode')})", until.astimezone(UTC))
    return None


def _target(location: Location, key: str) -> dict[str, str]:
    """Name an object, also of a key as only a listing has it."""
    return {"Bucket": location.bucket, "Key": prefix_in_bucket(location, key)}
