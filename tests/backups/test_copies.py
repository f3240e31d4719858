from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.copies import (
    CopyResult,
    Method,
    balanced_shares,
    choose_method,
    require_apart,
)
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import InvalidRequest

AUTO, STREAMED, SERVER_SIDE = Method.AUTO, Method.STREAMED, Method.SERVER_SIDE
OBJECT_COST_BYTES = 2**18


def at(uri: str) -> Location:
    return Location.parse(uri)


class TestMethod:
    @pytest.mark.parametrize(
        ("source", "target", "chosen"),
        [
            ("s3://one@a", "s3://one@b", SERVER_SIDE),
            ("s3://one@a/x", "s3://one@a/y", SERVER_SIDE),
            ("s3://a", "s3://b", SERVER_SIDE),
            ("gs://g@a", "gs://g@b/x", SERVER_SIDE),
            ("azure://w@a", "azure://w@b", SERVER_SIDE),
            ("s3://one@a", "s3://two@b", STREAMED),
            ("s3://one@a", "s3://b", STREAMED),
            ("s3://one@a", "gs://one@b", STREAMED),
            ("file:///a", "file:///b", STREAMED),
            ("file:///a", "s3://b", STREAMED),
            ("azure://w@a", "file:///b", STREAMED),
        ],
    )
    def test_auto_is_inside_the_storage_where_one_identity_sees_both(
        self, source: str, target: str, chosen: Method
    ) -> None:
        assert choose_method(AUTO, at(source), at(target)) is chosen
        assert choose_method(STREAMED, at(source), at(target)) is STREAMED
        if chosen is SERVER_SIDE:
            assert choose_method(SERVER_SIDE, at(source), at(target)) is SERVER_SIDE
        else:
            with pytest.raises(InvalidRequest, match="inside the storage") as caught:
                choose_method(SERVER_SIDE, at(source), at(target))
            assert str(at(source)) in str(caught.value)
            assert str(at(target)) in str(caught.value)

    @pytest.mark.parametrize("wanted", Method)
    @pytest.mark.parametrize(
        ("source", "target"),
        [
            ("s3://one@a/x", "s3://one@a/x/"),
            ("s3://one@a/x", "s3://two@a/x"),
            ("s3://one@a", "s3://a"),
            ("file:///a", "file:///a/"),
        ],
    )
    def test_same_place_is_refused_whoever_looks_at_it(self, wanted: Method, source: str, target: str) -> None:
        with pytest.raises(InvalidRequest, match="are the same place"):
            choose_method(wanted, at(source), at(target))


class TestApart:
    @pytest.mark.parametrize(
        ("source", "target"),
        [
            ("s3://b", "s3://b/x1"),
            ("s3://one@b/p", "s3://two@b/p/x1"),
            ("s3://b/p", "s3://b/p/x1/w1/Article"),
            ("file:///", "file:///x1"),
            ("file:///a", "file:///a/x1/copies"),
        ],
    )
    def test_target_inside_the_backup_is_refused(self, source: str, target: str) -> None:
        with pytest.raises(InvalidRequest, match="lies inside the backup itself"):
            require_apart("x1", at(source), at(target))

    @pytest.mark.parametrize(
        ("source", "target"),
        [
            ("s3://b", "s3://b/x10"),
            ("s3://b", "s3://c/x1"),
            ("s3://b", "gs://b/x1"),
            ("s3://b/p", "s3://b/x1"),
            ("s3://b/p", "s3://b/p/other"),
            ("file:///a", "file:///a-copies/x1"),
        ],
    )
    def test_neighbours_are_apart(self, source: str, target: str) -> None:
        require_apart("x1", at(source), at(target))


class TestShares:
    @given(st.lists(st.integers(0, 2**40), max_size=60), st.integers(1, 20))
    def test_each_is_in_one_share_and_none_is_much_above_the_mean(self, sizes: list[int], shares: int) -> None:
        given_out = balanced_shares(sizes, shares)
        assert len(given_out) == shares
        assert sorted(index for share in given_out for index in share) == list(range(len(sizes)))
        costs = [size + OBJECT_COST_BYTES for size in sizes]
        loads = [sum(costs[index] for index in share) for share in given_out]
        assert max(loads) <= sum(costs) / shares + max(costs, default=0)

    @given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 5))
    def test_all_who_ask_get_the_same_answer(self, sizes: list[int], shares: int) -> None:
        assert balanced_shares(sizes, shares) == balanced_shares(tuple(sizes), shares)

    def test_many_small_ones_are_not_free(self) -> None:
        """Ten thousand empty objects are not all one worker's, beside one of a gigabyte."""
        first, second = balanced_shares([2**30, *[0] * 10_000], 2)
        assert first[0] == 0
        assert min(len(first), len(second)) > 2000


def result(**fields: object) -> CopyResult:
    usual = {"method": STREAMED, "chain": ("full", "x1"), "copied": ("x1",)}
    places = ("x1", "s3://a/x1", "gs://b/x1", "gs://b")
    return CopyResult(*places, **(usual | fields))  # type: ignore[arg-type]


class TestResult:
    def test_summary(self) -> None:
        found = result(objects=5, bytes_moved=700, bytes_skipped=50, seconds=2.0, manifests=("x1/m.json",)).summary()
        assert json.loads(json.dumps(found)) == found
        assert found == {
            "backup_id": "x1",
            "source": "s3://a/x1",
            "target": "gs://b/x1",
            "uri": "gs://b/x1",
            "location": "gs://b",
            "chain": ["full", "x1"],
            "copied": ["x1"],
            "skipped": ["full"],
            "objects": 5,
            "bytes_moved": 700,
            "bytes_skipped": 50,
            "seconds": 2.0,
            "rate_bytes_per_second": 350.0,
            "method": "streamed",
            "manifests": ["x1/m.json"],
            "dry_run": False,
        }

    def test_nothing_in_no_time(self) -> None:
        found = result(copied=(), dry_run=True).summary()
        assert (found["rate_bytes_per_second"], found["skipped"], found["dry_run"]) == (0.0, ["full", "x1"], True)
