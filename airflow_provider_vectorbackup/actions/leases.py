"""Leases: whoever reads a backup, or changes what is stored of it, says so beside it, and others keep off.

A lease is an object of its own in the backup's ``_vectorbackup/``, written anew while it is held, so that one whose
process was killed ends by itself. It is written first and then compared with the others that are there: of two that
can't both be, at least one sees the other. Ages are told by the storage's own clock.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import BackupInUse, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.store import Store, StoredObject
from airflow_provider_vectorbackup.transfer.threads import in_threads
from airflow_provider_vectorbackup.weaviate.layout import OWN_FOLDER

log = logging.getLogger(__name__)

LEASE_SECONDS = 120.0
"""How long a lease holds after it was last written; three times in that, it is."""

_TOKEN_LENGTH = 16
_AT_ONCE = 4


class Hold(StrEnum):
    """What a lease is for: any number may read, one may change, and not both."""

    READ = "read"
    CHANGE = "change"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds leases.

    :param owner: in words, for others to read. The same one takes its own lease over, as a retry does.
    :param purpose: what for, in one word.
    """

    owner: str
    purpose: str

    @classmethod
    def of(cls, owner: str, purpose: str) -> Holder:
        """Return an owner as a holder; without one, somebody that nobody else is."""
        return cls(owner, purpose) if owner else cls.anybody(purpose)

    @classmethod
    def anybody(cls, purpose: str) -> Holder:
        """Return one that nobody else is."""
        return cls(f"process {secrets.token_hex(4)}", purpose)

    def key(self, backup_id: str) -> str:
        """Return where its lease on a backup lies."""
        token = hashlib.sha256(f"{self.purpose} {self.owner}".encode()).hexdigest()[:_TOKEN_LENGTH]
        return f"{_prefix(backup_id)}{token}.json"


class Leases:
    """The leases that are held by a process on backups of one location.

    :param keep_seconds: how long they go on holding after they were last written.
    """

    def __init__(self, store: Store, holder: Holder, keep_seconds: float = LEASE_SECONDS) -> None:
        self._store = store
        self._holder = holder
        self._keep_seconds = keep_seconds
        self._held: dict[str, Hold] = {}
        self._renewed_at = time.monotonic()
        self._ended = threading.Event()
        self._renewing = threading.Lock()

    def take(self, backup_ids: Iterable[str], hold: Hold) -> None:
        """Take a lease on each of these backups.

        :raises BackupInUse: another holder's lease is in the way.
        :raises StorageError: one can't be written.
        """
        for _ in in_threads(lambda backup_id: self._take(backup_id, hold), backup_ids, _AT_ONCE):
            pass

    def _take(self, backup_id: str, hold: Hold) -> None:
        self._write(backup_id, hold)
        try:
            self._require_alone(backup_id, hold)
        except BackupInUse:
            with suppress(StorageError):
                self._store.delete([self._holder.key(backup_id)])
            raise
        self._held[backup_id] = hold

    def give_back(self, backup_ids: Iterable[str]) -> None:
        """Give up leases before all others; those that are not held are no error."""
        with self._renewing:
            given = [backup_id for backup_id in backup_ids if self._held.pop(backup_id, None)]
        self._store.delete(self._holder.key(backup_id) for backup_id in given)

    def require_held(self) -> None:
        """Raise if the leases could not be renewed for so long that others don't respect them any more.

        :raises StorageUnreachable: so it is.
        """
        if self._held and time.monotonic() - self._renewed_at > self._keep_seconds:
            raise StorageUnreachable("The leases on backups could not be renewed, so others may change them.")

    def renew(self) -> None:
        """Write all of them anew, until :meth:`end` is called."""
        while not self._ended.wait(self._keep_seconds / 3):
            began = time.monotonic()
            try:
                for backup_id in list(self._held):
                    with self._renewing:
                        if hold := self._held.get(backup_id):
                            self._write(backup_id, hold)
                self._renewed_at = began
            except StorageError as error:
                log.warning("A lease can't be renewed: %s", error.message)

    def end(self) -> None:
        """Renew them no more."""
        self._ended.set()

    def release(self) -> None:
        """Delete them. To be called when nobody renews them any more."""
        if self._held:
            with suppress(StorageError):
                self._store.delete([self._holder.key(backup_id) for backup_id in self._held])

    def _write(self, backup_id: str, hold: Hold) -> None:
        told = {"owner": self._holder.owner, "purpose": self._holder.purpose, "hold": hold.value}
        content = json.dumps(told | {"seconds": self._keep_seconds}).encode()
        self._store.write(self._holder.key(backup_id), [content], len(content))

    def _require_alone(self, backup_id: str, hold: Hold) -> None:
        """Raise if another's lease stands in the way."""
        listed = {stored.key: stored for stored in self._store.list_objects(_prefix(backup_id))}
        own = listed.pop(self._holder.key(backup_id), None)
        now = own.modified_at if own else max((each.modified_at for each in listed.values()), default=None)
        for stored in listed.values():
            if now:
                self._require_compatible(backup_id, stored, hold, now)

    def _require_compatible(self, backup_id: str, stored: StoredObject, hold: Hold, now: datetime) -> None:
        owner, purpose, other, seconds = _told(self._store.read(stored.key))
        age_seconds = (now - stored.modified_at).total_seconds()
        if age_seconds < seconds and Hold.CHANGE in (hold, other):
            raise BackupInUse(
                f"{backup_id} is in use: {owner} holds a lease on it ({purpose}).",
                hint=f"Wait for its end; if it was killed, the lease ends in {seconds - age_seconds:.0f} s.",
                backup_id=backup_id,
            )


