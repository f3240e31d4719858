"""What no stand-in server says by itself: each SDK's own errors, on answers made up for it."""

from __future__ import annotations

import contextlib
import json
import ssl
from pathlib import Path

import pytest
import trustme

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import InvalidRequest, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.azure import AzureStore
from airflow_provider_vectorbackup.storage.azure_access import AzureAccess
from airflow_provider_vectorbackup.storage.gcs import GCSAccess, GCSStore
from airflow_provider_vectorbackup.storage.s3 import S3Access, S3Store
from tests.scripted_server import Reply, scripted_server, silent_port
from tests.storage.conftest import KEY, SECRET, Open, open_azure, open_gcs, open_s3, read, read_from

CONTENT = Reply(200, b"descriptor", {"Content-Range": "bytes 0-9/10", "ETag": '"1"', "x-ms-blob-type": "BlockBlob"})
PAGE = b"<html><body>Nothing here.</body></html>"


def assert_unreadable(open_store: Open, url: str) -> StorageError:
    with pytest.raises(StorageError) as caught:
        read(open_store, url)
    error = caught.value
    assert "://conn@bucket/backups/b1/backup_config.json can't be read: " in str(error)
    assert SECRET not in str(error)
    return error


def test_content(open_store: Open) -> None:
    with scripted_server(CONTENT) as server:
        assert read(open_store, server.url) == b"descriptor"
        (seen,) = server.seen
    assert "/bucket/" in seen.target or "/b/bucket/o/" in seen.target


def test_repeats_are_few(open_store: Open, real_waits: None) -> None:
    with scripted_server(Reply(503, PAGE)) as server:
        error = assert_unreadable(open_store, server.url)
        assert 2 <= len(server.seen) <= 9
    assert isinstance(error, StorageUnreachable)
    assert "503" in str(error)


@pytest.mark.parametrize("status", [500, 502, 504])
def test_fault_of_the_server(open_store: Open, status: int) -> None:
    with scripted_server(Reply(status, PAGE)) as server:
        error = assert_unreadable(open_store, server.url)
    assert isinstance(error, StorageUnreachable)
    assert str(status) in str(error)


def test_fault_that_passes(open_store: Open) -> None:
    with scripted_server(Reply(503), CONTENT) as server:
        assert read(open_store, server.url) == b"descriptor"


def test_too_many_requests(open_store: Open) -> None:
    with scripted_server(Reply(429)) as server:
        assert isinstance(assert_unreadable(open_store, server.url), StorageUnreachable)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410])
@pytest.mark.parametrize("body", [b"", PAGE])
def test_refusal_by_what_is_no_store(open_store: Open, status: int, body: bytes) -> None:
    """A proxy, for instance: not even its 404 says that there is no such object."""
    with scripted_server(Reply(status, body)) as server:
        error = assert_unreadable(open_store, server.url)
        assert len(server.seen) <= 2
    assert not error.retryable
    # Google's library tries to get another token after a 401, which an anonymous one can't.
    assert str(status) in str(error) or "Anonymous credentials" in str(error)


def test_redirect(open_store: Open) -> None:
    with scripted_server(Reply(301, PAGE)) as server:
        assert not assert_unreadable(open_store, server.url).retryable


def test_connection_that_is_cut(open_store: Open) -> None:
    with scripted_server(Reply(cut=True)) as server:
        assert isinstance(assert_unreadable(open_store, server.url), StorageUnreachable)


def test_content_that_is_cut(open_store: Open) -> None:
    cut = Reply(200, b"descri", {**CONTENT.headers, "Content-Length": "10"})
    with scripted_server(cut) as server:
        assert isinstance(assert_unreadable(open_store, server.url), StorageUnreachable)


def test_name_that_is_not_resolved(open_store: Open) -> None:
    assert isinstance(assert_unreadable(open_store, "http://storage.invalid:1"), StorageUnreachable)


