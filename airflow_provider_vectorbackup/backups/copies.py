"""Copies of backups between locations: what is asked for, how it is done, how work is shared, what came of it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import InvalidRequest

_FILE = "file"


class Method(StrEnum):
    """How bytes get from one location to another."""

    AUTO = "auto"
    """Server-side where both locations are of one scheme and one connection, else streamed."""

    STREAMED = "streamed"
    """Through this process, which makes the checksums of the manifest on the way."""

    SERVER_SIDE = "server_side"
    """Inside the storage; the manifest holds what the storage says of each object."""


class OnConflict(StrEnum):
    """What to do where the target holds something else under the same id."""

    FAIL = "fail"
    REPLACE = "replace"


def choose_method(wanted: Method, source: Location, target: Location) -> Method:
    """Return how to copy from one location to another: streamed or server-side.

    :raises InvalidRequest: the locations are the same, or the storage can't do it by itself.
    """
    if source.has_name_of(target):
        raise InvalidRequest(
            f"Source and target are the same place, {target}.", hint="Give another bucket or prefix as the target."
        )
    possible = source.scheme == target.scheme != _FILE and source.conn_id == target.conn_id
    if wanted is Method.SERVER_SIDE and not possible:
        raise InvalidRequest(
            f"Nothing can be copied from {source} to {target} inside the storage.",
            hint="That takes one object storage and one connection for both; else leave method at 'auto'.",
        )
    if wanted is Method.AUTO:
        return Method.SERVER_SIDE if possible else Method.STREAMED
    return wanted


def require_apart(backup_id: str, source: Location, target: Location) -> None:
    """Raise if the target lies inside the folder of the backup that is to be copied there.

    :raises InvalidRequest: it does.
    """
    inside = f"{source.prefix.rstrip('/')}/{backup_id}".lstrip("/")
    prefix = target.prefix.lstrip("/")
    one_bucket = (source.scheme, source.bucket) == (target.scheme, target.bucket)
    if one_bucket and (prefix == inside.lstrip("/") or prefix.startswith(f"{inside.lstrip('/')}/")):
        raise InvalidRequest(
            f"The target {target} lies inside the backup itself.", hint="Give another bucket or prefix as the target."
        )


def balanced_shares(sizes: Sequence[int], shares: int) -> list[list[int]]:
    """Share out work by size: return for each share the indexes of what it gets; equal input gives equal shares.

    The largest is given out first, each to whoever has least: no share gets more than the mean and one item.

    :param sizes: in bytes; each item costs something of its own beside them.
    """
    heap = [(0, number) for number in range(shares)]
    given: list[list[int]] = [[] for _ in range(shares)]
    for index in sorted(range(len(sizes)), key=lambda index: (-sizes[index], index)):
        load, number = heap[0]
        given[number].append(index)
        heapq.heapreplace(heap, (load + sizes[index] + _COST_BYTES, number))
    return given


_COST_BYTES = 2**18
"""What an object costs beside its bytes, as bytes: a request or two."""


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What came of a copy, or, for a dry run, what would.

    :param source: URI of the backup; likewise ``target``.
    :param chain: the backup after all of its bases.
    :param copied: of the chain, those that were copied; the others were there already, and proven equal.
    :param objects: that this run put into the target; of one that an earlier run had begun, the rest.
    :param bytes_moved: by this run.
    :param bytes_skipped: that were at the target already.
    :param seconds: from the beginning of the preflight to the end.
    :param manifests: keys of the checksum manifests in the target.
    """

    backup_id: str
    source: str
    target: str
    location: str
    method: Method
    chain: tuple[str, ...]
    copied: tuple[str, ...] = ()
    objects: int = 0
    bytes_moved: int = 0
    bytes_skipped: int = 0
    seconds: float = 0.0
    manifests: tuple[str, ...] = field(default=())
    dry_run: bool = False

    @property
    def rate_bytes_per_second(self) -> float:
        """Of the bytes that were moved, over all of the time."""
        return round(self.bytes_moved / self.seconds, 1) if self.seconds else 0.0

    def summary(self) -> dict[str, Any]:
        """Return the task's result.

        Keys: ``backup_id source target uri location chain copied skipped objects bytes_moved bytes_skipped seconds
        rate_bytes_per_second method manifests dry_run``.
        """
        return {
            "backup_id": self.backup_id,
            "source": self.source,
            "target": self.target,
            "uri": self.target,
            "location": self.location,
            "chain": list(self.chain),
            "copied": list(self.copied),
            "skipped": [name for name in self.chain if name not in self.copied],
            "objects": self.objects,
            "bytes_moved": self.bytes_moved,
            "bytes_skipped": self.bytes_skipped,
            "seconds": self.seconds,
            "rate_bytes_per_second": self.rate_bytes_per_second,
            "method": self.method.value,
            "manifests": list(self.manifests),
            "dry_run": self.dry_run,
        }
