"""What it takes to copy a backup, with its checksum manifest, beside rclone and Airflow's own operator; 15 minutes.

The servers are on this machine: MinIO, and for GCS a stand-in that keeps its objects on disk. Ours and rclone take
turns, with as many transfers at once, each time to a new place. Figures are ratios of medians, of what a process takes
beyond its start: of ours, the imports and the opening of both stores; of rclone, ``rclone version``. Memory is the most
that a process had at any time, its libraries included.

============= ========================================================================================================
``…_small``   3,000 chunks of 32 KiB: a collection with as many tenants
``…_large``   16 chunks of 64 MiB
``X_to_Y…``   each byte passes through the process; for rclone the ends are two remotes, else it would copy server-side
``server_…``  none does
``rerun…``    once more, where all is there already
``memory…``   one object of 64 MiB or 2 GiB; and how much more the latter takes where both fill the buffers: 64 MiB
``over_s3_…`` once, 300 chunks of 32 KiB: ``S3ToGCSOperator``, in an environment that has it; no start of either counts
============= ========================================================================================================

``python -m benchmarks.copy s3_to_s3_small rerun`` measures these alone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from airflow_provider_vectorbackup.backups.locations import Location
from benchmarks._copy_backups import MIB, Shape
from benchmarks._copy_bench import BUFFER_MIB, OFFICIAL, Bench, Row, Side, running_bench
from benchmarks._copy_processes import Cost, median

ROUNDS = 3

SMALL, LARGE = Shape("small", 3000, 32 * 1024), Shape("large", 16, 64 * MIB)
FEW = Shape("few", 300, 32 * 1024)
ONE, HUGE = Shape("one", 1, 64 * MIB), Shape("huge", 1, 2048 * MIB)

ROWS = (
    Row("s3_to_s3_small", SMALL, "s3", "s3", 0.9),
    Row("s3_to_s3_large", LARGE, "s3", "s3", 1.15),
    Row("s3_to_file_small", SMALL, "s3", "file", 1.0),
    Row("s3_to_file_large", LARGE, "s3", "file", 1.0),
    Row("file_to_s3_small", SMALL, "file", "s3", 1.0),
    Row("file_to_s3_large", LARGE, "file", "s3", 1.0),
    Row("s3_to_gcs_small", SMALL, "s3", "gs", 1.0),
    Row("s3_to_gcs_large", LARGE, "s3", "gs", 0.8),
    Row("server_side_small", SMALL, "s3", "s3", 1.0, "server_side"),
    Row("server_side_large", LARGE, "s3", "s3", 1.0, "server_side"),
)
BAR_RERUN_OVER_DEFAULT = 0.5
BAR_RERUN_OVER_CHECKSUM = 1.5
BAR_OVER_OPERATOR = 0.25
BAR_MEMORY_MIB = 256.0
BAR_MORE_MIB = 16.0
"""For another size of object, with the same buffers full."""

Judge = Callable[[Bench], Iterator[bool]]


def main(chosen: Sequence[str]) -> int:
    """Measure, print, and return 0 if all bars are kept.

    :param chosen: names of rows, ``rerun``, ``memory``, ``operator``; none for all.
    """
    judges: dict[str, Judge] = {row.name: _judge_of(row) for row in ROWS}
    judges |= {"rerun": _compare_again, "memory": _judge_memory, "operator": _compare_with_operator}
    if unknown := sorted(set(chosen) - judges.keys()):
        raise SystemExit(f"{', '.join(unknown)}: not among {', '.join(judges)}")
    if "operator" in (chosen or judges) and not (made := OFFICIAL / ".installed").exists():
        subprocess.run(["make", str(made)], check=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, running_bench(Path(folder)) as bench:
        kept = [kept for name in chosen or judges for kept in judges[name](bench)]
    print(f"{time.monotonic() - began:.0f} s in all")
    return 0 if all(kept) else 1


def _judge_of(row: Row) -> Judge:
    return lambda bench: _compare(bench, row)


def _compare(bench: Bench, row: Row) -> Iterator[bool]:
    """Let ours and rclone copy by turns."""
    costs: dict[Side, list[Cost]] = {"ours": [], "rclone": []}
    for number in range(ROUNDS):
        for side in _in_turn(number):
            target = bench.target(row, f"{side}-{number}")
            costs[side].append(bench.copy(side, row, target))
            bench.require_copied(row, target, has_manifest=side == "ours")
            bench.places.remove(target)
    _tell(row.name, costs)
    yield from _judge_costs(row.name, median(costs["ours"]), median(costs["rclone"]), row.bar)


def _compare_again(bench: Bench) -> Iterator[bool]:
    """Let each copy once, and then again to the same place."""
    row = Row("rerun", SMALL, "s3", "s3", BAR_RERUN_OVER_DEFAULT)
    targets = {side: bench.target(row, side) for side in _in_turn(0)}
    for side, target in targets.items():
        bench.copy(side, row, target)
    ours, default, checksum = [], [], []
    for _ in range(ROUNDS):
        ours.append(_copy_nothing(bench, "ours", row, targets["ours"]))
        default.append(_copy_nothing(bench, "rclone", row, targets["rclone"]))
        checksum.append(_copy_nothing(bench, "rclone", row, targets["rclone"], "--checksum"))
    for target in targets.values():
        bench.places.remove(target)
    _tell("rerun", {"ours": ours, "rclone": default, "rclone --checksum": checksum})
    yield from _judge_costs("rerun_over_default", median(ours), median(default), BAR_RERUN_OVER_DEFAULT)
    yield from _judge_costs("rerun_over_checksum", median(ours), median(checksum), BAR_RERUN_OVER_CHECKSUM)


def _copy_nothing(bench: Bench, side: Side, row: Row, target: Location, *flags: str) -> Cost:
    """Copy where all is there already.

    :raises RuntimeError: something was written anew.
    """
    before = bench.places.etags(target, row.shape.backup_id)
    cost = bench.copy(side, row, target, *flags)
    after = bench.places.etags(target, row.shape.backup_id)
    if anew := {key for key in row.shape.sizes if before.get(key) != after.get(key)}:
        raise RuntimeError(f"{side} has written {len(anew)} objects anew, one of them {anew.pop()}")
    return cost


def _judge_memory(bench: Bench) -> Iterator[bool]:
    """Copy one object, and one that is far larger than all memory that is allowed."""
    peaks: dict[int, list[float]] = {BUFFER_MIB: [], ONE.chunk_bytes // MIB: []}
    for shape in (ONE, HUGE):
        for buffer_mib, of_buffer in peaks.items():
            row = Row(f"memory-{shape.backup_id}", shape, "s3", "s3", BAR_MEMORY_MIB, buffer_mib=buffer_mib)
            target = bench.target(row, f"ours-{buffer_mib}")
            of_buffer.append(bench.copy("ours", row, target).peak_mib)
            bench.require_copied(row, target, has_manifest=True)
            bench.places.remove(target)
        bench.forget(row)
        yield _judge(f"memory_mib_for_{shape.chunk_bytes // MIB}_mib", peaks[BUFFER_MIB][-1], BAR_MEMORY_MIB)
    small, large = peaks[ONE.chunk_bytes // MIB]
    yield _judge("memory_mib_more_for_2_gib", large - small, BAR_MORE_MIB)


def _compare_with_operator(bench: Bench) -> Iterator[bool]:
    """Copy by Airflow's operator and by ours."""
    row = Row("operator", FEW, "s3", "gs", BAR_OVER_OPERATOR)
    target = bench.target(row, "theirs")
    theirs = bench.seconds_of_operator(row, target)
    bench.places.remove(target)
    target = bench.target(row, "ours")
    ours = bench.seconds_of_copy(row, target)
    bench.require_copied(row, target, has_manifest=True)
    bench.places.remove(target)
    print(f"operator: ours {ours:.2f} s, S3ToGCSOperator {theirs:.2f} s")
    yield _judge("over_s3_to_gcs_operator", ours / theirs, row.bar)


