"""The processes that ``benchmarks.retention`` measures: each builds its backups first, and then looks at itself."""

from __future__ import annotations

import ast
import json
import os
import statistics
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from airflow_provider_vectorbackup.backups.catalogue import CatalogueEntry
from airflow_provider_vectorbackup.backups.periods import PERIODS, Span
from airflow_provider_vectorbackup.backups.retention import Retention, RetentionPlan, Rules, plan_retention
from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.exceptions import PruneRefused
from tests.backups.retention_cases import NUMBERS, RULES, case_of
from tests.backups.retention_oracle import is_refused, kept_ids

FIRST_START = datetime(2025, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")
MANY = 100_000
"""More periods than there are."""

USUAL = {"keep_hourly": 24, "keep_daily": 7, "keep_weekly": 4, "keep_monthly": 12, "keep_yearly": 10}
ALL_PERIODS = dict.fromkeys(USUAL, MANY)
ALL_RULES: dict[str, Any] = {
    **USUAL,
    "keep_last": 50,
    "keep_within": Span(months=2),
    "min_count": 10,
    "max_total_bytes": 4_000 * 10,
    "zone": BERLIN,
}
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")
LARGEST_CASE = 40
ROUNDS = 5


def backups(count: int, chain_length: int) -> list[CatalogueEntry]:
    """Make good backups, one an hour; each but the first of a chain builds on the one before."""
    return [
        CatalogueEntry(
            f"b{number:06}",
            (),
            objects=5,
            stored_bytes=10,
            modified_at=FIRST_START + number * HOUR,
            has_own_files=False,
            status=Status.SUCCESS,
            started_at=FIRST_START + number * HOUR,
            completed_at=FIRST_START + number * HOUR,
            bases=frozenset([f"b{number - 1:06}"] if number % chain_length else ()),
        )
        for number in range(count)
    ]


def plan(rules: dict[str, Any], entries: list[CatalogueEntry]) -> RetentionPlan:
    """Plan a month after the last backup."""
    return plan_retention(entries, Retention((Rules(**rules),)), entries[-1].modified_at + 31 * 24 * HOUR)


def measure(rules: str, count: str, chain_length: str) -> dict[str, Any]:
    """Plan once, and tell how long it took, and by how many bytes the process has grown at most."""
    entries = backups(int(count), int(chain_length))
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest point so far
    before, began = _status_bytes("VmRSS"), time.perf_counter()
    made = plan({"usual": USUAL, "all": ALL_RULES}[rules], entries)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "grown_bytes": _status_bytes("VmHWM") - before, "deleted": len(made.deletions)}


def compare_with_oracle(count: str) -> dict[str, Any]:
    """Plan for random locations, and count those in which something else is kept than the oracle says."""
    random, told = Random(1), Counter[str]()
    for _ in range(int(count)):
        about, *rules = (random.randrange(NUMBERS) for _ in range(1 + RULES))
        case = case_of(about, rules, [random.randrange(NUMBERS) for _ in range(random.randint(0, LARGEST_CASE))])
        try:
            decisions = plan_retention(case.entries, case.retention, case.now).decisions
        except PruneRefused:
            told["refused"] += 1
            told["different"] += not is_refused(case.entries, case.now)
            continue
        kept = {decision.backup_id for decision in decisions if decision.is_kept}
        told.update(decision.cause for decision in decisions)
        wrong = is_refused(case.entries, case.now) or kept != kept_ids(case.entries, case.retention, case.now)
        told["different"] += wrong
    return told


