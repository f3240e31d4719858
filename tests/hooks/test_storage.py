from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import InvalidConnection, StorageError
from airflow_provider_vectorbackup.hooks import official
from airflow_provider_vectorbackup.hooks.access import AZURE_FIELDS, azure_access, gcs_access, s3_access
from airflow_provider_vectorbackup.hooks.fields import Fields
from airflow_provider_vectorbackup.hooks.official import AMAZON, GOOGLE, MICROSOFT
from airflow_provider_vectorbackup.hooks.storage import open_store
from airflow_provider_vectorbackup.storage.azure import AzureStore
from airflow_provider_vectorbackup.storage.azure_access import AzureAccess
from airflow_provider_vectorbackup.storage.gcs import GCSAccess
from airflow_provider_vectorbackup.storage.s3 import S3Access, S3Store
from tests.contract.stores import without_sdk_settings

SECRET = "sEcReT-0123456789"
TYPES = {"s3": "aws", "gs": "google_cloud_platform", "azure": "wasb"}
HOST = "https://account.blob.core.windows.net"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sdk_settings(monkeypatch)
    for provider in (AMAZON, GOOGLE, MICROSOFT):
        monkeypatch.setitem(sys.modules, provider.module, None)  # not installed, as far as an import can tell


def connect(monkeypatch: pytest.MonkeyPatch, conn_type: str, extra: Any = None, **fields: Any) -> None:
    connection = {"conn_type": conn_type, "extra": {} if extra is None else extra, **fields}
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))


def fields_of(extra: dict[str, Any], **standard: Any) -> Fields:
    return Fields(**standard, extra=extra)


def assert_shows_no_secret(error: BaseException | None) -> None:
    while error is not None:
        assert SECRET not in f"{error}{error!r}"
        error = error.__cause__ or error.__context__


