"""Runs a command and measures what it costs: by the clock, in processor time, in memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LAUNCHER = Path(__file__).with_name("_copy_launch.py")
_TAIL_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took: seconds by the clock, seconds of processor time, the most memory it had at once."""

    wall: float
    cpu: float
    peak_mib: float

    def beyond(self, start: Cost) -> Cost:
        """Return what it took beyond a start; its memory stays as it is."""
        return Cost(self.wall - start.wall, self.cpu - start.cpu, self.peak_mib)


def median(costs: Sequence[Cost]) -> Cost:
    """Return the medians of seconds, and the highest memory."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        max(cost.peak_mib for cost in costs),
    )


def measured(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, order: Any = None
) -> tuple[Cost, str]:
    """Run a command to its end, and return what it cost and what it printed.

    :param env: beside this process's own.
    :param order: goes to its standard input, as JSON.
    :raises RuntimeError: it failed; with the end of what it complained of.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "cost.json")
        done = subprocess.run(
            [sys.executable, "-I", "-S", _LAUNCHER, target, *command],
            input=json.dumps(order),
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            shown = " ".join(map(str, command))[:200]
            raise RuntimeError(f"{shown!r} ended with {done.returncode}:\n{done.stderr[-_TAIL_CHARACTERS:]}")
        cost = json.loads(target.read_text())
    return Cost(cost["wall"], cost["cpu"], cost["peak_kib"] / 1024), done.stdout