class Borg:
    """What borgbackup keeps by one rule: its own functions, of its source, for which nothing need be compiled."""

    def __init__(self, folder: Path) -> None:
        self._names: dict[str, Any] = {"OrderedDict": OrderedDict, "attrgetter": attrgetter, "time": time}
        self._names |= {"datetime": datetime, "timezone": SimpleNamespace(utc=UTC)}
        for file, wanted in (
            ("time.py", {"to_localtime"}),
            ("misc.py", {"default_period_func", "quarterly_13weekly_period_func", "quarterly_3monthly_period_func"}),
            ("misc.py", {"PRUNING_PATTERNS"}),
            ("misc.py", {"prune_split"}),
        ):
            module = ast.parse((folder / file).read_text())
            module.body = [node for node in module.body if _names_of(node) & wanted]
            exec(compile(module, file, "exec"), self._names)

    def kept(self, archives: Iterable[Any], rule: str, count: int) -> set[str]:
        """Return the ids of what is kept."""
        prune: Callable[..., list[Any]] = self._names["prune_split"]
        return {archive.id for archive in prune(archives, rule, count)}


def compare_with_borg(folder: str, count: str) -> dict[str, Any]:
    """Plan for random times by one rule, and count where borgbackup keeps something else."""
    borg, random, told = Borg(Path(folder)), Random(2), Counter[str]()
    for number in range(int(count)):
        zone, rule = ZONES[number % len(ZONES)], random.choice(list(PERIODS))
        if rule == "hourly" and zone != "UTC":
            rule = "daily"  # where clocks are put back, borg takes two hours for one
        os.environ["TZ"] = zone
        time.tzset()
        entries = _at_random_times(random)
        periods = random.choice([1, 2, 5, 20, 100])
        made = plan({f"keep_{rule}": periods, "zone": ZoneInfo(zone)}, entries)
        kept = {decision.backup_id for decision in made.decisions if decision.is_kept}
        told["different"] += kept != borg.kept(_archives(entries), rule, periods)
        told["kept"] += len(kept)
        told["deleted"] += len(made.deletions)
    return told


def race_borg(folder: str, rules: str, count: str) -> dict[str, Any]:
    """Return the processor time of ours and of borgbackup's, for the same rules, in turns; medians count."""
    os.environ["TZ"] = BERLIN.key
    time.tzset()
    counts = {"usual": USUAL, "all_periods": ALL_PERIODS}[rules]
    borg, entries = Borg(Path(folder)), backups(int(count), chain_length=1)
    archives = _archives(entries)
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(ROUNDS):
        began = time.process_time()
        theirs = set[str]().union(*(borg.kept(archives, name.removeprefix("keep_"), n) for name, n in counts.items()))
        between = time.process_time()
        made = plan({**counts, "zone": BERLIN}, entries)
        seconds["ours"].append(time.process_time() - between)
        seconds["peer"].append(between - began)
        # Borg's last hour of a day when clocks are put back is one that we have twice.
        if abs(len(theirs) - (len(entries) - len(made.deletions))) > len(entries) / 1000:
            raise RuntimeError(f"borg keeps {len(theirs)} of {len(entries)}, and we delete {len(made.deletions)}")
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Run the function that is named, and print what it returns."""
    works = (measure, compare_with_oracle, compare_with_borg, race_borg)
    work: Callable[..., dict[str, Any]] = next(one for one in works if one.__name__ == sys.argv[1])
    print(json.dumps(work(*sys.argv[2:])))


def _at_random_times(random: Random) -> list[CatalogueEntry]:
    """Make backups without bases, at times of any density, the oldest first."""
    longest = random.choice([1, 10, 100, 1000]) * HOUR
    entries, start = [], FIRST_START
    for entry in backups(random.randint(1, 200), chain_length=1):
        start += random.random() * longest
        entries.append(replace(entry, started_at=start, completed_at=start, modified_at=start))
    return entries


def _archives(entries: list[CatalogueEntry]) -> list[Any]:
    """Return them as borg has them, in the order that it asks its repository for: the newest first."""
    return [SimpleNamespace(id=entry.backup_id, ts=entry.started_at) for entry in reversed(entries)]


def _names_of(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {node.name} if isinstance(node, ast.FunctionDef) else set()


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")
