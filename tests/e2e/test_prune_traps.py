"""Trap 3: what somebody uses is not deleted, and what a server begins to build on at that very moment isn't either.

One place, and one prune after the other in it; each step finds what the one before has left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions import prune_work
from airflow_provider_vectorbackup.backups.catalogue import CatalogueEntry
from tests.e2e.copy_lab import opened
from tests.e2e.prune_lab import Bench, Root, etags, ids_of, prune

PATH = "prune-traps"
HOUR_SECONDS = 3600

Held = dict[tuple[str, ...], Any]


@dataclass
class Step:
    """A prune, and what came of it.

    :param before: the ETags of all that was there, by key; ``after``: likewise.
    :param restored: by backup, what the server had after a restore.
    """

    report: dict[str, Any]
    before: dict[str, str]
    after: dict[str, str]
    restored: dict[str, Held] = field(default_factory=dict)

    @property
    def ids(self) -> set[str]:
        """The backups that had a descriptor afterwards."""
        return ids_of(self.after)

    def touched(self, *backup_ids: str) -> set[str]:
        """Return which objects of these backups were written or deleted."""
        return {key for key, _ in self.before.items() ^ self.after.items() if key.partition("/")[0] in backup_ids}


def pruned(root: Root, **fields: Any) -> Step:
    """Prune a place."""
    before = etags(root.location)
    report = prune(root.location, **fields)
    return Step(report, before, etags(root.location))


@contextmanager
def interrupted(
    *, before_hiding: dict[str, Callable[[], object]] | None = None, meanwhile: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Do things just before backups are hidden, and while the prune waits for whoever has seen them before."""
    hide = prune_work.Work._hide

    def interrupted_hide(work: prune_work.Work, entry: CatalogueEntry, hidden: Any) -> str:
        if before_hiding and entry.backup_id in before_hiding:
            before_hiding[entry.backup_id]()
        return hide(work, entry, hidden)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prune_work.Work, "_hide", interrupted_hide)
        patch.setattr(prune_work, "time", SimpleNamespace(sleep=lambda _seconds: meanwhile()))
        yield


@pytest.fixture(scope="module")
def root(bench: Bench) -> Root:
    return bench.root(PATH)


@pytest.fixture(scope="module")
def held(bench: Bench, root: Root) -> Held:
    """What the server holds all the time; two full backups of it are there, of three that were made."""
    found = bench.refill()
    for backup_id in ("gone", "base", "newest"):
        root.back_up(backup_id)
    # Also since a first run takes longer than the server waits for its first look at a backup.
    with interrupted():
        step = pruned(root, only=["gone"])
    assert (step.report["deleted"], step.ids) == (["gone"], {"base", "newest"})
    assert step.report["spared"] == {"base": "not among those approved"}
    return found


@pytest.fixture(scope="module")
def running(bench: Bench, root: Root, held: Held) -> Step:
    """An incremental backup runs, on a base that no rule keeps."""
    with bench.holding(f"{PATH}/running/w1/Article/chunk-1") as reached, interrupted():
        root.start("running", "base")
        reached()
        step = pruned(root, leftover_grace=HOUR_SECONDS)
    root.end("running")
    return step


def test_trap_03_what_runs_stays_and_so_does_its_base(running: Step, root: Root) -> None:
    report = running.report
    assert (report["deleted"], running.ids) == ([], {"base", "newest", "running"})
    assert report["reasons"]["running"] == "in progress; STARTED"
    assert report["reasons"]["base"] == "base; needed by running"
    assert running.touched("running", "base") == set()
    with opened(root.location) as store:
        assert b'"filesPerBackup":{"base":' in (store.read("running/w1/backup.json") or b"")


@pytest.fixture(scope="module")
def begun(root: Root, running: Step) -> Step:
    """An incremental backup begins when its base is about to be hidden; nothing of it was there before."""
    with interrupted(before_hiding={"newest": lambda: root.start("late", "newest")}):
        step = pruned(root, leftover_grace=HOUR_SECONDS)
    root.end("late")
    return step


