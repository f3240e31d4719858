from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.catalogue import Leftover, LeftoverKind
from airflow_provider_vectorbackup.backups.ids import is_legal_id
from airflow_provider_vectorbackup.backups.retention import Cause, Decision, Retention, Rules
from airflow_provider_vectorbackup.backups.retention_leftovers import LeftoverDecision, plan_leftovers
from tests.backups.retention_examples import DAY, MINUTE, NOON

BACKUPS = {"x1": Decision("x1", Cause.NEWEST)}
OLD = NOON - 8 * DAY
BY_SERVER = [LeftoverKind.NO_DESCRIPTOR, LeftoverKind.UNFINISHED_UPLOAD, LeftoverKind.ACCESS_CHECK]
FOREIGN = "not of Weaviate, as far as its name tells"


def decide(
    kind: LeftoverKind, key: str = "x1/", at: datetime | None = OLD, needed: tuple[str, ...] = (), **settings: Any
) -> LeftoverDecision:
    retention = Retention((Rules(settings.pop("prefix", ""), keep_last=1),), **settings)
    (made,) = plan_leftovers([Leftover(kind, key, 5, at)], needed, BACKUPS, retention, NOON)
    return made


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (LeftoverKind.NO_DESCRIPTOR, "x1/"),
        (LeftoverKind.UNFINISHED_UPLOAD, "x1/node1/Article/chunk-1"),
        (LeftoverKind.ACCESS_CHECK, "x1/access-check"),
    ],
)
def test_what_a_server_left_is_deleted(kind: LeftoverKind, key: str) -> None:
    made = decide(kind, key)
    assert (made.is_kept, made.reason, made.folder) == (False, kind.value, "x1")


@pytest.mark.parametrize("kind", sorted(set(LeftoverKind) - set(BY_SERVER)))
def test_what_no_server_left_is_kept(kind: LeftoverKind) -> None:
    made = decide(kind)
    reason = "of this package, and of no backup" if kind is LeftoverKind.OWN_FILES else FOREIGN
    assert (made.is_kept, made.reason) == (True, reason)


def test_uploads_of_others_are_kept() -> None:
    """Anybody may begin one, in a folder whose name could be an id."""
    made = decide(LeftoverKind.UNFINISHED_UPLOAD, "x2/film/chunk-1")
    assert (made.is_kept, made.reason) == (True, FOREIGN)


@pytest.mark.parametrize("kind", BY_SERVER)
@pytest.mark.parametrize("key", ["Notes/", "my backups/x", "/x", "", "x1.tar", "x" * 101])
def test_what_is_in_no_folder_of_a_backup_is_kept(kind: LeftoverKind, key: str) -> None:
    assert decide(kind, key).reason == FOREIGN


@pytest.mark.parametrize("kind", BY_SERVER)
def test_age(kind: LeftoverKind) -> None:
    assert decide(kind, at=NOON - 7 * DAY + MINUTE).reason == "young"
    assert not decide(kind, at=NOON - 7 * DAY).is_kept
    assert decide(kind, at=NOON - 7 * DAY, leftover_grace=8 * DAY).reason == "young"
    assert decide(kind, at=None).reason == "the storage does not tell its age"


@pytest.mark.parametrize("kind", BY_SERVER)
def test_pinned_and_others(kind: LeftoverKind) -> None:
    assert decide(kind, pinned=frozenset({"x1"})).reason == "pinned"
    assert decide(kind, prefix="y").reason == "no rule is about it"
    assert not decide(kind, prefix="x").is_kept


def test_base_whose_descriptor_is_gone() -> None:
    made = decide(LeftoverKind.NO_DESCRIPTOR, needed=("x1",))
    assert (made.is_kept, made.reason) == (True, "a backup that is kept builds on it")
    assert not decide(LeftoverKind.NO_DESCRIPTOR, needed=("x2",)).is_kept
    # An upload that was never finished is part of no object.
    assert not decide(LeftoverKind.UNFINISHED_UPLOAD, "x1/node1/chunk-1", needed=("x1",)).is_kept


@pytest.mark.parametrize("kind", BY_SERVER)
def test_backup_in_progress(kind: LeftoverKind) -> None:
    left = Leftover(kind, "x1/chunk", 5, OLD)
    rules = Retention((Rules(keep_last=1),))
    for cause, reason in ((Cause.IN_PROGRESS, "its backup is in progress"), (Cause.YOUNG, kind.value)):
        (made,) = plan_leftovers([left], (), {"x1": Decision("x1", cause)}, rules, NOON)
        assert made.reason == reason


leftovers = st.builds(
    Leftover,
    st.sampled_from(LeftoverKind),
    st.sampled_from(["x1/", "x2/a", "x3", "y1/b/c", "Y/", "x1/z"]),
    st.integers(0, 9),
    st.none() | st.integers(0, 10).map(lambda days: NOON - days * DAY),
)
ids = st.frozensets(st.sampled_from(["x1", "x2", "x3", "y1"]))


@given(st.lists(leftovers, unique=True), ids, ids, ids)
def test_only_what_nothing_speaks_for_is_deleted(
    found: list[Leftover], needed: frozenset[str], in_progress: frozenset[str], pinned: frozenset[str]
) -> None:
    backups = {name: Decision(name, Cause.IN_PROGRESS) for name in in_progress}
    made = plan_leftovers(found, needed, backups, Retention((Rules("x", keep_last=1),), pinned), NOON)
    assert [one.leftover for one in made] == found
    for one in made:
        left, folder = one.leftover, one.leftover.key.split("/")[0]
        is_deleted = (
            left.kind in BY_SERVER
            and is_legal_id(folder)
            and folder.startswith("x")
            and folder not in pinned | in_progress
            and not (left.kind is LeftoverKind.NO_DESCRIPTOR and folder in needed)
            and left.kind is not LeftoverKind.UNFINISHED_UPLOAD  # of no backup but of those in progress
            and left.modified_at is not None
            and left.modified_at + 7 * DAY <= NOON
        )
        assert one.is_kept != is_deleted
        assert one.reason
