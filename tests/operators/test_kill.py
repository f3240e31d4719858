"""Tasks that are killed while something runs on the server."""

from __future__ import annotations

import asyncio
import signal
from typing import Any, cast

import pytest

from airflow_provider_vectorbackup import compat
from airflow_provider_vectorbackup.compat import AirflowException, AirflowFailException
from airflow_provider_vectorbackup.operators import WeaviateCreateBackupOperator, WeaviateRestoreBackupOperator
from airflow_provider_vectorbackup.operators import base as operators_base
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from tests.meanwhile import started_when
from tests.operators.contexts import Log, TaskRun, Trigger, deferred, fire, killed_when, trigger_of

CREATE = "/backups/s3"
BACKUP = "/backups/s3/x1"
RESTORE = "/backups/s3/x1/restore"
Operator = WeaviateCreateBackupOperator | WeaviateRestoreBackupOperator


def create(**fields: Any) -> WeaviateCreateBackupOperator:
    return WeaviateCreateBackupOperator(task_id="backup", backup_id="x1", poll_interval=0.01, **fields)


def restore(**fields: Any) -> WeaviateRestoreBackupOperator:
    return WeaviateRestoreBackupOperator(task_id="restore", backup_id="x1", poll_interval=0.01, **fields)


# Whoever is killed in the midst of opening a connection leaves its socket to the process's end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestWorker:
    def test_backup_is_canceled(self, server: WeaviateStandIn, run: TaskRun, log: Log) -> None:
        server.running_polls = None
        operator = create()
        with killed_when(lambda: bool(server.running), operator), pytest.raises(AirflowException, match="was killed"):
            operator.execute(run.context)
        assert server.backup("x1").status == "CANCELED"
        assert "The task was killed: telling the server to cancel Backup 'x1' on s3." in log()
        assert "Backup 'x1' on s3 ended as CANCELED." in log()

    def test_restore_is_canceled(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.add_backup("x1", ["Article", "Author"])
        server.collections.clear()
        server.running_polls = None
        operator = restore()
        with killed_when(lambda: bool(server.running), operator), pytest.raises(AirflowException, match="was killed"):
            operator.execute(run.context)
        assert len(server.sent("DELETE", RESTORE)) == 1
        assert server.collections == {}

    def test_in_the_midst_of_the_request(self, server: WeaviateStandIn, run: TaskRun) -> None:
        """The server begins although nobody waits for its answer any more."""
        server.running_polls = None
        server.delay_next("POST", CREATE, 0.1)
        operator = create()
        with killed_when(lambda: bool(server.sent("POST", CREATE)), operator), pytest.raises(AirflowException):
            operator.execute(run.context)
        assert server.backup("x1").status == "CANCELED"

    def test_before_the_request(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.delay_next("GET", "/schema", 0.3)
        operator = create()
        with killed_when(lambda: bool(server.sent("GET", "/schema")), operator), pytest.raises(AirflowException):
            operator.execute(run.context)
        assert server.sent("POST|DELETE", ".*") == []
        assert server.backups == {}

    def test_too_late(self, server: WeaviateStandIn, run: TaskRun, log: Log) -> None:
        """204 promises nothing: the log says what really became of it."""
        server.running_polls = None
        server.cancels_too_late = True
        operator = create()
        ending = started_when(lambda: bool(server.sent("DELETE", BACKUP)), "the cancellation", server.finish)
        with killed_when(lambda: bool(server.running), operator), pytest.raises(AirflowException):
            operator.execute(run.context)
        ending.join()
        assert "Backup 'x1' on s3 ended as SUCCESS." in log()

    def test_switched_off(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.running_polls = None
        operator = create(cancel_on_kill=False)
        with killed_when(lambda: bool(server.running), operator), pytest.raises(AirflowException):
            operator.execute(run.context)
        assert server.backup("x1").status == "STARTED"
        assert server.sent("DELETE", ".*") == []

    def test_execution_timeout(self, server: WeaviateStandIn, run: TaskRun) -> None:
        """Airflow raises in the task, and calls on_kill when that has left it."""
        server.running_polls = None
        operator = create()

        class TaskTimeout(BaseException):
            pass

        def out_of_time(*_: object) -> None:
            raise TaskTimeout

        before = signal.signal(signal.SIGALRM, out_of_time)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(TaskTimeout):
                operator.execute(run.context)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        operator.on_kill()
        assert server.backup("x1").status == "CANCELED"

    def test_after_the_end(self, server: WeaviateStandIn, run: TaskRun) -> None:
        operator = create()
        operator.execute(run.context)
        operator.on_kill()
        assert server.sent("DELETE", ".*") == []

    def test_without_waiting(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.running_polls = None
        operator = create(wait_for_completion=False)
        operator.execute(run.context)
        operator.on_kill()
        assert server.sent("DELETE", ".*") == []

    def test_once_deferred_the_trigger_answers_for_it(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.running_polls = None
        operator = create(deferrable=True)
        deferred(operator, run)
        operator.on_kill()
        assert server.sent("DELETE", ".*") == []

    def test_tenants_are_put_back(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.version = "1.36.0"
        server.running_polls = None
        server.add_collection("Shop", {"a": "COLD"})
        operator = create(inactive_tenants="activate")
        with killed_when(lambda: bool(server.running), operator), pytest.raises(AirflowException):
            operator.execute(run.context)
        assert server.collections["Shop"].tenants == {"a": "COLD"}


class TestTriggerer:
    def test_backup_is_canceled(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.running_polls = None
        trigger = deferred(create(deferrable=True), run)
        asyncio.run(trigger.on_kill())
        assert server.backup("x1").status == "CANCELED"

    def test_is_carried_through_although_airflow_cancels_it(
        self, server: WeaviateStandIn, run: TaskRun, log: Log
    ) -> None:
        """Airflow 3.3's triggerer cancels the trigger's task again at each of its rounds, on_kill included."""
        server.running_polls = None
        trigger = deferred(create(deferrable=True), run)
        server.delay_next("DELETE", BACKUP, 0.2)

        async def killed() -> None:
            killing = asyncio.ensure_future(asyncio.wait_for(trigger.on_kill(), 30))
            for _ in range(3):
                await asyncio.sleep(0.02)
                killing.cancel("user-action")
            await asyncio.wait([killing])
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait_for(asyncio.shield(task), 10)

        asyncio.run(killed())
        assert server.backup("x1").status == "CANCELED"
        assert "Backup 'x1' on s3 ended as CANCELED." in log()

    def test_switched_off(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.running_polls = None
        trigger = deferred(create(deferrable=True, cancel_on_kill=False), run)
        asyncio.run(trigger.on_kill())
        assert server.sent("DELETE", ".*") == []

    def test_server_that_is_gone_is_told(self, server: WeaviateStandIn, run: TaskRun, log: Log) -> None:
        server.running_polls = None
        trigger = deferred(create(deferrable=True), run)
        server.api_keys = {"another"}
        asyncio.run(trigger.on_kill())
        assert "can't be canceled" in log()
        assert "kEy-0123456789" not in log()

    def test_tenants_are_put_back(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.version = "1.36.0"
        server.running_polls = None
        server.add_collection("Shop", {"a": "COLD"})
        trigger = deferred(create(deferrable=True, inactive_tenants="activate"), run)
        asyncio.run(trigger.on_kill())
        assert server.collections["Shop"].tenants == {"a": "COLD"}

    @pytest.mark.usefixtures("server")
    @pytest.mark.parametrize(("known", "warns"), [(True, False), (False, True)])
    def test_airflow_that_does_not_tell_triggers(
        self, run: TaskRun, log: Log, monkeypatch: pytest.MonkeyPatch, *, known: bool, warns: bool
    ) -> None:
        monkeypatch.setattr(operators_base, "triggers_have_on_kill", lambda: known)
        deferred(create(deferrable=True), run)
        assert ("cancel_on_kill has no effect while this task is deferred" in log()) is warns

    def test_what_this_airflow_does_is_known(self) -> None:
        from airflow.triggers.base import BaseTrigger

        assert compat.triggers_have_on_kill() is ("on_kill" in vars(BaseTrigger))


class TestTheTryAfter:
    """A cleared task runs again at once, while the server is still at the cancellation of its backup."""

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_starts_anew(self, server: WeaviateStandIn, run: TaskRun, *, deferrable: bool) -> None:
        server.running_polls = None
        create(wait_for_completion=False).execute(run.context)
        server.running_polls = 1
        again = create(deferrable=deferrable)
        ending = started_when(
            lambda: len(server.sent("GET", BACKUP)) > 3,
            "the second try",
            lambda: server.finish("CANCELED", "context canceled"),
        )
        if deferrable:
            trigger = deferred(again, run)
            event = fire(trigger).to_json()
            ending.join()
            second = trigger_of(lambda: again.execute_complete(run.context, event))
            result = again.execute_complete(run.context, fire(cast("Trigger", second)).to_json())
        else:
            result = again.execute(run.context)
            ending.join()
        assert (result["backup_id"], result["status"], result["attempts"]) == ("x1-a2", "SUCCESS", 2)

    def test_not_if_it_was_canceled_later(self, server: WeaviateStandIn, run: TaskRun) -> None:
        """By somebody who means it."""
        server.running_polls = None
        operator = create(deferrable=True)
        deferred(operator, run)
        event = fire_when_canceled(server, deferred(operator, run))
        event["operation"]["attached_at"] -= 3600
        with pytest.raises(AirflowFailException, match="was canceled"):
            operator.execute_complete(run.context, event)
        assert len(server.sent("POST", CREATE)) == 1


def fire_when_canceled(server: WeaviateStandIn, trigger: Any) -> dict[str, Any]:
    server.finish("CANCELED", "context canceled")
    return fire(trigger).to_json()
