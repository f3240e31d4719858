"""Nothing that we start outlives us, and what goes wrong is said with the log."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.services.loopback import ADDRESS, free_port_pairs, free_ports
from tests.services.process import ServiceFailed, ServiceProcess, running, stop_all, wait_until

_ROOT = Path(__file__).parents[2]

# A service with a child in its own session and one in a session apart, as daemons do; says when both are there.
_FAMILY = """
    import subprocess, sys, time
    near = subprocess.Popen(["sleep", "600"])
    apart = subprocess.Popen(["sleep", "600"], start_new_session=True)
    print(near.pid, apart.pid, flush=True)
    time.sleep(600)
"""
_STUBBORN = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)
    time.sleep(600)
"""


def _python(code: str, log_path: Path, **settings: object) -> ServiceProcess:
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    return ServiceProcess("sample", argv, log_path, **settings)  # type: ignore[arg-type]


def _has_written(path: Path) -> bool:
    return path.exists() and path.read_text().endswith("\n")


def _gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_stop_ends_the_whole_family(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(_python(_FAMILY, log), lambda: _has_written(log)) as service:
        family = [service.pid, *map(int, log.read_text().split())]
        assert not any(_gone(pid) for pid in family)
    assert all(_gone(pid) for pid in family)
    assert not service.running


def test_stop_ends_children_whose_parent_has_died_on_its_own(tmp_path: Path) -> None:
    log = tmp_path / "log"
    service = _python(_FAMILY, log)
    service.start(lambda: _has_written(log))
    near = int(log.read_text().split()[0])
    apart = int(log.read_text().split()[1])
    try:
        os.kill(service.pid, signal.SIGKILL)
        wait_until(lambda: not service.running, 5, "the end of the parent")
        service.stop()
        assert _gone(near)
    finally:
        os.kill(apart, signal.SIGKILL)


def test_a_start_after_a_crash_ends_what_the_crash_left(tmp_path: Path) -> None:
    log = tmp_path / "log"
    service = ServiceProcess("sample", ["sh", "-c", "sleep 600 & echo $!; wait"], log)
    service.start(lambda: _has_written(log))
    child = int(log.read_text())
    os.kill(service.pid, signal.SIGKILL)
    wait_until(lambda: not service.running, 5, "the end of the parent")
    service.start(lambda: len(log.read_text().splitlines()) == 2)
    assert _gone(child)
    service.stop()


def test_what_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    service = _python(_STUBBORN, log, grace_seconds=0.3)
    service.start(lambda: _has_written(log))
    pid, begin = service.pid, time.monotonic()
    service.stop()
    assert _gone(pid)
    assert 0.3 <= time.monotonic() - begin < 5


def test_others_are_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        with running(_python("import time; time.sleep(600)", tmp_path / "log"), lambda: True):
            pass
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_early_end_is_told_with_the_end_of_the_log(tmp_path: Path) -> None:
    service = _python("[print('line', n) for n in range(100)]; raise SystemExit(3)", tmp_path / "log")
    with pytest.raises(ServiceFailed) as caught:
        service.start(lambda: False, deadline_seconds=10)
    message = str(caught.value)
    assert message.startswith("sample ended with exit code 3 before it was ready\n")
    assert str(tmp_path / "log") in message
    assert message.partition("log\n")[2].splitlines() == [f"line {number}" for number in range(70, 100)]


def test_what_never_gets_ready_is_ended(tmp_path: Path) -> None:
    service = _python("import time; print('loading', flush=True); time.sleep(600)", tmp_path / "log")
    with pytest.raises(ServiceFailed, match="not ready after 1 s"):
        service.start(lambda: False, deadline_seconds=1)
    assert _gone(service.pid)
    assert not service.running


def test_a_broken_readiness_test_ends_it_too(tmp_path: Path) -> None:
    def broken() -> bool:
        raise ZeroDivisionError

    service = _python("import time; time.sleep(600)", tmp_path / "log")
    with pytest.raises(ZeroDivisionError):
        service.start(broken)
    assert _gone(service.pid)


def test_it_can_start_again_but_not_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    service = _python("import time; print('up', flush=True); time.sleep(600)", log)
    service.start(lambda: _has_written(log))
    with pytest.raises(RuntimeError, match="running already"):
        service.start(lambda: True)
    service.kill()
    service.start(lambda: log.read_text() == "up\nup\n")
    stop_all([service])
    assert not service.running


def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = _python("import time; time.sleep(600)", tmp_path / "log")
    started: list[subprocess.Popen[bytes]] = []
    start, before = subprocess.Popen, signal.getsignal(signal.SIGINT)

    def interrupted(argv: Any, **settings: Any) -> Any:
        child = start(argv, **settings)
        if argv is service.argv:
            started.append(child)
            signal.raise_signal(signal.SIGINT)
        return child

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        service.spawn()
    assert _gone(started[0].pid)
    assert not service.running
    assert signal.getsignal(signal.SIGINT) is before


def test_it_gets_its_own_environment_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a developer's own")
    log = tmp_path / "log"
    code = "import os; print(os.environ.get('AWS_SECRET_ACCESS_KEY'), os.environ['MINE'], flush=True); input()"
    service = _python(code, log, env={"MINE": "yes"})
    with pytest.raises(ServiceFailed):
        service.start(lambda: False, deadline_seconds=10)
    assert log.read_text().startswith("None yes\n")


_PARENT = """
    import signal, sys, time
    from pathlib import Path
    from tests.services.process import ServiceProcess, running
    # A shell's background jobs and nohup ignore these, which children inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    log = Path(sys.argv[1])
    service = ServiceProcess("sleep", ["sh", "-c", "sleep 600 & echo $!; wait"], log)
    with running(service, lambda: log.exists() and log.read_text().endswith("\\n")):
        print(service.pid, flush=True)
        time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_services_end_with_their_parent_however_it_ends(number: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "log"
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_PARENT), log],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline()), int(log.read_text())]
        parent.send_signal(number)
        parent.wait(20)
    wait_until(lambda: all(_gone(pid) for pid in pids), 10, f"the end of {pids}")


def test_a_context_that_is_never_closed_ends_at_exit(tmp_path: Path) -> None:
    code = f"""
        from pathlib import Path
        from tests.services.process import ServiceProcess
        service = ServiceProcess("sleep", ["sleep", "600"], Path({str(tmp_path / "log")!r}))
        service.start(lambda: True)
        print(service.pid)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=_ROOT, capture_output=True, text=True, check=True, timeout=20
    )
    assert _gone(int(done.stdout))


def test_free_ports_are_distinct_and_free() -> None:
    ports = free_ports(20) + [port for pair in free_port_pairs(5) for port in pair]
    assert len(set(ports)) == 30
    for port in ports:
        with socket.create_server((ADDRESS, port)):
            pass


def test_neighbours_are_neighbours() -> None:
    assert all(second == first + 1 for first, second in free_port_pairs(10))


def test_a_taken_port_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((ADDRESS, 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("tests.services.loopback._FIRST", port)
        monkeypatch.setattr("tests.services.loopback._LAST", port + 1)
        with pytest.raises(OSError, match="fewer than 1 free ports"):
            free_ports(1)


def test_wait_until_names_what_it_waited_for() -> None:
    with pytest.raises(TimeoutError, match="a sign: not within 0"):
        wait_until(lambda: False, 0.1, "a sign", poll_seconds=0.01)
