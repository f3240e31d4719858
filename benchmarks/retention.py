"""Whether retention keeps what its rules mean, how fast it decides, and in how much memory; 1 minute.

What is kept is compared with two others: an oracle that was written from what the rules mean, for 20,000 random
locations; and borgbackup's own function, whose rules of hours, days, weeks, months and years are the same, for random
times in several time zones.

The time is that of a plan for 10,000 backups, in a process of its own: in chains of ten by usual rules and by all of
them, a bound on the size included; and in one chain, each on the one before. Its peer is borgbackup's function again,
for the same rules in the same process, in turns and by processor time. The peer finds out less: it knows no chains, no
backups that are no good, and gives no reasons. Once each rule looks at all backups; once there are usual numbers of
periods, where the peer soon stops, and ours still decides on 10,000: no bar.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

BACKUPS = 10_000
CASES = 20_000
BORG_CASES = 3_000
ROUNDS = 5
BORG = "borgbackup==1.4.5"
SHAPES = {
    "plan_10000_seconds": ("usual", 10),
    "plan_10000_by_all_rules_seconds": ("all", 10),
    "plan_chain_of_10000_seconds": ("all", BACKUPS),
}
"""What is planned: by which rules, and in chains of which length."""

BAR_DIFFERENCES = 0
BAR_SECONDS = 2.0
BAR_MEMORY_MIB = 100.0
BAR_TIME_OVER_BORG = 1.0

MIB = 2**20
_CHILD = "from benchmarks._retention import main; main()"
_SOURCES = ("misc.py", "time.py")
_LIBRARIES = ("LIBLZ4", "LIBZSTD", "LIBXXHASH", "LIBACL", "OPENSSL")


def main() -> int:
    """Measure, print, and return 0 if all bars are kept."""
    with tempfile.TemporaryDirectory() as folder:
        _get_borg(Path(folder))
        kept = [_judge_differences(), _judge_borgs_differences(folder)]
        kept += _judge_plans()
        kept.append(_judge_time(folder))
    return 0 if all(kept) else 1


def _judge_differences() -> bool:
    told = _run("compare_with_oracle", CASES)
    different = told.pop("different")
    print("decisions in random locations:", ", ".join(f"{count} {cause}" for cause, count in sorted(told.items())))
    return _judge(f"differences_of_{CASES}", different, BAR_DIFFERENCES)


def _judge_borgs_differences(folder: str) -> bool:
    told = _run("compare_with_borg", folder, BORG_CASES)
    print(f"at random times: {told['kept']} kept, {told['deleted']} deleted")
    return _judge(f"differences_from_borg_of_{BORG_CASES}", told["different"], BAR_DIFFERENCES)


def _judge_plans() -> list[bool]:
    """Measure time and memory of plans."""
    kept, grown = [], []
    for name, (rules, chain_length) in SHAPES.items():
        measured = [_run("measure", rules, BACKUPS, chain_length) for _ in range(ROUNDS)]
        seconds = sorted(one["seconds"] for one in measured)
        print(f"{name}: {seconds[0]:.3f} to {seconds[-1]:.3f}; {measured[0]['deleted']} are deleted")
        kept.append(_judge(name, statistics.median(seconds), BAR_SECONDS))
        grown.append(statistics.median(one["grown_bytes"] for one in measured) / MIB)
    return [*kept, _judge("memory_mib", max(grown), BAR_MEMORY_MIB)]


def _judge_time(folder: str) -> bool:
    usual = _run("race_borg", folder, "usual", BACKUPS)
    everything = _run("race_borg", folder, "all_periods", BACKUPS)
    for rules, told in (("usual numbers of periods", usual), ("all periods", everything)):
        print(f"{rules}: ours {told['ours']:.3f} s, borg {told['peer']:.3f} s of processor time")
    print(f"BENCH retention time_over_borg_for_usual_rules {usual['ours'] / usual['peer']:.2f}")
    return _judge("time_over_borg", everything["ours"] / everything["peer"], BAR_TIME_OVER_BORG)


def _get_borg(folder: Path) -> None:
    """Download borgbackup's source from PyPI, and put the files that hold its rules into a folder."""
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    # Pip asks the source what it needs, and it looks for libraries to be compiled with. It gets none; nothing is.
    env = os.environ | {f"BORG_{name}_PREFIX": str(folder) for name in _LIBRARIES}
    command = [str(python), "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "borgbackup", BORG]
    subprocess.run([*command, "--dest", folder], env=env, check=True)
    (archive,) = folder.glob("borgbackup-*.tar.gz")
    with tarfile.open(archive) as source:
        for member in source.getmembers():
            path = Path(member.name)
            if path.parts[1:-1] == ("src", "borg", "helpers") and path.name in _SOURCES:
                (folder / path.name).write_bytes(source.extractfile(member).read())  # type: ignore[union-attr]


def _run(work: str, *arguments: object) -> dict[str, Any]:
    """Let a process of its own work, and return what it prints."""
    command = [sys.executable, "-c", _CHILD, work, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _judge(name: str, value: float, bar: float) -> bool:
    shown = f"{value:.2f}" if isinstance(value, float) else value
    print(f"BENCH retention {name} {shown} bar {bar:g} {'ok' if value <= bar else 'short'}", flush=True)
    return value <= bar


if __name__ == "__main__":
    sys.exit(main())