def holder_of(store: Store, backup_id: str, now: datetime, but: Holder | None = None) -> str:
    """Return in words who holds an unexpired lease on a backup; empty where nobody does.

    :param now: by the worker's clock: nothing is written that would tell the storage's.
    :param but: whose lease does not count.
    """
    own = but.key(backup_id) if but else None
    for stored in store.list_objects(_prefix(backup_id)):
        if stored.key == own:
            continue
        owner, purpose, _, seconds = _told(store.read(stored.key))
        if (now - stored.modified_at).total_seconds() < seconds:
            return f"{owner} holds a lease on it ({purpose})"
    return ""


def is_lease(key: str) -> bool:
    """Whether a key in a location is that of somebody's lease."""
    return key.startswith(_prefix(key.partition("/")[0]))


def can_be_ended(store: Store, location: Location) -> bool:
    """Whether leases can be renewed and taken away: not where a policy keeps whatever is new for a time.

    On S3, locks keep versions, and more may follow.
    """
    return location.scheme == "s3" or not store.lock_policy()


class Release(StrEnum):
    """When leases end before their time."""

    ALWAYS = "always"
    ON_ERROR = "on error"
    NEVER = "never"


@contextmanager
def holding(
    store: Store, holder: Holder, *, keep_seconds: float = LEASE_SECONDS, release: Release = Release.ALWAYS
) -> Iterator[Leases]:
    """Yield leases that are renewed meanwhile.

    :param release: whether they end with the context; else they hold on for ``keep_seconds``.
    """
    leases = Leases(store, holder, keep_seconds)
    renewing = threading.Thread(target=leases.renew, daemon=True)
    is_released = release is not Release.NEVER
    renewing.start()
    try:
        yield leases
        is_released = release is Release.ALWAYS
    finally:
        leases.end()
        renewing.join()
        if is_released:
            leases.release()


def _prefix(backup_id: str) -> str:
    return f"{backup_id}/{OWN_FOLDER}/lease-"


def _told(content: bytes | None) -> tuple[str, str, Hold, float]:
    """Return owner, purpose, hold and seconds of a lease; one that can't be read holds all it can."""
    if content is None:
        return "", "", Hold.READ, 0.0
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        told = json.loads(content)
        return str(told["owner"]), str(told["purpose"]), Hold(told["hold"]), float(told["seconds"])
    return "somebody", "unknown", Hold.CHANGE, LEASE_SECONDS
