"""Run a command and write what it cost to a file, as JSON: ``python -I -S _copy_launch.py FILE COMMAND…``.

A process of its own that loads next to nothing: what the kernel says of a child's highest memory begins with that of
the process that started it.
"""

import json
import os
import sys
import time
from pathlib import Path


def main() -> int:
    """Return the command's exit code; of one that a signal ended, the signal's number, negative."""
    target, *command = sys.argv[1:]
    began = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - began
    cost = {"wall": seconds, "cpu": usage.ru_utime + usage.ru_stime, "peak_kib": usage.ru_maxrss}
    Path(target).write_text(json.dumps(cost), encoding="ascii")
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
