"""Chains: a backup with all those that its files lie in, or that it names as its base. Whoever wrote them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.status import Status


@dataclass(frozen=True, slots=True)
class Link:
    """What a chain needs to know of one backup.

    :param bases: direct ones, of both sources: what the descriptors name as base, and where they say that files lie.
    """

    backup_id: str
    status: Status
    codec: Codec
    started_at: datetime | None
    bases: frozenset[str] = frozenset()


def chain_of(backup_id: str, bases_of: Callable[[str], Collection[str]]) -> tuple[str, ...]:
    """Return a backup's ancestors and itself, each after all of its own bases; circles are cut.

    :param bases_of: the direct bases of a backup; empty also for one that is not there.
    """
    done: dict[str, None] = {}
    begun: set[str] = set()
    stack = [backup_id]
    while stack:
        current = stack[-1]
        left = sorted(base for base in bases_of(current) if base not in begun) if current not in done else []
        begun.add(current)
        if left:
            stack.append(left[0])
        else:
            done[stack.pop()] = None
    return tuple(done)


def chain_in(links: Mapping[str, Link], backup_id: str) -> tuple[str, ...]:
    """Return the chain of a backup among ``links``, bases first, those that are missing included."""
    return chain_of(backup_id, lambda name: links[name].bases if name in links else ())


@dataclass(frozen=True, slots=True)
class ChainProblem:
    """What is wrong with a backup as a base, in words to be read after its id."""

    backup_id: str
    problem: str

    def __str__(self) -> str:
        return f"base {self.backup_id} {self.problem}"


def chain_problems(links: Mapping[str, Link], backup_id: str) -> tuple[ChainProblem, ...]:
    """Return what keeps the chain of a backup from being restored; nothing where it is whole.

    Looked at as the server does before a restore: each ancestor's descriptor is there, says SUCCESS, has the same
    codec, and an earlier start.
    """
    chain = chain_in(links, backup_id)
    pairs = [(base, links[name]) for name in chain if name in links for base in sorted(links[name].bases)]
    found = [problem for base, child in pairs for problem in _between(base, links.get(base), child)]
    return tuple(dict.fromkeys(found))


def _between(base_id: str, base: Link | None, child: Link) -> Iterator[ChainProblem]:
    if base is None:
        yield ChainProblem(base_id, "is not there, or its descriptor can't be read")
        return
    if base.status is not Status.SUCCESS:
        yield ChainProblem(base_id, f"is {base.status}")
    if base.codec is not child.codec:
        yield ChainProblem(base_id, f"is compressed by {base.codec}, and {child.backup_id} by {child.codec}")
    if not (base.started_at and child.started_at and base.started_at < child.started_at):
        yield ChainProblem(base_id, f"did not start before {child.backup_id}")
