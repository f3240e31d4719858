"""What users' tests can make the stand-in do; that it behaves as the real servers is shown in tests/contract."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
import requests

from airflow_provider_vectorbackup.hooks.connection import read_settings
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from tests.services import loopback
from tests.services.process import wait_until


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn) -> WeaviateStandIn:
    weaviate_stand_in.add_collection("Article")
    return weaviate_stand_in


def ask(server: WeaviateStandIn, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
    with loopback.session() as direct:
        return direct.request(method, f"{server.url}/v1{path}", json=body, headers=headers, timeout=10)


def create(server: WeaviateStandIn, backup_id: str = "x1") -> requests.Response:
    return ask(server, "POST", "/backups/s3", {"id": backup_id})


def status(server: WeaviateStandIn, path: str = "/backups/s3/x1") -> str:
    told: str = ask(server, "GET", path).json()["status"]
    return told


class TestLife:
    def test_nothing_is_left_of_it(self) -> None:
        before = threading.active_count()
        with WeaviateStandIn() as server, loopback.session() as kept_open:
            kept_open.get(f"{server.url}/v1/meta", timeout=10)
        assert threading.active_count() == before

    def test_it_keeps_its_state_over_a_restart(self, server: WeaviateStandIn) -> None:
        create(server)
        server.stop()
        with pytest.raises(RuntimeError, match="was not started"):
            _ = server.url
        server.start()
        assert status(server) == "STARTED"

    def test_stop_does_not_wait_for_a_delay(self) -> None:
        began = time.monotonic()
        with WeaviateStandIn() as server:
            server.delay_next("GET", "/meta", 60.0)
            asking = threading.Thread(target=_ask_in_vain, args=(server.url,))
            asking.start()
            wait_until(lambda: bool(server.requests), 10.0, "the request", poll_seconds=0.01)
        asking.join()
        assert time.monotonic() - began < 10

    def test_ready(self, server: WeaviateStandIn) -> None:
        assert ask(server, "GET", "/.well-known/ready").status_code == 200

    def test_requests_are_remembered(self, server: WeaviateStandIn) -> None:
        ask(server, "GET", "/backups/s3?order=asc", **{"X-Team": "data"})
        create(server)
        assert server.sent("GET", "/backups/s3")[0].params == {"order": "asc"}
        assert server.sent("GET", "/backups/s3")[0].headers["X-Team"] == "data"
        assert [seen.body for seen in server.sent("POST", "/backups/.*")] == [{"id": "x1"}]
        assert server.sent("POST", "/backups") == []


def _ask_in_vain(url: str) -> None:
    with loopback.session() as direct, pytest.raises(requests.ConnectionError):
        direct.get(f"{url}/v1/meta", timeout=30)


class TestConnection:
    def test_is_one_that_the_hook_can_read(self, server: WeaviateStandIn) -> None:
        from airflow.sdk import Connection

        server.api_keys.add("k")
        connection = Connection.from_json(server.connection_json(default_backend="s3"), conn_id="c")
        settings = read_settings("c", connection)
        assert (settings.endpoint.base_url, settings.default_backend) == (server.url, "s3")
        assert settings.endpoint.headers == {"Authorization": "Bearer k"}

    def test_keys(self, server: WeaviateStandIn) -> None:
        server.api_keys.add("k")
        assert ask(server, "GET", "/meta").status_code == 401
        assert ask(server, "GET", "/meta", Authorization="Bearer other").json()["code"] == 401
        assert ask(server, "GET", "/meta", Authorization="Bearer k").status_code == 200


class TestFaults:
    def test_an_error_a_number_of_times(self, server: WeaviateStandIn) -> None:
        server.fail_next("GET", "/meta", status=503, times=2)
        assert [ask(server, "GET", "/meta").status_code for _ in range(3)] == [503, 503, 200]

    def test_only_what_it_is_meant_for(self, server: WeaviateStandIn) -> None:
        server.fail_next("GET", "/backups/s3")
        assert create(server).status_code == 200
        assert ask(server, "GET", "/backups/s3/x1").status_code == 200
        assert ask(server, "GET", "/backups/s3").status_code == 503

    @pytest.mark.parametrize(
        ("body", "sent"),
        [
            (None, b'{"error": [{"message": "injected fault"}]}'),
            (b"", b""),
            ("<html>", b"<html>"),
            ({"a": 1}, b'{"a": 1}'),
        ],
    )
    def test_bodies(self, server: WeaviateStandIn, body: Any, sent: bytes) -> None:
        server.fail_next("GET", "/meta", status=200, body=body)
        assert ask(server, "GET", "/meta").content == sent

    def test_nothing_is_done_unless_it_is_said(self, server: WeaviateStandIn) -> None:
        server.fail_next("POST", "/backups/s3", status=500)
        assert create(server).status_code == 500
        assert server.backups == {}
        server.fail_next("POST", "/backups/s3", status=500, handled=True)
        assert create(server).status_code == 500
        assert server.backup("x1").status == "STARTED"

    @pytest.mark.parametrize("handled", [True, False])
    def test_cut_connection(self, server: WeaviateStandIn, handled: bool) -> None:
        server.drop_next("POST", "/backups/s3", handled=handled)
        with pytest.raises(requests.ConnectionError):
            create(server)
        assert bool(server.backups) is handled

    def test_delay(self, server: WeaviateStandIn) -> None:
        server.delay_next("GET", "/meta", 0.2)
        began = time.monotonic()
        assert ask(server, "GET", "/meta").json()["version"] == "1.39.2"
        assert time.monotonic() - began >= 0.2

    def test_can_be_taken_back(self, server: WeaviateStandIn) -> None:
        server.fail_next("GET", "/meta", times=1000)
        server.clear_faults()
        assert ask(server, "GET", "/meta").status_code == 200


class TestProgress:
    @pytest.mark.parametrize("polls", [0, 1, 3])
    def test_by_looks(self, server: WeaviateStandIn, polls: int) -> None:
        server.running_polls = polls
        create(server)
        assert [status(server) for _ in range(polls + 2)] == ["STARTED"] * polls + ["SUCCESS"] * 2

    def test_by_finish_only(self, server: WeaviateStandIn) -> None:
        server.running_polls = None
        create(server)
        assert {status(server) for _ in range(20)} == {"STARTED"}
        server.finish("FAILED", "disk full")
        assert ask(server, "GET", "/backups/s3/x1").json()["error"] == "disk full"

    def test_ends_in_order(self, server: WeaviateStandIn) -> None:
        server.end_next("FAILED", "one")
        server.end_next("CANCELED", "two")
        for backup_id in ("x1", "x2", "x3"):
            create(server, backup_id)
            server.finish()
        assert [made.status for made in server.backups.values()] == ["FAILED", "CANCELED", "SUCCESS"]

    def test_restore(self, server: WeaviateStandIn) -> None:
        server.add_backup("x1", ["Author"])
        server.running_polls = 2
        ask(server, "POST", "/backups/s3/x1/restore", {})
        seen = [status(server, "/backups/s3/x1/restore") for _ in range(4)]
        assert seen == ["TRANSFERRING", "FINALIZING", "SUCCESS", "SUCCESS"]
        assert "Author" in server.collections

    def test_restore_that_is_being_applied_can_not_be_canceled(self, server: WeaviateStandIn) -> None:
        server.add_backup("x1", ["Author"])
        server.running_polls = 2
        ask(server, "POST", "/backups/s3/x1/restore", {})
        for _ in range(2):
            status(server, "/backups/s3/x1/restore")
        assert ask(server, "DELETE", "/backups/s3/x1/restore").status_code == 422

    def test_early_success(self, server: WeaviateStandIn) -> None:
        server.running_polls, server.early_success_polls = 0, 1
        create(server)
        early, late = (ask(server, "GET", "/backups/s3/x1").json() for _ in range(2))
        assert (early["status"], early["completedAt"]) == ("SUCCESS", "0001-01-01T00:00:00.000Z")
        assert "size" not in early
        assert (late["status"], late["completedAt"][:2]) == ("SUCCESS", "20")

    def test_success_that_is_lost(self, server: WeaviateStandIn) -> None:
        server.running_polls, server.early_success_polls, server.loses_final_write = 0, 1, True
        create(server)
        assert [status(server) for _ in range(3)] == ["SUCCESS", "STARTED", "STARTED"]

    def test_crash(self, server: WeaviateStandIn) -> None:
        create(server)
        server.crash()
        assert {status(server) for _ in range(5)} == {"STARTED"}
        assert create(server, "x2").status_code == 200

    def test_running_one_is_found_by_its_id_wherever_it_is_asked_for(self, server: WeaviateStandIn) -> None:
        create(server)
        assert ask(server, "GET", "/backups/filesystem/x1?bucket=other").json()["path"] == "s3://backups/x1"


class TestOldServers:
    def test_calls_that_they_lack(self, server: WeaviateStandIn) -> None:
        server.version = "1.26.4"
        assert ask(server, "GET", "/backups/s3").status_code == 405
        assert ask(server, "DELETE", "/backups/s3/x1").status_code == 405
        assert ask(server, "GET", "/aliases").status_code == 404
        server.version = "1.35.0"
        assert ask(server, "DELETE", "/backups/s3/x1/restore").status_code == 405

    def test_they_tell_no_times(self, server: WeaviateStandIn) -> None:
        server.version = "1.30.0"
        create(server)
        server.finish()
        assert ask(server, "GET", "/backups/s3/x1").json() == {
            "backend": "s3",
            "id": "x1",
            "path": "s3://backups/x1",
            "status": "SUCCESS",
        }

    def test_a_wildcard_is_a_name_to_them(self, server: WeaviateStandIn) -> None:
        server.version = "1.35.0"
        refusal = ask(server, "POST", "/backups/s3", {"id": "x1", "include": ["A*"]})
        assert refusal.json()["error"][0]["message"] == "class A* doesn't exist"

    def test_they_ignore_what_they_do_not_know(self, server: WeaviateStandIn) -> None:
        server.version = "1.33.0"
        assert ask(server, "POST", "/backups/s3", {"id": "x1", "incremental_base_backup_id": "nope"}).status_code == 200

    def test_inactive_tenants_are_left_out(self, server: WeaviateStandIn) -> None:
        server.version = "1.36.9"
        server.add_collection("Shop", {"a": "HOT", "b": "COLD"})
        create(server)
        assert server.backup("x1").collections["Shop"].tenants == {"a": "HOT"}


class TestPermissions:
    def test_newer_servers_narrow_without_a_word(self, server: WeaviateStandIn) -> None:
        server.add_collection("Secret")
        server.permitted = {"Article"}
        assert create(server).json()["classes"] == ["Article"]

    @pytest.mark.parametrize(
        ("version", "body"),
        [("1.39.2", {"id": "x1", "include": ["Article", "Secret"]}), ("1.37.0", {"id": "x1"})],
    )
    def test_what_is_named_is_refused(self, server: WeaviateStandIn, version: str, body: dict[str, Any]) -> None:
        server.version = version
        server.add_collection("Secret")
        server.permitted = {"Article"}
        refusal = ask(server, "POST", "/backups/s3", body)
        assert refusal.status_code == 403
        assert "Collection: Secret" in refusal.text


class TestBadRequests:
    def test_not_json(self, server: WeaviateStandIn) -> None:
        with loopback.session() as direct:
            assert direct.post(f"{server.url}/v1/backups/s3", data="{", timeout=10).status_code == 400

    def test_no_body(self, server: WeaviateStandIn) -> None:
        refusal = ask(server, "POST", "/backups/s3/x1/restore")
        assert (refusal.status_code, refusal.json()["code"]) == (422, 602)

    def test_outside_of_the_api(self, server: WeaviateStandIn) -> None:
        with loopback.session() as direct:
            assert direct.get(f"{server.url}/meta", timeout=10).status_code == 404


def test_base_of_another_compression(server: WeaviateStandIn) -> None:
    create(server)
    server.finish()
    body = {
        "id": "x2",
        "incremental_base_backup_id": "x1",
        "config": {"CompressionLevel": "ZstdBestSpeed"},
    }
    message = ask(server, "POST", "/backups/s3", body).json()["error"][0]["message"]
    assert 'has compression type "gzip", expected "zstd"' in message


def test_fixtures_for_a_users_conftest(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["airflow_provider_vectorbackup.testing.fixtures"]')
    pytester.makepyfile(
        """
        import json

        def test_it(weaviate_stand_in):
            weaviate_stand_in.add_collection("Article")
            assert json.loads(weaviate_stand_in.connection_json())["port"] == weaviate_stand_in.port
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_answers_are_json(server: WeaviateStandIn) -> None:
    for path in ("/meta", "/nodes", "/schema", "/aliases", "/backups/s3"):
        answer = ask(server, "GET", path)
        assert answer.headers["Content-Type"] == "application/json"
        json.loads(answer.content)
