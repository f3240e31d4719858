from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import Connection
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.exceptions import InvalidConnection
from airflow_provider_vectorbackup.hooks.connection import ConnectionSettings, read_settings
from airflow_provider_vectorbackup.weaviate.endpoint import Timeouts

HOST = "weaviate.example.com"
SECRET = "kEy-0123456789"


@pytest.fixture(autouse=True)
def no_bundle_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def read(extra: Any = None, **fields: Any) -> ConnectionSettings:
    values = {"conn_type": "weaviate_backup", "host": HOST, **fields}
    text = extra if isinstance(extra, str) else json.dumps({} if extra is None else extra)
    return read_settings("prod", Connection(conn_id="prod", extra=text, **values))


def assert_refused(message: str, extra: Any = None, **fields: Any) -> InvalidConnection:
    with pytest.raises(InvalidConnection) as caught:
        read(extra, **fields)
    assert str(caught.value).startswith(f"Connection 'prod': {message}")
    assert caught.value.hint
    return caught.value


class TestUrl:
    @pytest.mark.parametrize(
        ("host", "port", "extra", "url"),
        [
            (HOST, None, {}, f"http://{HOST}:80"),
            (HOST, 8080, {}, f"http://{HOST}:8080"),
            (HOST, None, {"http_secure": True}, f"https://{HOST}:443"),
            (HOST, 8443, {"http_secure": True}, f"https://{HOST}:8443"),
            (f"{HOST}:8081", None, {}, f"http://{HOST}:8081"),
            (f"{HOST}:8081", 8082, {}, f"http://{HOST}:8082"),
            (f"https://{HOST}", None, {}, f"https://{HOST}:443"),
            (f"https://{HOST}", None, {"http_secure": False}, f"https://{HOST}:443"),
            (f"http://{HOST}", None, {"http_secure": True}, f"http://{HOST}:80"),
            (f"https://{HOST}:8443/", None, {}, f"https://{HOST}:8443"),
            (f"https://{HOST}/proxy/weaviate/", None, {}, f"https://{HOST}:443/proxy/weaviate"),
            ("127.0.0.1", 8080, {}, "http://127.0.0.1:8080"),
            ("[::1]", 8080, {}, "http://[::1]:8080"),
            ("http://[::1]:8080", None, {}, "http://[::1]:8080"),
        ],
    )
    def test_of_host_and_port(self, host: str, port: int | None, extra: dict[str, Any], url: str) -> None:
        assert read(extra, host=host, port=port).endpoint.base_url == url

    @pytest.mark.parametrize(
        "host", [None, "", "two words", "ftp://host", "host/path?query", "host#part", "host:port", "a:b:c", "\nhost"]
    )
    def test_what_is_no_host(self, host: str | None) -> None:
        assert_refused(f"the host {host!r} is not a host name.", host=host)

    @pytest.mark.parametrize(
        "host", [f"user:{SECRET}@{HOST}", f"https://user:{SECRET}@{HOST}", f"https://{SECRET}@{HOST}/"]
    )
    def test_credentials_in_the_host_are_not_shown(self, host: str) -> None:
        assert SECRET not in str(assert_refused("the host holds credentials.", host=host))