def _in_turn(number: int) -> tuple[Side, Side]:
    """Return who is first in a round, and who is second."""
    return ("rclone", "ours") if number % 2 else ("ours", "rclone")


def _tell(name: str, costs: Mapping[Side, list[Cost]] | Mapping[str, list[Cost]]) -> None:
    """Print the seconds of all rounds."""
    told = [
        f"{side} {median(rounds).wall:.2f} s ({', '.join(f'{cost.wall:.2f}' for cost in rounds)})"
        for side, rounds in costs.items()
    ]
    print(f"{name}: {'; '.join(told)}")


def _judge_costs(name: str, ours: Cost, rclone: Cost, bar: float) -> Iterator[bool]:
    """Print what ours took over what rclone did, and the memory of both."""
    yield _judge(name, ours.wall / rclone.wall, bar)
    _figure(f"{name}_cpu", ours.cpu / rclone.cpu)
    yield _judge(f"{name}_memory_mib", ours.peak_mib, BAR_MEMORY_MIB)
    _figure(f"{name}_memory_mib_of_rclone", rclone.peak_mib)


def _judge(name: str, value: float, bar: float) -> bool:
    print(f"BENCH copy {name} {value:.2f} bar {bar:g} {'ok' if value <= bar else 'short'}", flush=True)
    return value <= bar


def _figure(name: str, value: float) -> None:
    print(f"BENCH copy {name} {value:.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
