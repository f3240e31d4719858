"""Credentials through Airflow's own hooks; `make official-hooks` installs their providers."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme
from airflow.sdk import Connection
from botocore.httpsession import URLLib3Session

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import (
    InvalidConnection,
    StorageError,
    StorageUnreachable,
    VectorBackupError,
)
from airflow_provider_vectorbackup.hooks.access import azure_access, gcs_access, s3_access
from airflow_provider_vectorbackup.hooks.fields import Fields
from airflow_provider_vectorbackup.hooks.official import AMAZON
from airflow_provider_vectorbackup.hooks.storage import open_store
from airflow_provider_vectorbackup.storage.azure import AzureStore
from airflow_provider_vectorbackup.storage.gcs import GCSStore
from airflow_provider_vectorbackup.storage.s3 import S3Store
from tests.contract.stores import without_sdk_settings
from tests.hooks.test_storage import HOST, SECRET, TYPES, assert_shows_no_secret, connect
from tests.scripted_server import Reply, scripted_server, silent_port
from tests.services.fixtures import BUCKET
from tests.services.object_stores import GCSSettings, S3Settings

pytest.importorskip("airflow.providers.amazon")
pytest.importorskip("airflow.providers.google")
pytest.importorskip("airflow.providers.microsoft.azure")

KEY = "b1/backup_config.json"
CONTENT = b'{"id": "b1"}'
ROLE = "arn:aws:iam::123456789012:role/reader"
ROBOT = "robot@project.iam.gserviceaccount.com"
LARGE = bytes(range(256)) * 100_000


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sdk_settings(monkeypatch)


def fields_of(conn_type: str, extra: dict[str, Any], **standard: Any) -> Fields:
    return Fields.of(Connection(conn_id="store", conn_type=conn_type, extra=json.dumps(extra), **standard))


def refused(monkeypatch: pytest.MonkeyPatch, scheme: str, extra: dict[str, Any], **standard: Any) -> VectorBackupError:
    connect(monkeypatch, TYPES[scheme], extra, **standard)
    with pytest.raises((InvalidConnection, StorageError)) as caught:
        open_store(Location.parse(f"{scheme}://store@{BUCKET}"))
    assert caught.value.hint
    assert_shows_no_secret(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("scheme", "extra", "standard", "message"),
    [
        ("s3", {}, {"login": "id"}, "the access key is not whole"),
        ("s3", {"endpoint_url": f"https://id:{SECRET}@host"}, {}, "endpoint_url holds no URL"),
        ("s3", {"config_kwargs": {"proxy": SECRET}}, {}, "config_kwargs: Got unexpected keyword"),
        ("s3", {"role_arn": ROLE, "config_kwargs": {"proxy": SECRET}}, {}, "role_arn, config_kwargs can't be used by"),
        ("s3", {"role_arn": ROLE, "assume_role_method": "x"}, {}, "role_arn can't be used by Amazon's provider: NotIm"),
        ("s3", {"profile_name": "p"}, {}, r"profile_name can't be used by .* profile \(p\) could not be found"),
        ("gs", {"keyfile_dict": {"private_key": SECRET}}, {}, "keyfile_dict can't be used by Google's provider"),
        ("gs", {"keyfile_dict": {"token": SECRET}}, {}, "keyfile_dict can't be used by Google's provider: KeyError"),
        ("gs", {"key_path": "/no/such/key.json"}, {}, "key_path can't be used by .*: No such file or directory"),
        ("gs", {"key_path": "/k", "keyfile_dict": {"a": SECRET}}, {}, "key_path and keyfile_dict are both given"),
        ("gs", {"credential_config_file": f'{{"t": "{SECRET}"'}, {}, "credential_config_file can't be used by"),
        ("azure", {}, {"password": SECRET}, "no account is given"),
        ("azure", {"tenant_id": "t"}, {"host": HOST, "login": "client"}, "tenant_id is given, but not all"),
        ("azure", {"connection_verify": False}, {"host": HOST}, "connection_verify can't be used by this package"),
        (
            "azure",
            {"tenant_id": "t", "client_secret_auth_config": {"authority": f"http://{SECRET}.example.com"}},
            {"host": HOST, "login": "client", "password": SECRET},
            "tenant_id, client_secret_auth_config can't be used by Microsoft's provider: ValueError",
        ),
    ],
)
def test_fields_that_can_not_be_used(
    monkeypatch: pytest.MonkeyPatch, scheme: str, extra: dict[str, Any], standard: dict[str, Any], message: str
) -> None:
    error = refused(monkeypatch, scheme, **{"extra": extra, **standard})
    assert isinstance(error, InvalidConnection)
    assert error.message.startswith("Connection 'store': ")
    with pytest.raises(InvalidConnection, match=f"^Connection 'store': {message}"):
        raise error


def test_credentials_of_the_worker_that_google_does_not_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file")
    error = refused(monkeypatch, "gs", {})
    assert "can't be used by Google's provider: File /no/such/file was not found" in error.message


def test_providers_are_loaded_when_a_store_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "aws", login="id", password=SECRET)
    loaded = f"print(json.dumps({AMAZON.module!r} in sys.modules));"
    code = (
        "import json, sys;"
        "from airflow_provider_vectorbackup.hooks.storage import open_store;"
        "from airflow_provider_vectorbackup.backups.locations import Location;"
        f"{loaded} open_store(Location.parse('s3://bucket')).close(); {loaded}"
        f"open_store(Location.parse('s3://store@bucket')).close(); {loaded}"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert [json.loads(line) for line in run.stdout.splitlines() if line in ("true", "false")] == [False, False, True]


@pytest.mark.services
class TestAssumedRole:
    @pytest.fixture
    def location(self, minio: S3Settings) -> Location:
        with minio.client() as client:
            for key in (KEY, "b2/backup_config.json"):
                client.put_object(Bucket=BUCKET, Key=f"official/{key}", Body=CONTENT)
        return Location("s3", BUCKET, "official", "store")

    def extra(self, minio: S3Settings, sts: str = "") -> dict[str, Any]:
        """Return a role that may read and write one backup; its credentials live as short as S3 servers allow."""
        resource = f"arn:aws:s3:::{BUCKET}/official/b1/*"
        statement = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": resource}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        return {
            "role_arn": ROLE,
            "assume_role_kwargs": {"DurationSeconds": 900, "Policy": policy},
            "endpoint_url": minio.url,
            "service_config": {"sts": {"endpoint_url": sts or minio.url}},
            "region_name": minio.region,
        }

    def test_may_what_the_role_may(
        self, minio: S3Settings, location: Location, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect(monkeypatch, "aws", self.extra(minio), login=minio.access_key, password=minio.secret_key)
        with closing(open_store(location)) as store:
            assert store.read(KEY) == CONTENT
            with pytest.raises(StorageError, match="403 AccessDenied"):
                store.read("b2/backup_config.json")

    def test_is_assumed_again_before_it_expires(
        self, minio: S3Settings, location: Location, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is assumed for 900 seconds: so short a time that each request finds it about to end."""
        signed_by, send = [], URLLib3Session.send

        def note(session: Any, request: Any) -> Any:
            key_id, _, scope = str(request.headers["Authorization"]).partition("Credential=")[2].partition("/")
            signed_by.extend([key_id] if "/s3/aws4_request" in scope else [])
            return send(session, request)

        monkeypatch.setattr(URLLib3Session, "send", note)
        connect(monkeypatch, "aws", self.extra(minio), login=minio.access_key, password=minio.secret_key)
        with closing(open_store(location)) as store:
            store.write("b1/large", (LARGE[at : at + 2**20] for at in range(0, len(LARGE), 2**20)), len(LARGE))
            assert b"".join(store.stream("b1/large")) == LARGE
            assert [store.read(KEY) for _ in range(3)] == [CONTENT] * 3
        assert len(set(signed_by)) > 5
        assert minio.access_key not in signed_by

    def test_that_is_refused(self, minio: S3Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        error = refused(monkeypatch, "s3", self.extra(minio), login=minio.access_key, password=SECRET)
        assert isinstance(error, InvalidConnection)
        assert "role_arn can't be used by Amazon's provider: An error occurred (AccessDenied)" in error.message

    def test_where_the_server_is_down(self, minio: S3Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        with silent_port() as port:
            extra = self.extra(minio, f"http://127.0.0.1:{port}")
            extra["config_kwargs"] = {"retries": {"total_max_attempts": 1}}
            error = refused(monkeypatch, "s3", extra, login=minio.access_key, password=SECRET)
        assert isinstance(error, StorageUnreachable)
        assert error.message.startswith("Connection 'store': role_arn, config_kwargs can't be used by Amazon's")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", InvalidConnection),
        (400, "Throttling", StorageUnreachable),
        (429, "TooMany", StorageUnreachable),
        (503, "ServiceUnavailable", StorageUnreachable),
    ],
)
def test_role_that_is_not_given(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, kind: type[VectorBackupError]
) -> None:
    answer = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    with scripted_server(Reply(status, answer.encode())) as server:
        extra = {
            "role_arn": ROLE,
            "service_config": {"sts": {"endpoint_url": server.url}},
            "region_name": "eu-north-1",
            "config_kwargs": {"retries": {"total_max_attempts": 1}},
        }
        error = refused(monkeypatch, "s3", extra, login="id", password=SECRET)
        assert len(server.seen) == 1
    assert isinstance(error, kind)
    assert f"An error occurred ({code}) when calling the AssumeRole operation" in error.message


