"""What the demo says at its end: whether both servers hold the same, and the summary. Pure: facts in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_SMALLEST_IN_MB = 100_000


@dataclass(frozen=True)
class Facts:
    """What was seen.

    :param summary: what the backup task returned (XCom).
    :param copied: what the copy task returned (XCom).
    :param verified: what the verification task of the copy returned (XCom).
    :param stored: the number of the backup's objects in the store, and their bytes.
    :param task_seconds: task -> how long it took.
    :param loaded: collection, or collection/tenant -> objects written into the source.
    :param near: the answers to one nearest-neighbour query, nearest first.
    """

    summary: Mapping[str, Any]
    copied: Mapping[str, Any]
    verified: Mapping[str, Any]
    store: str
    stored: tuple[int, int]
    task_seconds: Mapping[str, float]
    loaded: Mapping[str, int]
    source: Mapping[str, int]
    target: Mapping[str, int]
    query: str
    near_source: Sequence[str]
    near_target: Sequence[str]


def problems(facts: Facts) -> list[str]:
    """Return what is not as it must be, one sentence each; nothing at all is a problem too."""
    found = []
    if not sum(facts.loaded.values()) or not facts.near_source:
        found.append("The source is empty, so nothing was shown.")
    if facts.summary["status"] != "SUCCESS" or not facts.stored[0]:
        found.append(f"The backup is {facts.summary['status']}, with {facts.stored[0]} objects in the store.")
    if facts.copied["copied"] != [facts.summary["backup_id"]] or not facts.copied["bytes_moved"]:
        found.append(f"Of the backup, {facts.copied['bytes_moved']} bytes were copied.")
    if not facts.verified["is_whole"] or not facts.verified["read_bytes"]:
        found.append(
            f"The verification read {facts.verified['read_bytes']} bytes and found {facts.verified['damage']}."
        )
    if dict(facts.source) != dict(facts.loaded):
        found.append("The source does not hold what was loaded into it.")
    differing = [name for name in _names(facts) if facts.source.get(name) != facts.target.get(name)]
    if differing:
        found.append(f"The target differs from the source in {', '.join(differing)}.")
    if list(facts.near_source) != list(facts.near_target):
        found.append(f"The query {facts.query!r} is answered differently on the two servers.")
    return found


def summary(facts: Facts) -> str:
    """Return the summary: what was backed up, where, size, duration, and what the target holds now."""
    objects, stored_bytes = facts.stored
    collections = facts.summary["collections"]
    lines = {
        "Backup": facts.summary["backup_id"],
        "Where": facts.summary["uri"],
        "Store": facts.store,
        "Status": f"{facts.summary['status']}, made by Weaviate {facts.summary['server_version']}",
        "Copied": f"to {facts.copied['uri']}: {facts.copied['objects']} files, {_size(facts.copied['bytes_moved'])}, "
        f"in {facts.copied['seconds']:.1f} s",
        "Verified": f"there, without the server: every byte of {facts.verified['objects']} files read and found whole, "
        f"in {facts.verified['seconds']:.1f} s",
        "Contents": f"{sum(facts.source.values()):,} objects in {len(collections)} collections: "
        f"{', '.join(collections)}",
        "Size": f"{_size(facts.summary['pre_compression_bytes'])} in the server, "
        f"{_size(stored_bytes)} in {objects} files in the store",
        "Duration": _durations(facts),
    }
    return "\n".join([*_aligned(lines), "", *_counts(facts), "", *_queries(facts)])


def _durations(facts: Facts) -> str:
    """Tell the backup's time as the server does, and the tasks' as Airflow does: of a restore the server tells none."""
    begun, ended = (datetime.fromisoformat(facts.summary[key]) for key in ("started_at", "completed_at"))
    tasks = ", ".join(f"{task} {seconds:.1f} s" for task, seconds in facts.task_seconds.items())
    return f"{(ended - begun).total_seconds():.1f} s in the server; the tasks: {tasks}"


def _counts(facts: Facts) -> list[str]:
    rows = [("Objects in", "source", "target", "")]
    for name in _names(facts):
        there, here = facts.source.get(name), facts.target.get(name)
        rows.append((name, _number(there), _number(here), "✓" if there == here else "✗ differs"))
    width = max(len(row[0]) for row in rows)
    return [f"  {name:<{width}}  {source:>8}  {target:>8}  {mark}".rstrip() for name, source, target, mark in rows]


def _queries(facts: Facts) -> list[str]:
    same = list(facts.near_source) == list(facts.near_target)
    answers = {"source": "; ".join(facts.near_source), "target": "; ".join(facts.near_target)}
    return [f"  Nearest to {facts.query!r}: {'the same on both ✓' if same else '✗ differs'}", *_aligned(answers, 4)]


def _aligned(lines: Mapping[str, object], indent: int = 2) -> list[str]:
    width = max(map(len, lines))
    return [f"{' ' * indent}{name:<{width}}  {value}" for name, value in lines.items()]


def _names(facts: Facts) -> list[str]:
    return sorted({*facts.source, *facts.target})


def _number(count: int | None) -> str:
    return "none" if count is None else f"{count:,}"


def _size(count: int | None) -> str:
    if count is None:
        return "an unknown size"
    return f"{count / 1e6:.1f} MB" if count >= _SMALLEST_IN_MB else f"{count / 1e3:.1f} kB"