class TestS3:
    def answer(self, status: int, code: str) -> Reply:
        return Reply(status, f"<Error><Code>{code}</Code><Message>Server's words.</Message></Error>".encode())

    @pytest.mark.parametrize(
        ("status", "code", "hint"),
        [
            (403, "AccessDenied", "s3:ListBucket"),
            (400, "ExpiredToken", "keys"),
            (403, "InvalidObjectState", "archive"),
            (404, "NoSuchBucket", "bucket"),
            (301, "PermanentRedirect", "region_name"),
            (404, "NoSuchUpload", ""),
        ],
    )
    def test_refusals(self, status: int, code: str, hint: str) -> None:
        with scripted_server(self.answer(status, code)) as server:
            error = assert_unreadable(open_s3, server.url)
        assert f"S3 answered {status} {code}: Server's words." in str(error)
        assert hint in error.hint
        assert not error.retryable

    def test_slow_down(self) -> None:
        with scripted_server(self.answer(400, "RequestTimeout")) as server:
            assert assert_unreadable(open_s3, server.url).retryable

    def test_absent(self) -> None:
        with scripted_server(self.answer(404, "NoSuchKey")) as server:
            assert read(open_s3, server.url) is None

    def test_checksum_that_does_not_fit(self) -> None:
        with scripted_server(Reply(200, b"descriptor", {"x-amz-checksum-crc32": "AAAAAA=="})) as server:
            assert "checksum" in str(assert_unreadable(open_s3, server.url))

    def test_no_credentials(self) -> None:
        store = S3Store(Location.parse("s3://bucket"), S3Access(endpoint_url="http://127.0.0.1:1"))
        with pytest.raises(StorageError, match="Unable to locate credentials") as caught:
            read_from(store)
        assert "keys" in caught.value.hint

    def test_unknown_profile(self) -> None:
        with pytest.raises(StorageError, match=r"s3://bucket can't be opened: .*\(nobody\) could not be found"):
            S3Store(Location.parse("s3://bucket"), S3Access(profile="nobody"))

    def test_profile(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "config").write_text("[profile x]\naws_access_key_id=from-profile\naws_secret_access_key=s\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        with scripted_server(CONTENT) as server:
            access = S3Access(profile="x", region="eu-north-1", endpoint_url=server.url)
            assert read_from(S3Store(Location.parse("s3://bucket"), access)) == b"descriptor"
            (seen,) = server.seen
        assert "Credential=from-profile/" in seen.headers["Authorization"]
        assert "/eu-north-1/s3/" in seen.headers["Authorization"]
        assert seen.target == f"/bucket/{KEY}"

    def test_config_of_the_connection_wins(self) -> None:
        with scripted_server(Reply(503)) as server:
            config = {"signature_version": "unsigned", "retries": {"total_max_attempts": 1, "mode": "standard"}}
            access = S3Access(endpoint_url=server.url, region="us-east-1", config=config)
            with pytest.raises(StorageUnreachable):
                read_from(S3Store(Location.parse("s3://bucket"), access))
            (seen,) = server.seen
        assert "Authorization" not in seen.headers

    @pytest.mark.parametrize("config", [{"no_such_setting": 1}, {"retries": {"mode": "often"}}, {"retries": 3}])
    def test_config_that_is_none(self, config: dict[str, object]) -> None:
        with pytest.raises(InvalidRequest, match="config_kwargs: "):
            S3Store(Location.parse("s3://bucket"), S3Access(config=config))

    def test_certificates(self, tmp_path: Path) -> None:
        authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        with scripted_server(CONTENT, tls=tls) as server:
            assert "verify" in assert_unreadable(open_s3, server.url).hint
            access = S3Access("id", SECRET, endpoint_url=server.url, region="us-east-1", verify="/no/such/bundle.pem")
            with pytest.raises(StorageError, match="can't be read") as caught:
                read_from(S3Store(Location.parse("s3://bucket"), access))
            assert "verify" in caught.value.hint
            for verify in (str(tmp_path / "ca.pem"), False):
                access = S3Access("id", SECRET, endpoint_url=server.url, region="us-east-1", verify=verify)
                store = S3Store(Location.parse("s3://bucket"), access)
                with pytest.warns(match="Unverified HTTPS") if verify is False else contextlib.nullcontext():
                    assert read_from(store) == b"descriptor"


class TestGCS:
    FORBIDDEN = Reply(403, b"reader@project does not have storage.objects.get access.")

    def test_absent(self) -> None:
        with scripted_server(Reply(404, b"No such object"), Reply(200, b"{}")) as server:
            assert read(open_gcs, server.url) is None
            assert [seen.target.partition("?")[0] for seen in server.seen] == [
                "/download/storage/v1/b/bucket/o/backups%2Fb1%2Fbackup_config.json",
                "/storage/v1/b/bucket/o",
            ]

    def test_missing_bucket(self) -> None:
        with scripted_server(Reply(404, b'{"error": {"code": 404, "message": "No such bucket."}}')) as server:
            error = assert_unreadable(open_gcs, server.url)
        assert "Google answered 404: No such bucket." in str(error)

    def test_listing_that_is_refused(self) -> None:
        """Then it can't be told whether the object or the bucket is missing."""
        with scripted_server(Reply(404), self.FORBIDDEN) as server:
            assert "storage.objects.list" in assert_unreadable(open_gcs, server.url).hint

    def test_object_that_was_replaced_while_it_was_read(self) -> None:
        there = json.dumps({"items": [{"name": f"backups/{KEY}"}]}).encode()
        with scripted_server(Reply(404), Reply(200, there)) as server:
            assert assert_unreadable(open_gcs, server.url).retryable

    def test_neighbour_of_an_absent_object(self) -> None:
        there = json.dumps({"items": [{"name": f"backups/{KEY}.old"}]}).encode()
        with scripted_server(Reply(404), Reply(200, there)) as server:
            assert read(open_gcs, server.url) is None

    def test_refusal(self) -> None:
        with scripted_server(self.FORBIDDEN) as server:
            error = assert_unreadable(open_gcs, server.url)
        assert error.message.endswith("Google answered 403: reader@project does not have storage.objects.get access.")

    def test_checksum_that_does_not_fit(self) -> None:
        with scripted_server(Reply(200, b"descriptor", {"x-goog-hash": "crc32c=AAAAAA=="})) as server:
            assert "hecksum" in str(assert_unreadable(open_gcs, server.url))

    def test_compressed_object_is_read_as_it_lies_there(self) -> None:
        with scripted_server(Reply(200, b"\x1f\x8bzipped", {"Content-Encoding": "gzip"})) as server:
            assert read(open_gcs, server.url) == b"\x1f\x8bzipped"

    def test_no_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file.json")
        with pytest.raises(StorageError, match=r"gs://bucket can't be opened: File /no/such/file.json was not found"):
            GCSStore(Location.parse("gs://bucket"), GCSAccess())

    @pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"type": "service_account", "private_key": "kEy"}'])
    def test_file_that_is_no_key(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "key.json").write_text(content)
        with pytest.raises(InvalidRequest, match="key_path holds no key of a service account") as caught:
            GCSStore(Location.parse("gs://bucket"), GCSAccess(key_path=str(tmp_path / "key.json")))
        assert "kEy" not in str(caught.value)

    def test_missing_key_file(self) -> None:
        with pytest.raises(InvalidRequest, match=r"'/no/key\.json' can't be read: No such file"):
            GCSStore(Location.parse("gs://bucket"), GCSAccess(key_path="/no/key.json"))


