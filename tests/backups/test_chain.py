"""Chains, against an oracle that is slow and looks at nothing twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.chain import Link, chain_in, chain_problems
from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.status import Status

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAMES = [f"b{number}" for number in range(8)]


@st.composite
def catalogues(draw: st.DrawFn) -> dict[str, Link]:
    """Backups that build on any others: branches, gaps and circles included."""
    found = {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1)):
        bases = draw(st.frozensets(st.sampled_from(NAMES), max_size=3)) - {name}
        started_at = NOON + timedelta(minutes=draw(st.integers(0, 9)))
        found[name] = Link(
            name,
            draw(st.sampled_from([Status.SUCCESS, Status.SUCCESS, Status.FAILED])),
            draw(st.sampled_from([Codec.GZIP, Codec.GZIP, Codec.ZSTD])),
            draw(st.sampled_from([started_at, started_at, started_at, None])),
            bases=bases,
        )
    return found


def ancestors(links: dict[str, Link], name: str) -> set[str]:
    """Return what can be reached, by walking until nothing is new."""
    found: set[str] = set()
    while new := {base for one in {name, *found} if one in links for base in links[one].bases} - found:
        found |= new
    return found - {name}


@given(catalogues())
def test_chain_is_all_that_can_be_reached(links: dict[str, Link]) -> None:
    for name in links:
        chain = chain_in(links, name)
        assert len(set(chain)) == len(chain)
        assert set(chain) == ancestors(links, name) | {name}
        assert chain[-1] == name


@given(catalogues())
def test_bases_come_first_but_for_circles(links: dict[str, Link]) -> None:
    for name in links:
        chain = chain_in(links, name)
        for place, one in enumerate(chain):
            for base in links[one].bases if one in links else ():
                if one not in ancestors(links, base):
                    assert chain.index(base) < place


@given(catalogues())
def test_a_chain_without_problems_is_one_that_the_server_takes(links: dict[str, Link]) -> None:
    for name in links:
        fits = True
        for one in {name, *ancestors(links, name)}:
            child = links.get(one)
            for base in (links.get(base) for base in (child.bases if child else ())):
                fits &= (
                    base is not None
                    and child is not None
                    and base.status is Status.SUCCESS
                    and base.codec is child.codec
                    and base.started_at is not None
                    and child.started_at is not None
                    and base.started_at < child.started_at
                )
        assert (chain_problems(links, name) == ()) == fits


def link(name: str, *bases: str, minute: int = 0, codec: Codec = Codec.GZIP, status: Status = Status.SUCCESS) -> Link:
    return Link(name, status, codec, NOON + timedelta(minutes=minute), bases=frozenset(bases))


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ([link("tip", "base")], "base base is not there, or its descriptor can't be read"),
        ([link("base", status=Status.FAILED), link("tip", "base", minute=1)], "base base is FAILED"),
        (
            [link("base", codec=Codec.ZSTD), link("tip", "base", minute=1)],
            "base base is compressed by zstd, and tip by gzip",
        ),
        ([link("base", minute=2), link("tip", "base", minute=1)], "base base did not start before tip"),
        (
            [link("mid", "base", minute=1), link("tip", "mid", minute=2)],
            "base base is not there, or its descriptor can't be read",
        ),
    ],
)
def test_problem_in_words(links: list[Link], words: str) -> None:
    found = chain_problems({one.backup_id: one for one in links}, "tip")
    assert [str(problem) for problem in found] == [words]


def test_a_long_chain() -> None:
    names = [f"i{number}" for number in range(5_000)]
    links = {name: link(name, *names[max(0, number - 1) : number]) for number, name in enumerate(names)}
    assert chain_in(links, names[-1]) == tuple(names)