class TestConnection:
    def refused(self, monkeypatch: pytest.MonkeyPatch, scheme: str, extra: Any = None, **fields: Any) -> str:
        connect(monkeypatch, TYPES[scheme], extra, **fields)
        with pytest.raises(InvalidConnection) as caught:
            open_store(Location.parse(f"{scheme}://store@bucket/prefix"))
        assert caught.value.hint
        assert_shows_no_secret(caught.value)
        return caught.value.message

    def test_none_of_this_id(self) -> None:
        with pytest.raises(InvalidConnection, match="Connection 'nowhere': Airflow has none of this id"):
            open_store(Location.parse("s3://nowhere@bucket"))

    @pytest.mark.parametrize("scheme", TYPES)
    def test_of_another_type(self, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
        connect(monkeypatch, "weaviate", password=SECRET)
        with pytest.raises(InvalidConnection, match="Connection 'store': its type is 'weaviate'") as caught:
            open_store(Location.parse(f"{scheme}://store@bucket"))
        assert f"'{TYPES[scheme]}'" in caught.value.hint
        assert_shows_no_secret(caught.value)

    @pytest.mark.parametrize(
        ("scheme", "fields", "field"),
        [
            ("s3", {"login": "id", "password": f"{SECRET}\n"}, "password"),
            ("s3", {"login": "id", "extra": {"aws_secret_access_key": f" {SECRET}"}}, "aws_secret_access_key"),
            ("s3", {"login": f"{SECRET}\r\nX: y", "password": "s"}, "login"),
            ("azure", {"login": "a", "extra": {"sas_token": f"sig={SECRET}\n"}}, "sas_token"),
            ("azure", {"extra": {"connection_string": f"{SECRET}\x00"}}, "connection_string"),
        ],
    )
    def test_secret_with_a_line_break(
        self, monkeypatch: pytest.MonkeyPatch, scheme: str, fields: dict[str, Any], field: str
    ) -> None:
        message = self.refused(monkeypatch, scheme, **fields)
        assert message.startswith(f"Connection 'store': {field} holds a line break")

    def test_field_of_unknown_meaning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        message = self.refused(monkeypatch, "azure", {"b": 1, "a": 2}, host=HOST)
        assert message == "Connection 'store': a, b can't be used by this package."

    @pytest.mark.parametrize(
        ("scheme", "fields", "message"),
        [
            ("s3", {"login": "id"}, "the access key is not whole"),
            ("s3", {"password": SECRET}, "the access key is not whole"),
            ("s3", {"extra": {"aws_session_token": SECRET}}, "the access key is not whole"),
            ("s3", {"extra": {"endpoint_url": f"https://id:{SECRET}@host"}}, "endpoint_url holds no URL"),
            ("s3", {"extra": {"endpoint_url": "minio:9000"}}, "endpoint_url holds no URL"),
            ("s3", {"extra": {"endpoint_url": "http://[::1"}}, "endpoint_url holds no URL"),
            ("s3", {"extra": {"endpoint_url": "http://host:port"}}, "endpoint_url holds no URL"),
            ("s3", {"extra": {"region_name": 3}}, "region_name is not a text"),
            ("s3", {"extra": {"config_kwargs": [SECRET]}}, "config_kwargs is not a JSON object"),
            ("s3", {"extra": {"config_kwargs": {"proxy": SECRET}}}, "config_kwargs: Got unexpected keyword"),
            ("s3", {"extra": {"service_config": {"s3": SECRET}}}, "s3 is not a JSON object"),
            ("gs", {"extra": {"is_anonymous": "perhaps"}}, "is_anonymous is 'perhaps'"),
            ("gs", {"extra": {"keyfile_dict": SECRET}}, "keyfile_dict is not a JSON object"),
            ("gs", {"extra": {"keyfile_dict": {"private_key": SECRET}}}, "keyfile_dict holds no key of a service"),
            ("gs", {"extra": {"key_path": "/no/such/key"}}, "key_path: the file '/no/such/key' can't be read"),
            ("gs", {"extra": {"key_path": "/k", "keyfile_dict": {"a": SECRET}}}, "key_path and keyfile_dict are both"),
            ("azure", {}, "no account is given"),
            ("azure", {"password": SECRET}, "no account is given"),
            ("azure", {"host": f"https://x:{SECRET}@host"}, "the host holds no URL"),
            ("azure", {"host": f"https://account.example.com?{SECRET}"}, "the host holds no URL"),
            ("azure", {"extra": {"sas_token": f"ftp://host?{SECRET}"}}, "sas_token holds no URL"),
            ("azure", {"login": "client", "password": SECRET, "extra": {"tenant_id": "t"}}, "tenant_id is given, but"),
            ("azure", {"host": "http://account.example.com"}, "the account is not reached by HTTPS"),
            ("azure", {"extra": {"connection_string": f"AccountKey={SECRET}"}}, "The connection string, or the"),
        ],
    )
    def test_fields_that_can_not_be_used(
        self, monkeypatch: pytest.MonkeyPatch, scheme: str, fields: dict[str, Any], message: str
    ) -> None:
        assert self.refused(monkeypatch, scheme, **fields).startswith(f"Connection 'store': {message}")


class TestWithoutProvider:
    @pytest.mark.parametrize(
        ("scheme", "extra", "needs", "install"),
        [
            ("s3", {"role_arn": "arn:aws:iam::1:role/x"}, "role_arn needs Amazon's", "amazon"),
            ("s3", {"session_kwargs": {"aws_secret_access_key": SECRET}}, "session_kwargs needs Amazon's", "amazon"),
            ("gs", {"impersonation_chain": "a@b", "key_path": "/k"}, "impersonation_chain needs Google's", "google"),
            ("gs", {"credential_config_file": {"a": SECRET}}, "credential_config_file needs Google's", "google"),
            ("gs", {"key_secret_name": "name"}, "key_secret_name needs Google's", "google"),
            ("gs", {"idp_issuer_url": "https://idp", "client_secret": SECRET}, "idp_issuer_url needs", "google"),
            ("gs", {"extra__google_cloud_platform__quota_project_id": "p"}, "quota_project_id needs", "google"),
            (
                "gs",
                {"quota_project_id": "p", "key_secret_name": "n"},
                "key_secret_name, quota_project_id need",
                "google",
            ),
            (
                "azure",
                {"client_secret_auth_config": {"x": SECRET}},
                "client_secret_auth_config needs",
                "microsoft-azure",
            ),
        ],
    )
    def test_fields_that_need_one(
        self, monkeypatch: pytest.MonkeyPatch, scheme: str, extra: dict[str, Any], needs: str, install: str
    ) -> None:
        connect(monkeypatch, TYPES[scheme], extra, host=HOST)
        with pytest.raises(InvalidConnection, match=f"^Connection 'store': {needs}.* provider") as caught:
            open_store(Location.parse(f"{scheme}://store@bucket"))
        assert caught.value.hint == f"Run: pip install 'airflow-provider-vectorbackup[{install}]'"
        assert_shows_no_secret(caught.value)

    def test_such_an_extra_exists(self) -> None:
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
        for provider in (AMAZON, GOOGLE, MICROSOFT):
            needed = " ".join(project["optional-dependencies"][provider.extra])
            assert ".".join(["airflow", "providers", *provider.extra.split("-")]) in provider.module
            assert f"apache-airflow-providers-{provider.extra}>=" in needed

    def test_one_that_can_not_be_loaded(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Connections are not read by their fields then: they could mean something else."""
        (tmp_path / "broken_provider.py").write_text("import slugify_of_old\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(official, "AMAZON", replace(AMAZON, module="broken_provider"))
        connect(monkeypatch, "aws", login="id", password=SECRET)
        with pytest.raises(StorageError, match="Amazon's provider can't be loaded: No module named 'slugify_of_old'"):
            open_store(Location.parse("s3://store@bucket"))


class TestWithoutConnection:
    def test_azure_needs_one(self) -> None:
        with pytest.raises(InvalidConnection, match="azure://container names no connection: no account is given"):
            open_store(Location.parse("azure://container"))

    def test_file_needs_none(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"content")
        for user in ("", "any@"):
            with closing(open_store(Location.parse(f"file://{user}{tmp_path}"))) as store:
                assert store.read("x") == b"content"

    def test_credentials_that_google_does_not_find(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file")
        with pytest.raises(StorageError, match="gs://bucket can't be opened"):
            open_store(Location.parse("gs://bucket"))


class TestS3:
    @pytest.mark.parametrize(
        ("fields", "access"),
        [
            (fields_of({}), S3Access()),
            (fields_of({}, login="id", password=SECRET), S3Access("id", SECRET)),
            (fields_of({"aws_access_key_id": "id", "aws_secret_access_key": SECRET}), S3Access("id", SECRET)),
            (
                fields_of({"aws_access_key_id": "other", "aws_secret_access_key": "o"}, login="id", password=SECRET),
                S3Access("id", SECRET),
            ),
            (fields_of({"aws_session_token": "t"}, login="id", password=SECRET), S3Access("id", SECRET, "t")),
            (fields_of({"profile_name": "p", "region_name": "eu-north-1"}), S3Access(profile="p", region="eu-north-1")),
            (fields_of({"endpoint_url": "http://minio:9000"}), S3Access(endpoint_url="http://minio:9000")),
            (
                fields_of({"endpoint_url": "http://all", "service_config": {"s3": {"endpoint_url": "http://s3"}}}),
                S3Access(endpoint_url="http://s3"),
            ),
            (fields_of({"service_config": {"sts": {"endpoint_url": "http://sts"}}}), S3Access()),
            (fields_of({"verify": False}), S3Access(verify=False)),
            (fields_of({"verify": "false"}), S3Access(verify=False)),
            (fields_of({"verify": True}), S3Access(verify=True)),
            (fields_of({"verify": "/ca.pem"}), S3Access(verify="/ca.pem")),
            (fields_of({"config_kwargs": '{"use_fips_endpoint": true}'}), S3Access(config={"use_fips_endpoint": True})),
        ],
    )
    def test_fields(self, fields: Fields, access: S3Access) -> None:
        assert s3_access(fields) == access
        assert SECRET not in f"{fields!r}{s3_access(fields)!r}"


class TestGCS:
    KEY = '{"type": "service_account", "private_key": "-----BEGIN\\\\nkey"}'

    @pytest.mark.parametrize(
        ("extra", "access"),
        [
            ({}, GCSAccess()),
            ({"project": "p", "num_retries": 5, "scope": "x"}, GCSAccess()),
            ({"key_path": "/key.json"}, GCSAccess(key_path="/key.json")),
            ({"keyfile_dict": {"a": SECRET}}, GCSAccess(keyfile={"a": SECRET})),
            (
                {"keyfile_dict": KEY},
                GCSAccess(keyfile={"type": "service_account", "private_key": "-----BEGIN\nkey"}),
            ),
            ({"is_anonymous": True, "impersonation_chain": "ignored"}, GCSAccess(is_anonymous=True)),
            ({"is_anonymous": "False"}, GCSAccess()),
        ],
    )
    def test_fields(self, extra: dict[str, Any], access: GCSAccess) -> None:
        assert gcs_access(fields_of(extra)) == access
        assert SECRET not in repr(gcs_access(fields_of(extra)))


class TestAzure:
    @pytest.mark.parametrize(
        ("fields", "access"),
        [
            (fields_of({"connection_string": SECRET}, host="h"), AzureAccess(connection_string=SECRET)),
            (
                fields_of({}, login="account", password=SECRET),
                AzureAccess(HOST, account_name="account", account_key=SECRET),
            ),
            (
                fields_of({"account_key": SECRET}, host="account.blob.core.windows.net"),
                AzureAccess(HOST, account_name="account", account_key=SECRET),
            ),
            (
                fields_of({"shared_access_key": SECRET, "sas_token": "x"}, host="account", password="y"),
                AzureAccess(HOST, account_name="account", account_key=SECRET),
            ),
            (
                fields_of({}, host="http://127.0.0.1:10000/own", login="own", password=SECRET),
                AzureAccess("http://127.0.0.1:10000/own", account_name="own", account_key=SECRET),
            ),
            (fields_of({"sas_token": f"?sig={SECRET}"}, host=HOST), AzureAccess(HOST, sas_token=f"sig={SECRET}")),
            (fields_of({"sas_token": f"{HOST}/?sig={SECRET}"}), AzureAccess(f"{HOST}/", sas_token=f"sig={SECRET}")),
            (
                fields_of({"tenant_id": "t"}, host=HOST, login="client", password=SECRET),
                AzureAccess(HOST, tenant_id="t", client_id="client", client_secret=SECRET),
            ),
            (fields_of({}, login="account"), AzureAccess(HOST)),
            (
                fields_of({"managed_identity_client_id": "m"}, host=HOST),
                AzureAccess(HOST, identity={"managed_identity_client_id": "m"}),
            ),
        ],
    )
    def test_fields(self, fields: Fields, access: AzureAccess) -> None:
        assert azure_access(fields) == access
        assert SECRET not in f"{fields!r}{azure_access(fields)!r}"

    @pytest.mark.parametrize("extra", [{}, {"tenant_id": "t"}, {"managed_identity_client_id": "m"}])
    def test_identities_are_opened(self, monkeypatch: pytest.MonkeyPatch, extra: dict[str, str]) -> None:
        connect(monkeypatch, "wasb", extra, host=HOST, login="client", password=SECRET if "tenant_id" in extra else "")
        with closing(open_store(Location.parse("azure://store@container"))) as store:
            assert isinstance(store, AzureStore)


class TestFields:
    def test_of_an_old_form(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        key = {"extra__google_cloud_platform__key_path": f"{tmp_path}/none.json", "project": ""}
        connect(monkeypatch, "google_cloud_platform", key)
        with pytest.raises(InvalidConnection, match=r"none\.json' can't be read"):
            open_store(Location.parse("gs://store@bucket"))

    def test_blank_ones_count_as_not_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        extra: dict[str, Any] = {
            "role_arn": "",
            "session_kwargs": {},
            "endpoint_url": None,
            "verify": "",
            "config_kwargs": "",
        }
        connect(monkeypatch, "aws", extra, login="", password="", host="")
        with closing(open_store(Location.parse("s3://store@bucket"))) as store:
            assert isinstance(store, S3Store)

    @pytest.mark.parametrize("extra", [f'{{"key": "{SECRET}"', f'["{SECRET}"]', "3"])
    def test_extra_that_is_no_object(self, extra: str) -> None:
        """Airflow takes it for an empty one, which would mean the worker's own credentials."""
        with pytest.raises(InvalidConnection, match="extra is not a JSON object") as caught:
            Fields.of(Connection(conn_id="store", conn_type="aws", extra=extra))
        assert_shows_no_secret(caught.value)

    def test_of_a_uri(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_STORE", f"aws://id:{SECRET}@/?role_arn=arn%3Aaws")
        with pytest.raises(InvalidConnection, match="role_arn needs Amazon's provider"):
            open_store(Location.parse("s3://store@bucket"))


NAMES = (
    "role_arn session_kwargs aws_access_key_id aws_secret_access_key aws_session_token service_config endpoint_url "
    "verify region_name profile_name config_kwargs is_anonymous key_path keyfile_dict"
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.just("http://host"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5) | st.just("s3"), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.sampled_from([s3_access, gcs_access, azure_access]),
    st.dictionaries(st.sampled_from([*NAMES.split(), *AZURE_FIELDS]), values, max_size=4),
    st.none() | st.text(max_size=12),
)
def test_any_connection_is_read_or_refused(read: Any, extra: dict[str, Any], host: str | None) -> None:
    try:
        access = read(fields_of(extra, host=host))
    except InvalidConnection as error:
        access, hint = None, error.hint
    else:
        hint = ""
    assert isinstance(access, S3Access | GCSAccess | AzureAccess) or hint


def test_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "airflow_provider_vectorbackup.storage.azure")
    monkeypatch.setitem(sys.modules, "azure.storage.blob", None)
    connect(monkeypatch, "wasb", login="account", password=SECRET)
    with pytest.raises(StorageError, match=r"not installed here: azure\.storage\.blob") as caught:
        open_store(Location.parse("azure://store@container"))
    assert "pip install 'airflow-provider-vectorbackup[azure]'" in caught.value.hint


_LOADED = "print(json.dumps([name for name in ('boto3', 'google.cloud.storage', 'azure') if name in sys.modules]));"


def test_libraries_are_loaded_when_a_store_is_opened() -> None:
    code = (
        "import json, sys;"
        "from airflow_provider_vectorbackup.hooks.storage import open_store;"
        "from airflow_provider_vectorbackup.backups.locations import Location;"
        f"{_LOADED} open_store(Location.parse('s3://bucket')).close(); {_LOADED}"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert [json.loads(line) for line in run.stdout.splitlines()[-2:]] == [[], ["boto3"]]