def test_role_of_a_web_identity(tmp_path: Path) -> None:
    answer = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
      <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>assumed</AccessKeyId><SecretAccessKey>s
      </SecretAccessKey><SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
      </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
    (tmp_path / "token").write_text("the-web-token")
    with scripted_server(Reply(body=answer.encode()), Reply(body=CONTENT)) as server:
        extra = {
            "role_arn": ROLE,
            "assume_role_method": "assume_role_with_web_identity",
            "assume_role_with_web_identity_federation": "file",
            "assume_role_with_web_identity_token_file": str(tmp_path / "token"),
            "endpoint_url": server.url,
            "service_config": {"sts": {"endpoint_url": server.url}},
            "region_name": "eu-north-1",
        }
        with closing(S3Store(Location("s3", "bucket", ""), s3_access(fields_of("aws", extra)))) as store:
            assert store.read(KEY) == CONTENT
        asked, read = server.seen
    assert parse_qs(asked.body.decode())["WebIdentityToken"] == ["the-web-token"]
    assert "Credential=assumed/" in read.headers["Authorization"]
    assert read.target == f"/bucket/{KEY}"


@pytest.mark.filterwarnings(r"ignore:\s*The load_credentials_from_file method")  # of Google's provider
class TestGoogle:
    def federated(self, tmp_path: Path, url: str) -> dict[str, Any]:
        """Return a configuration of workforce identity federation; that of workloads asks Google for the project."""
        (tmp_path / "token").write_text("the-subject-token")
        return {
            "type": "external_account",
            "audience": "//iam.googleapis.com/locations/global/workforcePools/pool/providers/x",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{url}/token",
            "credential_source": {"file": str(tmp_path / "token")},
        }

    def token(self, name: str) -> Reply:
        answer = {
            "access_token": name,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": 1,
        }
        return Reply(body=json.dumps(answer).encode())

    @pytest.mark.services
    def test_federated_identity_is_refreshed(
        self, fake_gcs: GCSSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake_gcs.url)
        with scripted_server(self.token("first"), self.token("second")) as issuer:
            access = gcs_access(
                fields_of(
                    "google_cloud_platform",
                    {"credential_config_file": self.federated(tmp_path, issuer.url)},
                )
            )
            with closing(GCSStore(Location("gs", BUCKET, "official"), access)) as store:
                assert store.read("absent") is None
                assert store.read("absent") is None
            asked = [parse_qs(seen.body.decode()) for seen in issuer.seen]
        assert len(asked) >= 2
        assert access.credentials is not None
        assert access.credentials.token == "second"
        assert asked[0]["subject_token"] == ["the-subject-token"]
        assert asked[0]["scope"] == ["https://www.googleapis.com/auth/cloud-platform"]

    @pytest.mark.parametrize("chain", ["first@a.b,second@a.b," + ROBOT, ["first@a.b", "second@a.b", ROBOT]])
    def test_impersonation(self, tmp_path: Path, chain: Any) -> None:
        config = self.federated(tmp_path, "http://127.0.0.1:1")
        extra = {"credential_config_file": config, "impersonation_chain": chain, "quota_project_id": "quota-project"}
        credentials = gcs_access(fields_of("google_cloud_platform", extra)).credentials
        from google.auth.impersonated_credentials import Credentials

        assert isinstance(credentials, Credentials)
        assert credentials.service_account_email == ROBOT
        assert credentials._delegates == ["first@a.b", "second@a.b"]
        assert credentials._target_scopes == ("https://www.googleapis.com/auth/cloud-platform",)
        assert credentials.quota_project_id == "quota-project"

    def test_where_the_issuer_is_down(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with silent_port() as port:
            config = self.federated(tmp_path, f"http://127.0.0.1:{port}")
            # For an identity of a workload, the library asks for the project at once.
            config["audience"] = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"
            error = refused(monkeypatch, "gs", {"credential_config_file": config})
        assert isinstance(error, StorageUnreachable)

    def test_anonymous(self) -> None:
        for flag in (True, "true"):
            access = gcs_access(fields_of("google_cloud_platform", {"is_anonymous": flag}))
            assert access.is_anonymous

    def test_flag_of_a_uri_that_is_false(self, tmp_path: Path) -> None:
        """Google's own hook would take the text for true."""
        extra = {"is_anonymous": "False", "credential_config_file": self.federated(tmp_path, "http://127.0.0.1:1")}
        credentials = gcs_access(fields_of("google_cloud_platform", extra)).credentials
        assert credentials is not None
        assert credentials.requires_scopes is False


class TestAzure:
    def test_service_principal_with_settings_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        blob = Reply(body=CONTENT, headers={"Content-Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"})
        with scripted_server(tls=tls) as server:
            endpoints = {
                "issuer": server.url,
                "authorization_endpoint": f"{server.url}/tenant/authorize",
                "token_endpoint": f"{server.url}/tenant/token",
            }
            tokens = [
                Reply(body=json.dumps({"access_token": name, "token_type": "Bearer", "expires_in": 1}).encode())
                for name in ("first", "second")
            ]
            server.replies = [Reply(body=json.dumps(endpoints).encode()), tokens[0], blob, tokens[1], blob]
            extra = {
                "tenant_id": "tenant",
                "client_secret_auth_config": {"authority": server.url, "disable_instance_discovery": True},
            }
            fields = fields_of("wasb", extra, host=f"{server.url}/account", login="client", password=SECRET)
            with closing(AzureStore(Location("azure", "container", ""), azure_access(fields))) as store:
                assert [store.read(KEY), store.read(KEY)] == [CONTENT, CONTENT]
            sent = [seen.headers.get("Authorization") for seen in server.seen if seen.target.startswith("/account/")]
        assert sent == ["Bearer first", "Bearer second"]

    def test_identity_of_the_worker(self) -> None:
        from azure.identity import DefaultAzureCredential

        access = azure_access(fields_of("wasb", {"managed_identity_client_id": "m"}, host=HOST))
        assert access.account_url == HOST
        assert isinstance(access.credential, DefaultAzureCredential)

    def test_keys_and_tokens_are_handed_on(self) -> None:
        """There is nothing that the hook could add, and it knows fewer forms of them."""
        assert azure_access(fields_of("wasb", {}, login="account", password=SECRET)).account_key == SECRET
        assert azure_access(fields_of("wasb", {"sas_token": f"{HOST}?sig=x"})).sas_token == "sig=x"
