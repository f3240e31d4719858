from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.polling import Again, Ended, GaveUp, Verdict, Watch, judge
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import (
    Forbidden,
    NotFound,
    OperationInProgress,
    OperationLost,
    OperationTimedOut,
    Rejected,
    ServerFault,
    TlsFailed,
    Unauthenticated,
    UnexpectedAnswer,
    Unreachable,
    WeaviateError,
)

BACKUP = OperationKind.BACKUP
START = 1_800_000_000.0
DONE = datetime(2026, 11, 22, tzinfo=UTC)
ADDRESS = BackupAddress("s3", "x1")


def watch(**changes: object) -> Watch:
    fields = {"since": START, "deadline": START + 1000.0, "poll_interval": 10.0} | changes
    return Watch(BACKUP, ADDRESS, **fields)  # type: ignore[arg-type]  # each caller gives what Watch has


def status(name: Status, *, error: str = "", completed_at: datetime | None = None) -> OperationStatus:
    return OperationStatus(BACKUP, name, error, completed_at=completed_at)


STARTED = status(Status.STARTED)
SUCCEEDED = status(Status.SUCCESS, completed_at=DONE)


def judged(seen: OperationStatus | WeaviateError, after: float = 1.0, **changes: object) -> Verdict:
    return judge(watch(**changes), seen, START + after)


class TestStatus:
    @pytest.mark.parametrize(
        "name",
        [Status.STARTED, Status.TRANSFERRING, Status.TRANSFERRED, Status.FINALIZING, Status.CANCELLING, Status.UNKNOWN],
    )
    def test_running_is_looked_at_again(self, name: Status) -> None:
        assert isinstance(judged(status(name)).decision, Again)

    @pytest.mark.parametrize("seen", [SUCCEEDED, status(Status.FAILED), status(Status.CANCELED)])
    def test_final_ends(self, seen: OperationStatus) -> None:
        assert judged(seen).decision == Ended(seen)

    def test_success_that_is_not_in_storage_yet_is_not_final(self) -> None:
        verdict = judged(status(Status.SUCCESS))
        assert isinstance(verdict.decision, Again)
        assert "SUCCESS, not yet written to storage" in verdict.news

    def test_end_after_the_deadline_is_an_end(self) -> None:
        assert judged(SUCCEEDED, after=5000.0).decision == Ended(SUCCEEDED)

    def test_running_at_the_deadline(self) -> None:
        decision = judged(STARTED, after=1000.0).decision
        assert isinstance(decision, GaveUp)
        assert isinstance(decision.error, OperationTimedOut)
        assert decision.error.backup_id == "x1"
        assert str(decision.error).startswith("Backup 'x1' on s3 did not end before 2027-01-15 08:16:40 UTC: STARTED")

    def test_time_out_says_since_when_nothing_changed(self) -> None:
        state = judged(STARTED, after=100.0).watch
        for after in (500.0, 1000.0):
            verdict = judge(state, STARTED, START + after)
            state = verdict.watch
        assert isinstance(verdict.decision, GaveUp)
        assert "STARTED after 1000 s, with no change seen since 2027-01-15 08:01:40 UTC. The" in str(
            verdict.decision.error
        )

    def test_time_out_in_an_outage_says_the_last_status_all_the_same(self) -> None:
        state = judged(STARTED, after=100.0).watch
        verdict = judge(state, ServerFault("Weaviate answered 500.", status_code=500), START + 1000.0)
        assert isinstance(verdict.decision, GaveUp)
        told = (
            "STARTED after 1000 s, with no change seen since 2027-01-15 08:01:40 UTC; at the last look no status (500)."
        )
        assert told in str(verdict.decision.error)

    def test_canceling_without_an_end_is_given_up(self) -> None:
        """Trap 4: whoever was canceling died, and the state stands for ever."""
        canceling = status(Status.CANCELLING)
        state = judged(canceling, after=1.0, fault_tolerance=60.0).watch
        assert isinstance(judge(state, canceling, START + 61).decision, Again)
        decision = judge(state, canceling, START + 62).decision
        assert isinstance(decision, GaveUp)
        assert isinstance(decision.error, OperationLost)
        assert "Delete the object x1/restore_config.json" in decision.error.hint


