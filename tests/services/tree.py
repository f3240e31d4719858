"""A process that we started, with all that came of it, and the end of the lot."""

import contextlib
import os
import signal
import time

import psutil

_POLL_SECONDS = 0.05
_KILL_SECONDS = 10.0


class Tree:
    """The leader of a session of its own, its descendants, and whoever else is in that session."""

    def __init__(self, pid: int) -> None:
        """Take the leader; raises psutil.NoSuchProcess if there is none."""
        self._root = psutil.Process(pid)
        self._seen: set[psutil.Process] = {self._root}

    def root_is_alive(self) -> bool:
        """Tell whether the leader itself runs; one that has ended and waits to be reaped does not."""
        return _is_alive(self._root)

    def alive(self) -> set[psutil.Process]:
        """Find all members that run now, also those seen before that have another parent or session by now."""
        for process in list(self._seen):
            self._seen.update(_children(process))
        self._seen.update(process for pid in psutil.pids() if (process := self._session_member(pid)))
        self._seen = {process for process in self._seen if _is_alive(process)}
        return set(self._seen)

    def end(self, grace_seconds: float) -> None:
        """End all and wait for it: SIGTERM, and SIGKILL for what is left after the grace (at once if it is 0)."""
        if grace_seconds > 0:
            self._signal(signal.SIGTERM, grace_seconds)
        self._signal(signal.SIGKILL, _KILL_SECONDS)
        if left := self.alive():
            raise RuntimeError(f"still running after SIGKILL: {sorted(process.pid for process in left)}")

    def _signal(self, number: int, deadline_seconds: float) -> None:
        """Send it once to each member, newcomers included, until none is left or the time is up."""
        told: set[psutil.Process] = set()
        deadline = time.monotonic() + deadline_seconds
        while (members := self.alive()) and time.monotonic() < deadline:
            for process in members - told:
                _send(process, number)
            told |= members
            time.sleep(_POLL_SECONDS)

    def _session_member(self, pid: int) -> psutil.Process | None:
        try:
            if os.getsid(pid) != self._root.pid:
                return None
            process = psutil.Process(pid)
        except (OSError, psutil.Error):
            return None
        # A session can't be older than its leader: an older process is in another's session of the same number.
        return process if process.create_time() >= self._root.create_time() else None


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _send(process: psutil.Process, number: int) -> None:
    """Send it unless the pid is by now another process: psutil compares the start time."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
