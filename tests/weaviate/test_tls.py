from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
import urllib3

from airflow_provider_vectorbackup.exceptions import InvalidConnection, TlsFailed
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint
from airflow_provider_vectorbackup.weaviate.trust import ssl_context
from tests.scripted_server import ScriptedServer, scripted_server
from tests.weaviate.conftest import Send, send_sync

META = calls.read_meta()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return str(file)


@contextlib.contextmanager
def _serving(authority: trustme.CA, name: str) -> Iterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    with scripted_server(tls=context) as server:
        yield server


def test_unknown_authority_is_refused(send: Send, authority: trustme.CA) -> None:
    with _serving(authority, "127.0.0.1") as server:
        with pytest.raises(TlsFailed, match=r"was not accepted: .*certificate verify failed") as caught:
            send(Endpoint(server.url), META)
        assert server.seen == []
    assert "ca_file" in caught.value.hint
    assert not caught.value.may_have_started


def test_authority_of_the_connection_is_accepted(send: Send, authority: trustme.CA, ca_file: str) -> None:
    with _serving(authority, "127.0.0.1") as server:
        assert send(Endpoint(server.url, verify=ca_file), META).version == "1.39.2"


def test_certificate_for_another_name_is_refused(send: Send, authority: trustme.CA, ca_file: str) -> None:
    with _serving(authority, "other.example.com") as server:
        with pytest.raises(TlsFailed, match="was not accepted"):
            send(Endpoint(server.url, verify=ca_file), META)
        assert server.seen == []


def test_verification_can_be_switched_off(send: Send, authority: trustme.CA) -> None:
    with _serving(authority, "other.example.com") as server, contextlib.ExitStack() as stack:
        if send is send_sync:
            # Only this library says so; the user asked for it.
            stack.enter_context(pytest.warns(urllib3.exceptions.InsecureRequestWarning))
        assert send(Endpoint(server.url, verify=False), META).version == "1.39.2"


def test_server_without_tls(send: Send) -> None:
    with scripted_server() as server, pytest.raises(TlsFailed, match="does not speak TLS") as caught:
        send(Endpoint(server.url.replace("http://", "https://")), META)
    assert "http_secure" in caught.value.hint


def test_folder_of_authorities(tmp_path: Path) -> None:
    """What REQUESTS_CA_BUNDLE may name too."""
    context = ssl_context(Endpoint("https://127.0.0.1:1", verify=str(tmp_path)))
    assert isinstance(context, ssl.SSLContext)
    assert context.get_ca_certs() == []


def test_no_bundle_is_read_for_a_server_without_tls() -> None:
    assert ssl_context(Endpoint("http://127.0.0.1:1", verify="/nowhere.pem")) is False


@pytest.mark.parametrize("content", [None, "this is no certificate"])
def test_ca_file_that_can_not_be_used(send: Send, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "bundle.pem"
    if content:
        file.write_text(content)
    with pytest.raises(InvalidConnection, match=r"The CA bundle '.*bundle\.pem' can't be used: ") as caught:
        send(Endpoint("https://127.0.0.1:1", verify=str(file)), META)
    assert "ca_file" in caught.value.hint
