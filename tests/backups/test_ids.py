from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.ids import MAX_LENGTH, attempt_id, default_id, require_legal_id
from airflow_provider_vectorbackup.exceptions import InvalidRequest

# A null byte is in none of them: Airflow allows no control characters in ids.
names = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=300)
indexes = st.integers(min_value=-1, max_value=10_000)
parts = st.tuples(names, names, names, names, indexes)


@given(parts)
def test_default_id_is_legal_for_every_attempt(given_parts: tuple[str, str, str, str, int]) -> None:
    backup_id = default_id(*given_parts)
    assert require_legal_id(backup_id) == backup_id
    assert require_legal_id(attempt_id(backup_id, 99)) == f"{backup_id}-a99"


@given(parts)
def test_same_task_run_has_the_same_id(given_parts: tuple[str, str, str, str, int]) -> None:
    assert default_id(*given_parts) == default_id(*given_parts)


@given(parts, parts)
def test_other_task_runs_have_other_ids(
    one: tuple[str, str, str, str, int], other: tuple[str, str, str, str, int]
) -> None:
    assert (default_id(*one) == default_id(*other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("", "Daily", "t", "r"), ("", "daily", "t", "r")),
        (("", "a.b", "t", "r"), ("", "a-b", "t", "r")),
        (("", "a", "b", "c"), ("", "a-b", "", "c")),
        (("p", "a", "b", "c"), ("", "p-a", "b", "c")),
        (("", "a", "b", "c", -1), ("", "a", "b", "c", 0)),
        (("", "a", "b", "c-1", -1), ("", "a", "b", "c", 1)),
        (("", "d" * 200 + "1", "t", "r"), ("", "d" * 200 + "2", "t", "r")),
        (("", "日本", "t", "r"), ("", "中国", "t", "r")),
    ],
)
def test_what_reads_alike_is_told_apart(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert default_id(*one) != default_id(*other)  # type: ignore[arg-type]  # tuples of five end in an int


def test_default_id_can_be_read() -> None:
    run_id = "scheduled__2026-11-22T03:00:00+00:00"
    backup_id = default_id("prod", "nightly", "back_up", run_id, 3)
    assert backup_id.startswith("prod-nightly-back-up-scheduled-2026-11-22t03-00-00-00-00-3-")


def test_first_attempt_has_no_suffix() -> None:
    assert [attempt_id("x", attempt) for attempt in (1, 2, 3)] == ["x", "x-a2", "x-a3"]


@pytest.mark.parametrize("legal", ["a", "0", "_", "-", "nightly_2026-11-22", "a" * MAX_LENGTH])
def test_legal_ids_are_taken_as_they_are(legal: str) -> None:
    assert require_legal_id(legal) == legal


@pytest.mark.parametrize("illegal", ["", "A", "a b", "a/b", "a.b", "ä", "a\n", "a" * (MAX_LENGTH + 1), "{{ ds }}"])
def test_illegal_ids_are_refused(illegal: str) -> None:
    with pytest.raises(InvalidRequest, match="backup id"):
        require_legal_id(illegal)


@pytest.mark.parametrize("no_text", [None, 3, ["a"]])
def test_what_is_no_text_is_no_id(no_text: object) -> None:
    with pytest.raises(InvalidRequest, match="is not a backup id"):
        require_legal_id(no_text)  # type: ignore[arg-type]  # what a template may give