class TestHeaders:
    @pytest.mark.parametrize(
        ("extra", "headers"),
        [
            ({}, {}),
            ({"token": ""}, {}),
            ({"token": None, "additional_headers": None}, {}),
            ({"token": "t"}, {"Authorization": "Bearer t"}),
            ({"api_key": "k"}, {"Authorization": "Bearer k"}),
            ({"access_token": "a"}, {"Authorization": "Bearer a"}),
            ({"api_key": "k", "token": "t", "access_token": "a"}, {"Authorization": "Bearer k"}),
            ({"token": "t", "access_token": "a"}, {"Authorization": "Bearer t"}),
            ({"additional_headers": {"X-Team": "data"}}, {"X-Team": "data"}),
            ({"additional_headers": '{"X-Team": "data"}'}, {"X-Team": "data"}),
            ({"additional_headers": {"X-Number": 3}}, {"X-Number": "3"}),
            ({"token": "t", "additional_headers": {"X-Team": "d"}}, {"X-Team": "d", "Authorization": "Bearer t"}),
            ({"additional_headers": {"authorization": "Basic x"}}, {"authorization": "Basic x"}),
            ({"token": "t", "additional_headers": {"authorization": "Basic x"}}, {"Authorization": "Bearer t"}),
        ],
    )
    def test_what_is_sent(self, extra: dict[str, Any], headers: dict[str, str]) -> None:
        assert read(extra).endpoint.headers == headers

    @pytest.mark.parametrize("value", ["{", "[]", '["a"]', [1], 3, '"text"'])
    def test_headers_that_are_no_object(self, value: Any) -> None:
        assert_refused("additional_headers is not a JSON object.", {"additional_headers": value})

    @pytest.mark.parametrize("field", ["token", "api_key", "access_token"])
    @pytest.mark.parametrize("value", [f"{SECRET}\n", f" {SECRET}", f"{SECRET}\r\nX: y", f"{SECRET}\x00", f"{SECRET}é"])
    def test_secret_that_can_not_be_sent_is_not_shown(self, field: str, value: str) -> None:
        error: BaseException | None = assert_refused(f"{field} holds a line break, ", {field: value})
        while error is not None:
            assert SECRET not in f"{error}{error!r}"
            error = error.__cause__ or error.__context__

    @pytest.mark.parametrize("headers", [{"X-A": "a\nb"}, {"X\n": "a"}, {"": "a"}, {"X-A": ""}])
    def test_header_that_can_not_be_sent(self, headers: dict[str, str]) -> None:
        assert_refused("additional_headers holds a line break, ", {"additional_headers": headers})

    @pytest.mark.parametrize(
        ("extra", "fields"), [({}, {"login": "u", "password": SECRET}), ({"client_secret": SECRET}, {})]
    )
    def test_oidc_login_is_refused(self, extra: dict[str, Any], fields: dict[str, str]) -> None:
        error = assert_refused("a login or client secret for OIDC is given", extra, **fields)
        assert SECRET not in str(error)

    @pytest.mark.parametrize("extra", [{"token": "t"}, {"additional_headers": {"Authorization": "x"}}])
    def test_oidc_login_beside_a_token_is_not_needed(self, extra: dict[str, Any]) -> None:
        assert read(extra, login="u", password=SECRET).endpoint.headers

    def test_login_alone_says_nothing(self) -> None:
        assert read(login="somebody").endpoint.headers == {}


class TestTls:
    def test_verification_is_on(self) -> None:
        assert read().endpoint.verify is True

    @pytest.mark.parametrize("value", [False, "false", "False", "0", 0])
    def test_verification_off(self, value: Any) -> None:
        assert read({"verify_tls": value, "ca_file": "/ca.pem"}).endpoint.verify is False

    def test_ca_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/environment.pem")
        assert read({"ca_file": "/ca.pem"}).endpoint.verify == "/ca.pem"

    @pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_bundle_of_the_environment(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, "/environment.pem")
        assert read({"ca_file": ""}).endpoint.verify == "/environment.pem"

    def test_ca_file_that_is_no_text(self) -> None:
        assert_refused("ca_file is not a text.", {"ca_file": True})


class TestFlags:
    @pytest.mark.parametrize("value", [True, "true", "True", "1", 1])
    def test_on(self, value: Any) -> None:
        assert read({"http_secure": value}).endpoint.base_url.startswith("https://")

    @pytest.mark.parametrize("value", [False, "false", "FALSE", "0", 0, None, ""])
    def test_off(self, value: Any) -> None:
        assert read({"http_secure": value}).endpoint.base_url.startswith("http://")

    @pytest.mark.parametrize("field", ["http_secure", "verify_tls"])
    @pytest.mark.parametrize("value", ["yes", "on", 2, [], {"a": 1}])
    def test_neither(self, field: str, value: Any) -> None:
        assert_refused(f"{field} is {value!r}.", {field: value})