class TestFaults:
    @pytest.mark.parametrize("kind", [NotFound, ServerFault, Unreachable, OperationInProgress])
    def test_borne_for_a_while_then_lost(self, kind: type[WeaviateError]) -> None:
        error, state = kind("No."), watch(fault_tolerance=60.0)
        for after in (0.0, 30.0, 60.0):
            verdict = judge(state, error, START + after)
            assert isinstance(verdict.decision, Again)
            state = verdict.watch
        decision = judge(state, error, START + 61.0).decision
        assert isinstance(decision, GaveUp)
        assert isinstance(decision.error, OperationLost)
        assert "no status for 61 s" in str(decision.error)
        assert decision.error.retryable

    def test_an_answer_in_between_starts_the_count_anew(self) -> None:
        state = watch(fault_tolerance=60.0)
        for after in (0.0, 59.0):
            state = judge(state, ServerFault("No."), START + after).watch
        state = judge(state, STARTED, START + 60.0).watch
        verdict = judge(state, ServerFault("No."), START + 62.0)
        assert isinstance(verdict.decision, Again)

    @pytest.mark.parametrize("kind", [Unauthenticated, Forbidden, Rejected, TlsFailed, UnexpectedAnswer])
    def test_what_can_not_pass_ends_at_once(self, kind: type[WeaviateError]) -> None:
        error = kind("No.")
        assert judged(error).decision == GaveUp(error)

    def test_deadline_comes_before_tolerance(self) -> None:
        decision = judged(ServerFault("No."), after=1000.0).decision
        assert isinstance(decision, GaveUp)
        assert isinstance(decision.error, OperationTimedOut)


class TestWaitForExistence:
    def test_absent_is_waited_for_to_the_deadline(self) -> None:
        state = watch(wait_for_existence=True, fault_tolerance=1.0)
        for after in (0.0, 500.0, 999.0):
            verdict = judge(state, NotFound("No."), START + after)
            assert isinstance(verdict.decision, Again)
            state = verdict.watch
        decision = judge(state, NotFound("No."), START + 1000.0).decision
        assert isinstance(decision, GaveUp)
        assert isinstance(decision.error, OperationTimedOut)
        assert "not there yet" in str(decision.error)

    def test_other_faults_are_not_absence(self) -> None:
        state = judge(watch(wait_for_existence=True, fault_tolerance=10.0), ServerFault("No."), START).watch
        decision = judge(state, ServerFault("No."), START + 11.0).decision
        assert isinstance(decision, GaveUp)
        assert isinstance(decision.error, OperationLost)


def test_news_only_at_a_change() -> None:
    # A server's own words on a fault hold another port at each poll.
    failing = [ServerFault(f"Weaviate answered 503: port {port}.", status_code=503) for port in (1, 2)]
    seen: list[OperationStatus | WeaviateError] = [STARTED, STARTED, *failing, STARTED]
    seen += [status(Status.SUCCESS), SUCCEEDED]
    state, news = watch(), []
    for second, observation in enumerate(seen):
        verdict = judge(state, observation, START + second)
        state = verdict.watch
        news.append(verdict.news.removeprefix("Backup 'x1' on s3: "))
    assert news == [
        "STARTED after 0.0 s",
        "",
        "no status (503) after 2.0 s: Weaviate answered 503: port 1.",
        "",
        "STARTED after 4.0 s",
        "SUCCESS, not yet written to storage after 5.0 s",
        "SUCCESS after 6.0 s",
    ]


def test_first_looks_are_close_together() -> None:
    state, pauses = watch(), []
    for second in range(30):
        verdict = judge(state, STARTED, START + second)
        assert isinstance(verdict.decision, Again)
        state = verdict.watch
        pauses.append(verdict.decision.seconds)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[2], pauses[-1]) == (1.0, 1.0, 10.0)


def test_a_restarted_wait_does_not_begin_with_short_pauses_again() -> None:
    assert judged(STARTED, after=500.0).decision == Again(10.0)


def test_wait_of_days() -> None:
    state = watch(deadline=START + 10 * 86_400.0, poll_interval=1.0)
    assert judge(state, STARTED, START + 9 * 86_400.0).decision == Again(1.0)


observations: st.SearchStrategy[list[OperationStatus | WeaviateError]] = st.lists(
    st.sampled_from(
        [
            *(status(name) for name in Status),
            SUCCEEDED,
            *(kind("No.") for kind in (NotFound, ServerFault, Unreachable, Unauthenticated, UnexpectedAnswer)),
        ]
    ),
    min_size=1,
    max_size=12,
)
watches = st.builds(
    lambda timeout, interval, **others: watch(
        deadline=START + timeout, poll_interval=max(interval, timeout / 500), **others
    ),
    st.floats(0.0, 5000.0),
    st.floats(0.05, 3600.0),
    fault_tolerance=st.floats(0.0, 600.0),
    wait_for_existence=st.booleans(),
)


@given(watches, observations, st.lists(st.floats(0.0, 20.0), min_size=1, max_size=5))
def test_every_wait_ends(state: Watch, seen: list[OperationStatus | WeaviateError], answer_times: list[float]) -> None:
    now = START
    for observation, answer_time in zip(itertools.cycle(seen), itertools.cycle(answer_times), strict=False):
        now += answer_time
        verdict = judge(state, observation, now)
        if not isinstance(verdict.decision, Again):
            break
        pause = verdict.decision.seconds
        assert 0 < pause <= state.poll_interval
        assert now + pause <= state.deadline + 1e-3
        now += pause
        state = verdict.watch
    # Only the time of the last answer comes on top of the deadline.
    assert now <= state.deadline + max(answer_times) + 1e-3
    assert isinstance(verdict.decision, Ended) == (isinstance(observation, OperationStatus) and observation.is_final)
