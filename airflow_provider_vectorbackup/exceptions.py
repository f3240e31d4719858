"""Every error this package raises, as one tree.

::

    VectorBackupError
    ├── InvalidRequest (also a ValueError)   what was asked for can't be done; nothing was started
    │   └── InvalidConnection                the Airflow connection lacks or contradicts something
    ├── PreflightFailed                      a check before the start found an obstacle; nothing was started
    │   ├── ServerNotReady                   a node is not healthy; it may be later
    │   ├── BackupInUse                      somebody else reads or changes it just now
    │   ├── TargetOccupied                   the target of a copy holds something else under the same id
    │   ├── PruneRefused                     what would be deleted can't be right; nothing was
    │   └── NothingToRestore                 all collections are there already, and those were to be skipped
    ├── JobError                             an operation that was started did not end well
    │   ├── OperationFailed                  the server says FAILED
    │   ├── OperationCanceled                the server says CANCELED
    │   ├── OperationTimedOut                our deadline passed; the server may still be working
    │   ├── OperationLost                    its status can no longer be read
    │   ├── CopyIncomplete                   what a copy moved is not all in the target, as it was moved
    │   └── SelectionMismatch                the server works on other collections than it was asked for
    ├── IntegrityError                       what lies in storage is not what it should be
    │   ├── BrokenDescriptor                 a descriptor of Weaviate's, or a manifest of ours, can't be read
    │   ├── ChunkDamaged                     a chunk is not what a server wrote
    │   ├── BackupDamaged                    a verification found that a backup can't be restored whole
    │   └── ContentDiffers                   a cluster does not hold what was recorded
    ├── StorageError                         the storage of a location can't be read or written
    │   ├── ObjectNotFound                   there is no such object
    │   ├── ObjectChanged                    the object was written anew since it was listed
    │   ├── DeletionFailed                   some of several objects could not be deleted
    │   └── StorageUnreachable               no connection, no answer in time, or a fault of the storage's own
    └── WeaviateError                        an answer of the server, or the lack of one
        ├── Rejected                         4xx: the server understood and said no
        │   ├── Unauthenticated              401
        │   ├── Forbidden                    403
        │   ├── NotFound                     404
        │   └── AlreadyExists                the backup id is taken
        ├── OperationInProgress              another operation holds the server's only slot
        ├── ServerFault                      5xx
        ├── Unreachable                      no connection, or no answer in time
        ├── TlsFailed                        the server's certificate was not accepted
        └── UnexpectedAnswer                 an answer that is not what this API answers

``retryable`` says whether the same request may succeed later with nothing changed. Only ``operators`` and ``sensors``
turn these into Airflow's own exceptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class VectorBackupError(Exception):
    """Base of all errors of this package.

    :param message: what is wrong and where, one sentence.
    :param hint: what to do about it; shown after the message.
    :param backup_id: the backup concerned, if one is.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", backup_id: str | None = None) -> None:
        super().__init__(f"{message} {hint}".rstrip())
        self.message = message
        self.hint = hint
        self.backup_id = backup_id


class InvalidRequest(VectorBackupError, ValueError):
    """What was asked for can't be done; nothing was started."""


class InvalidConnection(InvalidRequest):
    """The Airflow connection lacks or contradicts something."""


class PreflightFailed(VectorBackupError):
    """A check before the start found an obstacle; nothing was started."""


class ServerNotReady(PreflightFailed):
    """A node of the server is not healthy; it may be later."""

    retryable = True


class BackupInUse(PreflightFailed):
    """Somebody else reads or changes the backup just now; not for ever."""

    retryable = True


class TargetOccupied(PreflightFailed):
    """The target of a copy holds something else under the same id."""


class PruneRefused(PreflightFailed):
    """What would be deleted can't be right, or it can't be told what may be; nothing was deleted since that showed."""


class NothingToRestore(PreflightFailed):
    """All collections are there already, and those were to be skipped."""


class JobError(VectorBackupError):
    """An operation that was started did not end well."""


class OperationFailed(JobError):
    """The server says FAILED. A retry starts under a new id."""

    retryable = True


class OperationCanceled(JobError):
    """The server says CANCELED."""


class OperationTimedOut(JobError):
    """Our deadline passed; the server may still be working."""


class OperationLost(JobError):
    """The status of the operation can no longer be read."""

    retryable = True


class CopyIncomplete(JobError):
    """What a copy moved is not all in the target, as it was moved. Run again, it moves the rest."""

    retryable = True


class SelectionMismatch(JobError):
    """The server works on other collections than it was asked for."""


class IntegrityError(VectorBackupError):
    """What lies in storage is not what it should be."""


class BrokenDescriptor(IntegrityError):
    """A descriptor of Weaviate's, or a manifest of ours, can't be read."""


class BackupDamaged(IntegrityError):
    """A verification found that a backup can't be restored whole."""


class ContentDiffers(IntegrityError):
    """A cluster does not hold what was recorded."""


class ChunkDamaged(IntegrityError):
    """A chunk is not what a server wrote: cut off, changed, or followed by something else."""


class StorageError(VectorBackupError):
    """A location can't be read or written: a bucket, a permission, a credential or a library is missing."""


class ObjectNotFound(StorageError):
    """There is no such object."""


class ObjectChanged(StorageError):
    """The object was written anew since it was listed."""

    retryable = True


class DeletionFailed(StorageError):
    """Some of several objects could not be deleted; the others were.

    :param reasons: by key, in the storage's words.
    """

    def __init__(
        self, message: str, *, hint: str = "", backup_id: str | None = None, reasons: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, hint=hint, backup_id=backup_id)
        self.reasons = dict(reasons or {})


class StorageUnreachable(StorageError):
    """No connection, no answer in time, or a fault of the storage's own."""

    retryable = True


class WeaviateError(VectorBackupError):
    """An answer of the server, or the lack of one.

    :param status_code: the HTTP status, if there was an answer.
    :param may_have_started: whether the server may have begun what a POST asked for; before repeating it, ask for the
        status.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        backup_id: str | None = None,
        status_code: int | None = None,
        may_have_started: bool = False,
    ) -> None:
        super().__init__(message, hint=hint, backup_id=backup_id)
        self.status_code = status_code
        self.may_have_started = may_have_started


class Rejected(WeaviateError):
    """4xx: the server understood and said no."""


class Unauthenticated(Rejected):
    """401: no key, or one that the server does not know."""


class Forbidden(Rejected):
    """403: the key is known and lacks a permission."""


class NotFound(Rejected):
    """404: no such backup, or (servers below 1.37.10) its storage can't be reached."""


class AlreadyExists(Rejected):
    """The backup id is taken: by a running, finished, failed or canceled backup."""


class OperationInProgress(WeaviateError):
    """Another operation holds the server's only slot of its kind.

    :ivar blocking_id: the backup id of that operation, where the server names it.
    """

    retryable = True
    blocking_id: str | None = None


class ServerFault(WeaviateError):
    """5xx."""

    retryable = True


class Unreachable(WeaviateError):
    """No connection, or no answer in time."""

    retryable = True


class TlsFailed(WeaviateError):
    """The server's certificate was not accepted."""


class UnexpectedAnswer(WeaviateError):
    """An answer that is not what this API answers: not JSON, empty, or of another shape."""
