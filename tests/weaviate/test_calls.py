from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind
from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.calls import BackupRequest, Call, RestoreRequest
from airflow_provider_vectorbackup.weaviate.features import parse_version

NEW = parse_version("1.39.2")
PLAIN = BackupAddress("s3", "x1")
MOVED = BackupAddress("s3", "x1", "other", "team/a")
BACKUP, RESTORE = OperationKind.BACKUP, OperationKind.RESTORE


def sent(call: Call[Any]) -> tuple[str, str, dict[str, str], Any]:
    return call.method, call.path, dict(call.params), call.body


class TestCreate:
    def test_nothing_but_the_id(self) -> None:
        call = calls.create_backup(BackupRequest(PLAIN), NEW)
        assert sent(call) == ("POST", "/backups/s3", {}, {"id": "x1"})

    def test_everything(self) -> None:
        request = BackupRequest(
            MOVED,
            include=("Article", "Author"),
            include_users=("a*",),
            include_roles=("b*",),
            incremental_base_backup_id="x0",
            compression="ZstdBestSpeed",
            cpu_percentage=80,
        )
        assert sent(calls.create_backup(request, NEW)) == (
            "POST",
            "/backups/s3",
            {},
            {
                "id": "x1",
                "include": ["Article", "Author"],
                "includeUsers": ["a*"],
                "includeRoles": ["b*"],
                "incremental_base_backup_id": "x0",
                "config": {
                    "CPUPercentage": 80,
                    "Bucket": "other",
                    "Path": "team/a",
                    "CompressionLevel": "ZstdBestSpeed",
                },
            },
        )

    @pytest.mark.parametrize(
        ("fields", "too_old", "message"),
        [
            ({"incremental_base_backup_id": "x0"}, "1.36.2", "incremental_base_backup_id"),
            ({"include_users": ("a",)}, "1.38.2", "include_users"),
            ({"include_roles": ("a",)}, "1.39.0", "include_roles"),
            ({"compression": "ZstdBestSpeed"}, "1.32.17", "this compression"),
            ({"compression": "NoCompression"}, "1.34.0", "this compression"),
            ({"compression": "BestSpeed"}, "1.23.16", "compression and cpu_percentage"),
            ({"cpu_percentage": 50}, "1.23.16", "compression and cpu_percentage"),
            ({"address": BackupAddress("s3", "x1", bucket="other")}, "1.27.1", "bucket and path"),
            ({"address": BackupAddress("s3", "x1", path="a")}, "1.27.1", "bucket and path"),
        ],
    )
    def test_fields_that_an_old_server_would_ignore(self, fields: dict[str, Any], too_old: str, message: str) -> None:
        request = BackupRequest(**({"address": PLAIN} | fields))
        with pytest.raises(InvalidRequest, match=f"Weaviate {too_old}.* does not know {message} and would ignore it"):
            calls.create_backup(request, parse_version(too_old))

    def test_old_server_does_what_it_knows(self) -> None:
        old = parse_version("1.20.0")
        assert calls.create_backup(BackupRequest(PLAIN, include=("A",)), old).body == {"id": "x1", "include": ["A"]}

    @pytest.mark.parametrize("percentage", [-1, 0, 81])
    def test_cpu_percentage_out_of_range(self, percentage: int) -> None:
        message = f"cpu_percentage is {percentage}. Use a whole number from 1 to 80."
        for build in (calls.create_backup, calls.restore_backup):
            kind = BackupRequest if build is calls.create_backup else RestoreRequest
            with pytest.raises(InvalidRequest, match=message):
                build(kind(PLAIN, cpu_percentage=percentage), NEW)  # type: ignore[arg-type]  # each has its own kind

    def test_unknown_compression(self) -> None:
        with pytest.raises(InvalidRequest, match=r"compression is 'gzip'\. Use one of DefaultCompression, "):
            calls.create_backup(BackupRequest(PLAIN, compression="gzip"), NEW)


