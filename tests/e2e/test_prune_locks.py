"""Backups that a real server has made in a bucket with Object Lock: what is locked stays, and all that it builds on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_vectorbackup.compat import AirflowFailException
from tests.e2e.prune_lab import Bench, Root, etags, logged, prune, without_waiting
from tests.operators.contexts import TaskRun

BUCKET = "pruned-with-locks"
PATH = "kept"
ONE_DAY = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
BY_HOLD = "locked until somebody lifts it: a legal hold"
BY_TIME = r"locked until \d{4}-\d\d-\d\d \d\d:\d\d UTC: Object Lock \(GOVERNANCE\)"


@dataclass(frozen=True)
class Vault:
    """A bucket with Object Lock, by its own client."""

    client: Any
    root: Root

    def retain(self, *rules: dict[str, Any]) -> None:
        """Set how long new objects are kept; for no time without rules."""
        configuration = {"ObjectLockEnabled": "Enabled"} | ({"Rule": rules[0]} if rules else {})
        self.client.put_object_lock_configuration(Bucket=BUCKET, ObjectLockConfiguration=configuration)

    def hold(self, key: str, status: str) -> None:
        """Put a legal hold on an object, or take it off."""
        self.client.put_object_legal_hold(Bucket=BUCKET, Key=f"{PATH}/{key}", LegalHold={"Status": status})

    def release(self, backup_id: str) -> None:
        """End the retention of a backup's objects, as one does who may bypass it."""
        for key in etags(self.root.location, f"{backup_id}/"):
            target = {"Bucket": BUCKET, "Key": f"{PATH}/{key}", "BypassGovernanceRetention": True}
            self.client.put_object_retention(**target, Retention={})

    def stored_bytes(self) -> int:
        """Return what takes up space, whether a listing shows it or not."""
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=BUCKET)
        return sum(version["Size"] for page in pages for version in page.get("Versions", ()))


@pytest.fixture(scope="module")
def held(bench: Bench) -> dict[tuple[str, ...], Any]:
    """What the server holds all the time."""
    return bench.refill()


@pytest.fixture(scope="module")
def vault(bench: Bench, held: object) -> Iterator[Vault]:
    """One backup was made while the bucket retained all that was new, one is held, and the newest is free."""
    with bench.minio.client() as client, without_waiting():
        client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        vault = Vault(client, bench.root(PATH, BUCKET))
        vault.root.back_up("base")
        vault.retain(ONE_DAY)
        vault.root.back_up("retained", "base")
        vault.retain()
        for backup_id in ("held", "newest"):
            vault.root.back_up(backup_id)
        vault.hold("held/w1/Article/chunk-1", "ON")
        yield vault


def test_what_is_locked_stays_and_so_does_its_base(vault: Vault) -> None:
    before = etags(vault.root.location)
    with logged() as told:
        reports = [prune(vault.root.location, dry_run=dry_run) for dry_run in (True, False)]
    for report in reports:
        assert (report["deleted"], report["kept"], report["failed"]) == ([], 4, {})
        assert report["spared"] == {"base": "retained builds on it, and stays"}
        assert report["locked"].keys() == {"held", "retained"}
        assert report["locked"]["held"] == BY_HOLD
        assert re.fullmatch(BY_TIME, report["locked"]["retained"])
    assert len([line for line in told if re.match(rf"keep: retained .*: {BY_TIME}; no rule keeps it", line)]) == 2
    assert etags(vault.root.location) == before


def test_task_fails_if_that_is_wanted(vault: Vault) -> None:
    run = TaskRun(task_id="prune")
    with pytest.raises(AirflowFailException, match=rf"could be deleted: .*held: {BY_HOLD}"):
        prune(vault.root.location, run, fail_on_locked=True)
    assert run.xcoms["report"]["locked"].keys() == {"held", "retained"}


def test_what_is_locked_can_be_restored(vault: Vault, held: dict[tuple[str, ...], Any]) -> None:
    assert vault.root.restored("retained") == held


def test_what_is_not_locked_any_more_goes(vault: Vault) -> None:
    """It can't be seen any more; the bucket keeps its bytes all the same, which the report says.

    And it retains what the prune itself writes, which is not in the way of the next one.
    """
    vault.hold("held/w1/Article/chunk-1", "OFF")
    vault.release("retained")
    vault.retain(ONE_DAY)
    before = vault.stored_bytes()
    report = prune(vault.root.location)
    assert (set(report["deleted"]), report["locked"], report["spared"]) == ({"held", "retained", "base"}, {}, {})
    assert (report["freed_bytes"], report["storage_keeps"]) == (0, "versioning")
    assert before - vault.stored_bytes() <= 0 < report["deleted_bytes"]
    assert {key.partition("/")[0] for key in etags(vault.root.location)} == {"newest"}
    with pytest.raises(RuntimeError, match=r": 404 .*held.* does not exist: .*/held/backup_config\.json not found"):
        vault.root.start_restore("held")
    assert prune(vault.root.location)["deleted"] == []
