"""What our code relies on, shown by the stand-in and by real servers alike, through both clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, Status
from airflow_provider_vectorbackup.exceptions import (
    AlreadyExists,
    NotFound,
    OperationInProgress,
    Rejected,
    UnexpectedAnswer,
    WeaviateError,
)
from airflow_provider_vectorbackup.weaviate import answers, calls
from airflow_provider_vectorbackup.weaviate.calls import Call
from tests.contract.conftest import Driver
from tests.contract.servers import BUCKET, NODE

ALL = ("Article", "Author", "Product")
RESTORE = OperationKind.RESTORE
NewAddress = Callable[..., BackupAddress]


def raw_create(**body: Any) -> Call[answers.Accepted]:
    """Make a request that our own checks would not let through."""
    return Call("POST", "/backups/s3", answers.parse_accepted, body=body)


def by_version(driver: Driver, *, old: int, new: int) -> int:
    """Return the status code that changed with 1.37.10 and 1.38.2."""
    return new if driver.subject.version >= (1, 38, 2) else old


def assert_refused(driver: Driver, call: Call[Any], kind: type[WeaviateError], code: int, text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        driver.send(call)
    assert type(caught.value) is kind
    assert caught.value.status_code == code


class TestServer:
    def test_meta_names_version_and_backends(self, driver: Driver) -> None:
        meta = driver.send(calls.read_meta())
        assert meta.version == str(driver.subject.version)
        assert meta.modules["backup-s3"]["bucketName"] == BUCKET
        assert meta.modules["backup-filesystem"]["backupsPath"]

    def test_nodes(self, driver: Driver) -> None:
        (node,) = driver.send(calls.read_nodes())
        assert (node.name, node.status, node.version) == (NODE, "HEALTHY", str(driver.subject.version))

    def test_schema(self, driver: Driver) -> None:
        seen = {collection.name: collection.is_multi_tenant for collection in driver.send(calls.read_schema())}
        assert seen == {"Article": False, "Author": False, "Product": True}

    def test_aliases(self, driver: Driver) -> None:
        assert driver.send(calls.read_aliases()) == ("Writer",)

    def test_tenants_change_their_activity(self, driver: Driver) -> None:
        assert _tenants(driver) == {"acme": "HOT", "globex": "COLD"}
        driver.send(calls.set_tenants("Product", {"globex": "HOT"}))
        assert _tenants(driver) == {"acme": "HOT", "globex": "HOT"}
        driver.send(calls.set_tenants("Product", {"globex": "COLD"}))
        assert _tenants(driver) == {"acme": "HOT", "globex": "COLD"}

    def test_tenants_of_a_collection_without_any(self, driver: Driver) -> None:
        assert_refused(driver, calls.read_tenants("Article"), Rejected, 422, "multi-tenancy is not enabled")

    def test_unknown_path(self, driver: Driver) -> None:
        assert_refused(driver, Call("GET", "/nowhere", answers.parse_nothing), NotFound, 404, "was not found")

    def test_method_that_is_not_there(self, driver: Driver) -> None:
        assert_refused(
            driver, Call("PUT", "/backups/s3", answers.parse_nothing, body={}), Rejected, 405, "is not allowed"
        )


class TestCreate:
    def test_everything_to_the_end(self, driver: Driver, new_address: NewAddress) -> None:
        address = new_address()
        assert driver.create(address) == ALL
        *running, final = driver.end(address)
        assert running
        assert {status.status for status in running} <= {Status.STARTED, Status.SUCCESS}
        assert final.status is Status.SUCCESS
        assert final.started_at is not None
        assert final.completed_at is not None
        assert final.completed_at > final.started_at
        assert final.pre_compression_bytes
        assert final.server_path == running[0].server_path
        assert final.server_path.startswith(f"s3://{BUCKET}/")

    def test_names_and_patterns(self, driver: Driver, new_address: NewAddress) -> None:
        address = new_address()
        accepted = driver.send(raw_create(id=address.backup_id, include=["Au*"]))
        assert accepted.collections == ("Author",)
        driver.end(address)

    def test_patterns_that_match_nothing_mean_everything(self, driver: Driver, new_address: NewAddress) -> None:
        address = new_address()
        accepted = driver.send(raw_create(id=address.backup_id, include=["Zebra*"]))
        assert accepted.collections == ALL
        driver.end(address)

    def test_another_path(self, driver: Driver, new_address: NewAddress) -> None:
        address = new_address(path="team/a")
        driver.create(address, include=("Author",))
        assert driver.end(address)[-1].server_path == f"s3://{BUCKET}/team/a/{address.backup_id}"
        elsewhere = BackupAddress("s3", address.backup_id)
        assert_refused(driver, calls.status_of(OperationKind.BACKUP, elsewhere), NotFound, 404, "metadata not found")
        assert address.backup_id not in {entry.backup_id for entry in driver.send(calls.list_backups("s3"))}

    def test_incremental(self, driver: Driver, finished: BackupAddress, new_address: NewAddress) -> None:
        address = new_address()
        driver.create(address, incremental_base_backup_id=finished.backup_id)
        assert driver.end(address)[-1].status is Status.SUCCESS

    def test_id_that_exists(self, driver: Driver, finished: BackupAddress) -> None:
        assert_refused(driver, raw_create(id=finished.backup_id), AlreadyExists, 422, "already exists at")

    def test_bad_id(self, driver: Driver) -> None:
        assert_refused(driver, raw_create(id="Bad-ID"), Rejected, 422, "invalid backup id: 'Bad-ID'")

    def test_include_and_exclude(self, driver: Driver) -> None:
        call = raw_create(id="x1", include=["Article"], exclude=["Author"])
        assert_refused(driver, call, Rejected, 422, "'include' and 'exclude' cannot both contain values")

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"include": ["Nope"]}, "class Nope doesn't exist"),
            ({"include": ["Writer"]}, "class Writer doesn't exist"),
            ({"include": ["author"]}, "class author doesn't exist"),
            ({"include": ["Article", "Article"]}, "'include' contains duplicate: Article"),
            ({"exclude": ["*"]}, "empty class list: please choose from"),
        ],
        ids=["unknown", "alias", "other case", "duplicate", "nothing left"],
    )
    def test_collections_that_can_not_be(self, driver: Driver, fields: dict[str, Any], text: str) -> None:
        assert_refused(driver, raw_create(id="x1", **fields), Rejected, 422, text)

    @pytest.mark.parametrize(
        ("config", "text"),
        [
            ({"CPUPercentage": 99}, "CPUPercentage in body should be less than or equal to 80"),
            ({"CPUPercentage": -1}, "CPUPercentage in body should be greater than or equal to"),
            ({"CompressionLevel": "Nope"}, "CompressionLevel in body should be one of"),
        ],
    )
    def test_settings_out_of_range(self, driver: Driver, config: dict[str, Any], text: str) -> None:
        assert_refused(driver, raw_create(id="x1", config=config), Rejected, 422, text)

    def test_base_that_is_not_there(self, driver: Driver) -> None:
        call = raw_create(id="x1", incremental_base_backup_id="nope")
        assert_refused(driver, call, Rejected, 422, "resolve base backup chain: could not fetch base backup")

    def test_base_that_is_the_backup_itself(self, driver: Driver) -> None:
        call = raw_create(id="x1", incremental_base_backup_id="x1")
        assert_refused(driver, call, Rejected, 500, "base backup cannot be the same as the new backup ID: x1")

    def test_one_at_a_time(self, driver: Driver, new_address: NewAddress) -> None:
        address = new_address()
        with driver.subject.held():
            driver.create(address)
            assert (listed := driver.send(calls.list_backups("s3"))[0]).status is Status.STARTED
            assert (listed.backup_id, listed.collections) == (address.backup_id, ALL)
            assert_refused(
                driver, raw_create(id="x1"), OperationInProgress, 422, f"backup {address.backup_id} already in"
            )
            restore = Call("POST", f"/backups/s3/{address.backup_id}/restore", answers.parse_accepted)
            assert_refused(driver, restore, Rejected, 422, "invalid backup in scheduler .* status: STARTED")
            driver.send(calls.cancel(OperationKind.BACKUP, address, driver.subject.version))
            driver.end(address)


class TestList:
    def test_newest_first(self, driver: Driver, finished: BackupAddress, new_address: NewAddress) -> None:
        address = new_address()
        driver.create(address, include=("Author",))
        driver.end(address)
        listed = driver.send(calls.list_backups("s3"))
        assert [entry.started_at for entry in listed] == sorted([e.started_at for e in listed if e.started_at])[::-1]
        assert (listed[0].backup_id, listed[0].status, listed[0].collections) == (
            address.backup_id,
            Status.SUCCESS,
            ("Author",),
        )
        assert next(entry for entry in listed if entry.backup_id == finished.backup_id).collections == ALL
        oldest_first = driver.send(Call("GET", "/backups/s3", answers.parse_list, params={"order": "asc"}))
        assert oldest_first == listed[::-1]

    def test_order_that_is_none(self, driver: Driver) -> None:
        call = Call("GET", "/backups/s3", answers.parse_list, params={"order": "zzz"})
        assert_refused(driver, call, Rejected, 422, "should be one of")

    def test_empty_place(self, driver: Driver) -> None:
        assert driver.send(calls.list_backups("filesystem")) == ()


class TestUnknownBackend:
    def test_create(self, driver: Driver) -> None:
        call = Call("POST", "/backups/nope", answers.parse_accepted, body={"id": "x1"})
        assert_refused(driver, call, Rejected, 422, 'no backup backend "nope"')

    def test_status(self, driver: Driver) -> None:
        call = Call("GET", "/backups/nope/x1", answers.parse_backup_status)
        assert_refused(driver, call, Rejected, 422, 'no backup provider "nope"')

    def test_list(self, driver: Driver) -> None:
        code = by_version(driver, old=500, new=422)
        assert_refused(driver, calls.list_backups("nope"), Rejected, code, "backup: nope not found")

    def test_cancel(self, driver: Driver) -> None:
        assert_refused(
            driver, Call("DELETE", "/backups/nope/x1", answers.parse_nothing), Rejected, 422, "nope not found"
        )

    def test_restore(self, driver: Driver) -> None:
        call = Call("POST", "/backups/nope/x1/restore", answers.parse_accepted)
        assert_refused(driver, call, Rejected, 422, 'no backup backend "nope"')

    def test_restore_status(self, driver: Driver) -> None:
        call = Call("GET", "/backups/nope/x1/restore", answers.parse_restore_status)
        assert_refused(driver, call, Rejected, by_version(driver, old=422, new=500), 'no backup provider "nope"')


class TestRestore:
    def test_into_an_emptied_server(self, driver: Driver, finished: BackupAddress) -> None:
        for name in ALL:
            driver.send(calls.delete_collection(name))
        assert driver.send(calls.read_schema()) == ()
        assert driver.restore(finished) == ALL
        *running, final = driver.end(finished, RESTORE)
        assert running[0].status is Status.TRANSFERRING
        assert (final.status, final.error, final.completed_at) == (Status.SUCCESS, "", None)
        assert tuple(sorted(collection.name for collection in driver.send(calls.read_schema()))) == ALL
        assert _tenants(driver) == {"acme": "HOT", "globex": "COLD"}
        assert driver.send(calls.read_aliases()) == ("Writer",)

    def test_what_exists_fails_and_the_others_are_restored(self, driver: Driver, finished: BackupAddress) -> None:
        driver.send(calls.delete_collection("Author"))
        driver.restore(finished, include=("Article", "Author"))
        assert driver.end(finished, RESTORE)[-1].status is Status.FAILED
        assert "class name Article already exists" in driver.reason(finished, RESTORE)
        assert {collection.name for collection in driver.send(calls.read_schema())} == set(ALL)

    def test_unknown_id(self, driver: Driver) -> None:
        call = Call("POST", "/backups/s3/nope/restore", answers.parse_accepted)
        assert_refused(driver, call, NotFound, 404, 'backup id "nope" does not exist')

    def test_collection_that_is_not_in_the_backup(self, driver: Driver, finished: BackupAddress) -> None:
        call = calls.restore_backup(calls.RestoreRequest(finished, include=("Nope",)), driver.subject.version)
        assert_refused(driver, call, Rejected, 422, "class Nope doesn't exist in the backup, but does have")

    def test_node_that_is_not_in_the_cluster(self, driver: Driver, finished: BackupAddress) -> None:
        request = calls.RestoreRequest(finished, include=("Author",), node_mapping={NODE: "gone"})
        call = calls.restore_backup(request, driver.subject.version)
        assert_refused(
            driver, call, Rejected, by_version(driver, old=422, new=500), 'cannot resolve hostname for "gone"'
        )

    def test_node_that_is_not_in_the_backup(self, driver: Driver, finished: BackupAddress) -> None:
        request = calls.RestoreRequest(finished, include=("Author",), node_mapping={"gone": NODE})
        with pytest.raises(WeaviateError) as caught:
            driver.send(calls.restore_backup(request, driver.subject.version))
        assert isinstance(caught.value, UnexpectedAnswer) == (driver.subject.version < (1, 38, 2))
        assert caught.value.may_have_started

    def test_status_of_none(self, driver: Driver, new_address: NewAddress) -> None:
        assert_refused(driver, calls.status_of(RESTORE, new_address()), NotFound, 404, "metadata not found")


class TestCancel:
    def test_finished(self, driver: Driver, finished: BackupAddress) -> None:
        call = calls.cancel(OperationKind.BACKUP, finished, driver.subject.version)
        assert_refused(driver, call, Rejected, 422, 'backup "finished" already succeeded')

    def test_finished_restore(self, driver: Driver, finished: BackupAddress) -> None:
        driver.send(calls.delete_collection("Author"))
        driver.restore(finished, include=("Author",))
        assert driver.end(finished, RESTORE)[-1].status is Status.SUCCESS
        call = calls.cancel(RESTORE, finished, driver.subject.version)
        # For a moment the server holds it for unfinished, though it has told its SUCCESS.
        text = 'restore "finished" (already succeeded|is applying schema changes and cannot be cancelled)'
        assert_refused(driver, call, Rejected, 422, text)

    def test_unknown_is_no_error(self, driver: Driver, new_address: NewAddress) -> None:
        address = new_address()
        driver.send(calls.cancel(OperationKind.BACKUP, address, driver.subject.version))
        assert_refused(driver, calls.status_of(OperationKind.BACKUP, address), NotFound, 404, "metadata not found")

    def test_bad_id(self, driver: Driver) -> None:
        with pytest.raises(WeaviateError, match="invalid backup id") as caught:
            driver.send(Call("DELETE", "/backups/s3/Bad-ID", answers.parse_nothing, has_answer=False))
        assert caught.value.status_code == by_version(driver, old=500, new=422)

    def test_running_ends_canceled_and_spends_its_id(self, driver: Driver, new_address: NewAddress) -> None:
        address = new_address()
        with driver.subject.held():
            driver.create(address)
            driver.send(calls.cancel(OperationKind.BACKUP, address, driver.subject.version))
            assert driver.end(address)[-1].status is Status.CANCELED
        assert "context canceled" in driver.reason(address)
        assert_refused(driver, raw_create(id=address.backup_id), AlreadyExists, 422, "check if backup .* exists at")


class TestDeleteCollection:
    def test_leaves_its_alias(self, driver: Driver, finished: BackupAddress) -> None:
        driver.send(calls.delete_collection("Author"))
        assert driver.send(calls.read_aliases()) == ("Writer",)
        driver.restore(finished, include=("Author",))
        assert driver.end(finished, RESTORE)[-1].status is Status.SUCCESS

    def test_that_is_not_there_is_no_error(self, driver: Driver) -> None:
        driver.send(calls.delete_collection("Nope"))
        assert {collection.name for collection in driver.send(calls.read_schema())} == set(ALL)


def _tenants(driver: Driver) -> dict[str, str]:
    return {tenant.name: tenant.activity for tenant in driver.send(calls.read_tenants("Product"))}