class TestTimeouts:
    def test_usual(self) -> None:
        assert read({"connect_timeout": None, "read_timeout": ""}).endpoint.timeouts == Timeouts()

    def test_given(self) -> None:
        extra = {"connect_timeout": 1, "read_timeout": "2.5", "total_timeout": 3.5}
        assert read(extra).endpoint.timeouts == Timeouts(1.0, 2.5, 3.5)

    @pytest.mark.parametrize("field", ["connect_timeout", "read_timeout", "total_timeout"])
    @pytest.mark.parametrize("value", [0, -1, "0", "soon", [1], "nan", "inf"])
    def test_what_is_no_duration(self, field: str, value: Any) -> None:
        assert_refused(f"{field} is {value!r}.", {field: value})


class TestBackends:
    def test_none(self) -> None:
        settings = read({"default_backend": "", "s3_location": None})
        assert (settings.default_backend, settings.locations) == (None, {})

    def test_given(self) -> None:
        locations = {
            "s3": "s3://aws@bucket/a",
            "gcs": "gs://google@bucket",
            "azure": "azure://wasb@container/b",
            "filesystem": "file:///mnt/backups",
        }
        extra = {f"{backend}_location": f"{uri}/" for backend, uri in locations.items()}
        settings = read(extra | {"default_backend": "backup-s3"})
        assert (settings.default_backend, settings.locations) == ("s3", locations)

    def test_what_is_no_backend(self) -> None:
        assert_refused("default_backend: 'S3' is not a backend.", {"default_backend": "S3"})
        assert_refused("default_backend is not a text.", {"default_backend": ["s3"]})

    def test_location_of_another_backend(self) -> None:
        assert_refused("s3_location: The location gs://b can't be where", {"s3_location": "gs://b"})

    def test_what_is_no_location(self) -> None:
        assert_refused("gcs_location: 'bucket/a' is not a location.", {"gcs_location": "bucket/a"})
        assert_refused("gcs_location is not a text.", {"gcs_location": 3})

    def test_password_in_a_location_is_not_shown(self) -> None:
        error = assert_refused("s3_location: The location", {"s3_location": f"s3://key:{SECRET}@bucket"})
        assert SECRET not in str(error)


@pytest.mark.parametrize("extra", ["[]", '["a"]', "3", '"text"'])
def test_extra_that_is_no_object(extra: str) -> None:
    assert_refused("extra is not a JSON object.", extra)


def test_connection_of_airflows_own_type() -> None:
    """As its form saves it: blank fields as null, ports as text; what is for gRPC is not for us."""
    extra = {
        "http_secure": True,
        "token": SECRET,
        "grpc_host": None,
        "grpc_port": "50051",
        "grpc_secure": False,
        "additional_headers": {"X-OpenAI-Api-Key": "o"},
    }
    settings = read(extra, conn_type="weaviate", port=8443, schema="", login="", password="")
    assert settings.endpoint.base_url == f"https://{HOST}:8443"
    assert settings.endpoint.headers == {"X-OpenAI-Api-Key": "o", "Authorization": f"Bearer {SECRET}"}
    assert SECRET not in repr(settings)


def test_connection_from_a_uri() -> None:
    uri = f"weaviate://{HOST}:8080/?http_secure=true&token={SECRET}&verify_tls=false&read_timeout=5"
    settings = read_settings("prod", Connection.from_uri(uri, "prod"))
    assert settings.endpoint.base_url == f"https://{HOST}:8080"
    assert settings.endpoint.headers == {"Authorization": f"Bearer {SECRET}"}
    assert (settings.endpoint.verify, settings.endpoint.timeouts.read) == (False, 5.0)


FIELDS = (
    "api_key token access_token client_secret additional_headers http_secure verify_tls ca_file default_backend "
    "s3_location gcs_location azure_location filesystem_location connect_timeout read_timeout total_timeout"
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(FIELDS.split()), values, max_size=4), st.text(max_size=12))
def test_any_connection_is_read_or_refused(extra: dict[str, Any], host: str) -> None:
    try:
        settings = read(extra, host=host)
    except InvalidConnection as error:
        message = str(error)
    else:
        message = f"Connection 'prod': {settings.endpoint.base_url}"
    assert message.startswith("Connection 'prod': ")
