"""What to do with one answer to a status request. Synchronous wait, trigger and sensor all ask here, and only here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from airflow_provider_vectorbackup.backups.operation import Operation, name_of
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import (
    NotFound,
    OperationLost,
    OperationTimedOut,
    VectorBackupError,
    WeaviateError,
)

FIRST_INTERVAL_SECONDS = 1.0
"""A small backup is done 2 s after its start: the coordinator looks at its nodes after 2 s, then every 10 s."""

_SHARE_OF_AGE = 0.5
"""The pause after a look, as a share of the operation's age: half as long again as the pause before."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The state of one wait. Times are seconds since the epoch.

    :param since: when the wait began, for "after n s" in log lines.
    :param deadline: when to give up. Absolute, so that a restarted triggerer does not start it anew.
    :param poll_interval: the longest time between two polls; the first ones are shorter.
    :param fault_tolerance: for how many seconds without a break passing faults (5xx, no connection, 404) are borne.
    :param wait_for_existence: whether 404 means "not yet" (a sensor) and not "gone" (our own operation).
    :param last_seen: what the last poll brought.
    :param last_status: the last status that was seen.
    :param changed_at: when that was first seen.
    :param faults_since: since when no status could be read.
    """

    kind: OperationKind
    address: BackupAddress
    since: float
    deadline: float
    poll_interval: float
    fault_tolerance: float = 300.0
    wait_for_existence: bool = False
    last_seen: str = ""
    last_status: str = ""
    changed_at: float | None = None
    faults_since: float | None = None

    @property
    def name(self) -> str:
        """What is waited for, as log lines and errors say it."""
        return name_of(self.kind, self.address)


def watch_of(operation: Operation, poll_interval: float, *, wait_for_existence: bool = False) -> Watch:
    """Return the wait for the end of an operation, not yet begun."""
    return Watch(
        operation.kind,
        operation.address,
        since=operation.since,
        deadline=operation.deadline,
        poll_interval=poll_interval,
        wait_for_existence=wait_for_existence,
    )


@dataclass(frozen=True, slots=True)
class Again:
    """Poll again after ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The operation is in a final state."""

    status: OperationStatus


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Stop waiting, with this error."""

    error: VectorBackupError


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision, the wait's next state, and a log line where there is something new to say."""

    decision: Again | Ended | GaveUp
    watch: Watch = field(repr=False)
    news: str = ""


def judge(watch: Watch, seen: OperationStatus | WeaviateError, now: float) -> Verdict:
    """Decide what follows from one answer (or from the error in its place)."""
    if isinstance(seen, OperationStatus):
        return _judge_status(watch, seen, now)
    if watch.wait_for_existence and isinstance(seen, NotFound):
        return _wait_on(replace(watch, faults_since=None), "not there yet", now)
    if not (seen.retryable or isinstance(seen, NotFound)):
        return Verdict(GaveUp(seen), watch)
    since = now if watch.faults_since is None else watch.faults_since
    watch = replace(watch, faults_since=since)
    if now - since > watch.fault_tolerance:
        return Verdict(GaveUp(_lost(watch, seen, now)), watch)
    # The whole reason is told once: it may hold a port or a time, another one at each poll.
    code = f"{seen.status_code}" if seen.status_code else "no answer"
    return _wait_on(watch, f"no status ({code})", now, detail=f": {seen.message}")


def _judge_status(watch: Watch, seen: OperationStatus, now: float) -> Verdict:
    what = _describe(seen)
    changed_at = now if what != watch.last_status else watch.changed_at
    watch = replace(watch, faults_since=None, last_status=what, changed_at=changed_at)
    if seen.is_final:
        return Verdict(Ended(seen), replace(watch, last_seen=what), _news(watch, what, now))
    verdict = _wait_on(watch, what, now)
    if seen.status is Status.CANCELLING and now - (verdict.watch.changed_at or now) > watch.fault_tolerance:
        return replace(verdict, decision=GaveUp(_stuck(watch)))
    return verdict


def _wait_on(watch: Watch, what: str, now: float, *, detail: str = "") -> Verdict:
    news = _news(watch, what, now, detail)
    watch = replace(watch, last_seen=what)
    if now >= watch.deadline:
        return Verdict(GaveUp(_timed_out(watch, now)), watch, news)
    # By age, not by the number of looks: a triggerer that restarts does not begin with short pauses again.
    seconds = max(FIRST_INTERVAL_SECONDS, _SHARE_OF_AGE * (now - watch.since))
    return Verdict(Again(min(seconds, watch.poll_interval, watch.deadline - now)), watch, news)


def _describe(seen: OperationStatus) -> str:
    if seen.status is Status.SUCCESS and not seen.is_final:
        return "SUCCESS, not yet written to storage"
    return f"{seen.status.value}: {seen.error}" if seen.error else seen.status.value


def _news(watch: Watch, what: str, now: float, detail: str = "") -> str:
    """Return a line if the status changed; none for a poll that shows nothing new."""
    if what == watch.last_seen:
        return ""
    return f"{watch.name}: {what} after {now - watch.since:.1f} s{detail}"


def _timed_out(watch: Watch, now: float) -> OperationTimedOut:
    unchanged = f", with no change seen since {clock(watch.changed_at)}" if watch.changed_at else ""
    fault = f"; at the last look {watch.last_seen}" if watch.last_seen != watch.last_status else ""
    return OperationTimedOut(
        f"{watch.name} did not end before {clock(watch.deadline)}: {watch.last_status or 'no status seen'} after "
        f"{now - watch.since:.0f} s{unchanged}{fault}.",
        hint="The server may still be working on it; after a crash its status stays like this for ever. Look at the "
        "nodes, cancel it, or give a longer timeout; another Dag run makes another backup.",
        backup_id=watch.address.backup_id,
    )


def _stuck(watch: Watch) -> OperationLost:
    return OperationLost(
        f"{watch.name} stays CANCELLING: the node that was canceling it died, and the server does nothing any more.",
        hint=f"Delete the object {watch.address.backup_id}/restore_config.json in the backup's storage and try again.",
        backup_id=watch.address.backup_id,
    )


def _lost(watch: Watch, seen: WeaviateError, now: float) -> OperationLost:
    faults = now - (watch.faults_since or now)
    return OperationLost(
        f"{watch.name} can't be followed: no status for {faults:.0f} s. The last answer: {seen.message}",
        hint="Look at the server and at its storage. The operation may still be running.",
        backup_id=watch.address.backup_id,
    )


def clock(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as errors tell it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
