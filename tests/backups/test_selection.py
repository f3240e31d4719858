from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.selection import is_pattern, names_shown, select_collections, unmatched
from airflow_provider_vectorbackup.exceptions import InvalidRequest

HERE = ("Article", "Author", "Product")
names = st.from_regex(r"[A-Z][A-Za-z0-9_]{0,6}", fullmatch=True)
patterns = st.from_regex(r"[A-Za-z0-9_*?\[\]!-]{0,4}[*?][A-Za-z0-9_*?\[\]!-]{0,4}", fullmatch=True)
wanted = st.lists(names | patterns, max_size=4)


@given(st.sets(names, max_size=6), wanted, wanted)
def test_never_empty_never_foreign(available: set[str], include: list[str], exclude: list[str]) -> None:
    try:
        chosen = select_collections(available, include=include, exclude=exclude, where="the server")
    except InvalidRequest:
        return
    assert chosen
    assert set(chosen) <= available
    assert list(chosen) == sorted(set(chosen))


@given(st.sets(names, max_size=6), patterns)
def test_pattern_that_matches_nothing_never_means_everything(available: set[str], pattern: str) -> None:
    assert is_pattern(pattern)
    assume(unmatched([pattern], available))
    for include in ([pattern], [*available, pattern]):
        with pytest.raises(InvalidRequest, match="matches no collection"):
            select_collections(available, include=include, where="the server")


@given(st.sets(names, max_size=6), st.lists(names, min_size=1, max_size=3), st.lists(names, min_size=1, max_size=3))
def test_include_and_exclude_together(available: set[str], include: list[str], exclude: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="include and exclude are both given"):
        select_collections(available, include=include, exclude=exclude, where="the server")


@pytest.mark.parametrize(
    ("include", "exclude", "chosen"),
    [
        ([], [], HERE),
        (["Author"], [], ("Author",)),
        (["Product", "Author", "Author"], [], ("Author", "Product")),
        (["A*"], [], ("Article", "Author")),
        (["A*", "Author"], [], ("Article", "Author")),
        (["?uthor"], [], ("Author",)),
        (["*"], [], HERE),
        ([], ["A*"], ("Product",)),
        ([], ["Author", "Gone"], ("Article", "Product")),
        ([], ["author"], HERE),
    ],
)
def test_what_is_chosen(include: list[str], exclude: list[str], chosen: tuple[str, ...]) -> None:
    assert select_collections(HERE, include=include, exclude=exclude, where="the server") == chosen


@pytest.mark.parametrize(
    ("include", "message"),
    [
        (["Autor"], "There is no collection 'Autor'. Did you mean 'Author'?"),
        (["article"], "There is no collection 'article'. Did you mean 'Article'?"),
        (["Zebra"], "There is no collection 'Zebra'. Backup x has: Article, Author, Product."),
        (["Z*"], "The pattern 'Z*' of include matches no collection. Backup x has: Article, Author, Product."),
    ],
)
def test_what_is_not_there(include: list[str], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        select_collections(HERE, include=include, where="backup x")
    assert str(caught.value).startswith(message)


def test_nothing_left() -> None:
    with pytest.raises(InvalidRequest, match=r"no collection left to work on: the server has .*, and exclude is \*\.$"):
        select_collections(HERE, exclude=["*"], where="the server")


def test_empty_server() -> None:
    with pytest.raises(InvalidRequest, match=r"no collection left to work on: the server has none\.$"):
        select_collections((), where="the server")


def test_unmatched() -> None:
    assert unmatched(["Author", "Gone", "P*", "Q*"], HERE) == ("Gone", "Q*")


def test_many_names_are_cut_short() -> None:
    assert names_shown(f"C{number:02}" for number in range(23)).endswith("C18, C19 and 3 more")
    assert names_shown([]) == "none"