def test_trap_03_base_of_what_has_just_begun_comes_back(begun: Step) -> None:
    assert begun.report["deleted"] == []
    assert begun.report["spared"] == {"newest": "late builds on it"}
    assert begun.ids == {"base", "late", "newest", "running"}


@pytest.fixture(scope="module")
def unwritten(bench: Bench, root: Root, begun: Step, held: Held) -> Step:
    """A server has read the chain that it is about to build on, and has not written so yet when that is hidden."""
    with (
        ThreadPoolExecutor(1) as aside,
        bench.holding(f"PUT /vectorbackup/{PATH}/later/backup_config.json") as reached,
    ):
        asked = []
        seen: list[set[str]] = []

        def ask() -> None:
            asked.append(aside.submit(root.start, "later", "running"))
            reached()

        def meanwhile() -> None:
            seen.append(ids_of(etags(root.location)))
            bench.line.mode = "ok"
            asked[0].result()

        with interrupted(before_hiding={"running": ask}, meanwhile=meanwhile):
            step = pruned(root, leftover_grace=HOUR_SECONDS)
        assert seen == [{"late", "newest"}]
    root.end("later")
    step.restored = {name: root.restored(name) for name in ("late", "later")}
    return step


def test_trap_03_chain_that_a_server_has_read_comes_back(unwritten: Step) -> None:
    assert unwritten.report["deleted"] == []
    assert unwritten.report["spared"] == {"running": "later builds on it", "base": "running builds on it, and stays"}
    assert unwritten.ids == {"base", "late", "later", "newest", "running"}


@pytest.mark.parametrize("backup_id", ["late", "later"])
def test_what_was_begun_meanwhile_can_be_restored(unwritten: Step, held: Held, backup_id: str) -> None:
    assert unwritten.restored[backup_id] == held


@pytest.fixture(scope="module")
def refused(root: Root, unwritten: Step) -> tuple[Step, str]:
    """A server is asked to build on what is hidden already; return also what it answers."""
    answers = []

    def ask() -> None:
        with pytest.raises(RuntimeError) as caught:
            root.start("refused", "newest")
        answers.append(str(caught.value))

    with interrupted(meanwhile=ask):
        step = pruned(root)
    return step, "".join(answers)


def test_trap_03_nothing_can_build_on_what_is_hidden(refused: tuple[Step, str], root: Root) -> None:
    step, answer = refused
    assert ": 422 " in answer
    assert "resolve base backup chain: could not fetch base backup" in answer
    assert (step.report["deleted"], step.ids) == (["late", "newest"], {"base", "later", "running"})
    assert {key.partition("/")[0] for key in etags(root.location)} == step.ids


@pytest.fixture(scope="module")
def restoring(bench: Bench, root: Root, refused: object, held: Held) -> Step:
    """A backup that no rule keeps is being restored."""
    root.back_up("last")
    with bench.holding(f"GET /vectorbackup/{PATH}/running/w1/Article/chunk") as reached, interrupted():
        root.start_restore("running")
        reached()
        step = pruned(root)
    root.end("running/restore")
    return step


def test_trap_03_what_is_being_restored_stays(restoring: Step, held: Held, root: Root) -> None:
    report = restoring.report
    assert (report["deleted"], restoring.ids) == (["later"], {"base", "last", "running"})
    assert report["spared"] == {
        "running": "may be being restored just now: running/restore_config.json says TRANSFERRING",
        "base": "running builds on it, and stays",
    }
    assert restoring.touched("running", "base") == set()


def test_what_was_restored_goes_with_the_next_run(restoring: Step, root: Root) -> None:
    with interrupted():
        report = prune(root.location)
    assert (report["deleted"], report["spared"]) == (["running", "base"], {})
    assert {key.partition("/")[0] for key in etags(root.location)} == {"last"}