class TestAzure:
    def answer(self, status: int, code: str) -> Reply:
        words = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Signed: {SECRET}</Message></Error>"
        return Reply(status, words.encode(), {"x-ms-error-code": code, "Content-Type": "application/xml"})

    @pytest.mark.parametrize(
        ("status", "code", "hint"),
        [
            (403, "AuthenticationFailed", "Storage Blob Data Reader"),
            (403, "AuthorizationPermissionMismatch", "Storage Blob Data Reader"),
            (404, "ContainerNotFound", "container"),
            (404, "ResourceNotFound", "container"),
            (409, "BlobArchived", "archive"),
        ],
    )
    def test_refusals(self, status: int, code: str, hint: str) -> None:
        with scripted_server(self.answer(status, code)) as server:
            error = assert_unreadable(open_azure, server.url)
        assert f"Azure answered {status} {code}." in str(error)
        assert hint in error.hint
        assert not error.retryable

    def test_absent(self) -> None:
        with scripted_server(self.answer(404, "BlobNotFound")) as server:
            assert read(open_azure, server.url) is None

    def test_no_identity(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
        with silent_port() as port:
            access = AzureAccess(f"https://127.0.0.1:{port}/account")
            store = AzureStore(Location.parse("azure://container"), access)
            with pytest.raises(StorageError, match="DefaultAzureCredential failed") as caught:
                read_from(store)
        assert not caught.value.retryable
        assert "Storage Blob Data Reader" in caught.value.hint

    @pytest.mark.parametrize("access", [AzureAccess(connection_string=f"AccountKey {SECRET}"), AzureAccess("")])
    def test_what_is_no_account(self, access: AzureAccess) -> None:
        with pytest.raises(InvalidRequest, match="can't be used") as caught:
            AzureStore(Location.parse("azure://container"), access)
        error: BaseException | None = caught.value
        while error is not None:
            assert SECRET not in f"{error}{error!r}"
            error = error.__cause__ or error.__context__