class TestRestore:
    def test_nothing_but_the_id(self) -> None:
        call = calls.restore_backup(RestoreRequest(PLAIN), NEW)
        assert sent(call) == ("POST", "/backups/s3/x1/restore", {}, {})

    def test_everything(self) -> None:
        request = RestoreRequest(
            MOVED,
            include=("Article",),
            node_mapping={"old": "new"},
            cpu_percentage=1,
            overwrite_alias=True,
            roles_options="all",
            users_options="noRestore",
        )
        assert sent(calls.restore_backup(request, NEW)) == (
            "POST",
            "/backups/s3/x1/restore",
            {},
            {
                "include": ["Article"],
                "node_mapping": {"old": "new"},
                "overwriteAlias": True,
                "config": {
                    "CPUPercentage": 1,
                    "Bucket": "other",
                    "Path": "team/a",
                    "rolesOptions": "all",
                    "usersOptions": "noRestore",
                },
            },
        )

    @pytest.mark.parametrize(
        ("fields", "too_old", "message"),
        [
            ({}, "1.23.12", "safe restores"),
            ({"overwrite_alias": True}, "1.32.4", "overwrite_alias"),
            ({"roles_options": "all"}, "1.31.1", "roles_options and users_options"),
            ({"users_options": "all"}, "1.30.8", "roles_options and users_options"),
            ({"cpu_percentage": 50}, "1.23.16", "compression and cpu_percentage"),
            ({"address": MOVED}, "1.27.1", "bucket and path"),
        ],
    )
    def test_fields_that_an_old_server_would_ignore(self, fields: dict[str, Any], too_old: str, message: str) -> None:
        request = RestoreRequest(**({"address": PLAIN} | fields))
        with pytest.raises(InvalidRequest, match=f"Weaviate {too_old}.* does not know {message}"):
            calls.restore_backup(request, parse_version(too_old))

    @pytest.mark.parametrize("field", ["roles_options", "users_options"])
    def test_unknown_access_option(self, field: str) -> None:
        request = RestoreRequest(PLAIN, **{field: "some"})  # type: ignore[arg-type]  # one of two texts
        with pytest.raises(InvalidRequest, match=rf"{field} is 'some'\. Use one of noRestore, all\."):
            calls.restore_backup(request, NEW)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (calls.status_of(BACKUP, PLAIN), ("GET", "/backups/s3/x1", {}, None)),
        (calls.status_of(RESTORE, PLAIN), ("GET", "/backups/s3/x1/restore", {}, None)),
        (
            calls.status_of(BACKUP, MOVED),
            ("GET", "/backups/s3/x1", {"bucket": "other", "path": "team/a"}, None),
        ),
        (
            calls.status_of(RESTORE, BackupAddress("s3", "x1", path="a")),
            ("GET", "/backups/s3/x1/restore", {"path": "a"}, None),
        ),
        (calls.cancel(BACKUP, PLAIN, NEW), ("DELETE", "/backups/s3/x1", {}, None)),
        (
            calls.cancel(RESTORE, MOVED, NEW),
            ("DELETE", "/backups/s3/x1/restore", {"bucket": "other", "path": "team/a"}, None),
        ),
        (calls.list_backups("gcs"), ("GET", "/backups/gcs", {}, None)),
        (calls.read_meta(), ("GET", "/meta", {}, None)),
        (calls.read_nodes(), ("GET", "/nodes", {"output": "minimal"}, None)),
        (calls.read_schema(), ("GET", "/schema", {}, None)),
        (calls.read_aliases(), ("GET", "/aliases", {}, None)),
        (calls.delete_collection("ns:Article"), ("DELETE", "/schema/ns%3AArticle", {}, None)),
        (calls.read_tenants("Article"), ("GET", "/schema/Article/tenants", {}, None)),
        (
            calls.set_tenants("Article", {"a": "HOT", "b": "COLD"}),
            (
                "PUT",
                "/schema/Article/tenants",
                {},
                [{"name": "a", "activityStatus": "HOT"}, {"name": "b", "activityStatus": "COLD"}],
            ),
        ),
    ],
    ids=lambda value: f"{value.method} {value.path}" if isinstance(value, Call) else "",
)
def test_other_calls(call: Call[Any], expected: tuple[str, str, dict[str, str], Any]) -> None:
    assert sent(call) == expected
    assert call.is_repeatable


def test_a_post_is_not_repeatable() -> None:
    assert not calls.create_backup(BackupRequest(PLAIN), NEW).is_repeatable


@pytest.mark.parametrize(("kind", "too_old"), [(BACKUP, "1.26.4"), (RESTORE, "1.35.9")])
def test_cancel_that_an_old_server_can_not_do(kind: OperationKind, too_old: str) -> None:
    with pytest.raises(InvalidRequest, match=f"Weaviate {too_old}.* does not know (listing and )?cancelling"):
        calls.cancel(kind, PLAIN, parse_version(too_old))


def test_illegal_id_is_never_sent() -> None:
    bad = BackupAddress("s3", "../other")
    for build in (
        lambda: calls.create_backup(BackupRequest(bad), NEW),
        lambda: calls.restore_backup(RestoreRequest(bad), NEW),
        lambda: calls.status_of(BACKUP, bad),
        lambda: calls.cancel(BACKUP, bad, NEW),
    ):
        with pytest.raises(InvalidRequest, match=r"'\.\./other' is not a backup id"):
            build()
