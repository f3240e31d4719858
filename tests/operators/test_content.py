"""The operators that record and compare contents; what they find is tested in tests/actions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.content_records import RecordPlace, opened_at
from airflow_provider_vectorbackup.backups.content import RecordHead
from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.exceptions import ServerFault
from airflow_provider_vectorbackup.hooks.storage import open_store
from airflow_provider_vectorbackup.operators import WeaviateCompareContentOperator, WeaviateContentRecordOperator
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from tests.actions.content_lab import some_objects
from tests.operators.contexts import Log, TaskRun

RECORDED = {
    *("uri", "taken_at", "collections", "tenants", "objects", "sampled", "searches", "uncounted", "schema_digests"),
}
COMPARED = {
    *("is_equal", "collections", "tenants", "objects", "sampled", "searches", "recall", "written", "uncounted"),
    *("seconds", "differences", "difference_count", "warnings", "warning_count"),
}


@pytest.fixture
def server(server: WeaviateStandIn) -> WeaviateStandIn:
    """One with objects."""
    server.add_objects("Article", some_objects(12))
    return server


@pytest.fixture
def location(tmp_path: Path) -> str:
    return f"file://{tmp_path}"


@pytest.fixture
def before(server: WeaviateStandIn, location: str) -> str:
    """The URI of a record of what the server holds."""
    return str(record(location).execute(TaskRun().context)["uri"])


@pytest.fixture
def after(before: str, location: str) -> str:
    """The URI of a second one, of the same."""
    return str(record(location, earlier=before).execute(TaskRun().context)["uri"])


@pytest.fixture
def uris(before: str, after: str, location: str) -> dict[str, str]:
    return {"before": before, "after": after, "location": location}


def record(location: str | None, /, **fields: Any) -> WeaviateContentRecordOperator:
    return WeaviateContentRecordOperator(task_id="record", **({"location": location, "backup_id": "x1"} | fields))


def compare(expected: Any, **fields: Any) -> WeaviateCompareContentOperator:
    return WeaviateCompareContentOperator(task_id="compare", expected=expected, **fields)


def head_of(uri: str) -> RecordHead:
    with opened_at(RecordPlace.parse(uri), open_store) as found:
        return found.head


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("server")
class TestRecord:
    def test_lies_beside_the_backup(self, location: str, tmp_path: Path, run: TaskRun) -> None:
        result = record(location).execute(run.context)
        assert json.loads(json.dumps(result)) == result
        assert set(result) == RECORDED
        assert result["uri"] == f"{location}/x1/_vectorbackup/content-before.jsonl.gz"
        assert (result["collections"], result["objects"], result["sampled"]) == (2, 12, 12)
        assert files(tmp_path) == ["x1/_vectorbackup/content-before.jsonl.gz"]
        assert head_of(result["uri"]).collections == ("Article", "Author")

    def test_with_an_earlier_one_is_that_of_after(self, location: str, tmp_path: Path, run: TaskRun) -> None:
        first = record(location).execute(run.context)
        second = record(location, earlier=first["uri"]).execute(run.context)
        assert second["uri"] == f"{location}/x1/_vectorbackup/content-after.jsonl.gz"
        assert len(files(tmp_path)) == 2

    def test_without_an_id_has_one_of_its_own_for_every_try(self, location: str, run: TaskRun) -> None:
        first, again = (record(location, backup_id=None).execute(run.context)["uri"] for _ in range(2))
        other = record(location, backup_id="None").execute(TaskRun(run_id="another").context)["uri"]
        assert first == again != other
        assert "/nightly-" in first

    def test_without_a_location_lies_in_that_of_the_connection(
        self, server: WeaviateStandIn, location: str, run: TaskRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = server.connection_json(filesystem_location=location)
        monkeypatch.setenv("AIRFLOW_CONN_WEAVIATE_DEFAULT", connection)
        uri = record(None, backend="filesystem").execute(run.context)["uri"]
        assert uri == f"{location}/x1/_vectorbackup/content-before.jsonl.gz"

    def test_of_some_collections(self, location: str, run: TaskRun) -> None:
        result = record(location, include=["Art*"]).execute(run.context)
        assert list(result["schema_digests"]) == ["Article"]
        result = record(location, exclude=["Article"]).execute(run.context)
        assert list(result["schema_digests"]) == ["Author"]

    def test_templated_texts(self, location: str, run: TaskRun) -> None:
        fields = {
            "include": '["Article"]',
            "exclude": "[]",
            "sample_objects": "5",
            "sample_searches": "2",
            "nearest": "3",
            "earlier": "None",
            "inactive_tenants": "fail",
            "backend": "",
        }
        assert set(fields) < set(record(location).template_fields)
        result = record(location, **fields).execute(run.context)
        assert (result["collections"], result["sampled"], result["searches"]) == (1, 5, 2)
        sample = head_of(result["uri"]).sample
        assert (sample.objects, sample.searches, sample.nearest) == (5, 2, 3)

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"location": None}, "There is no location to put the record into"),
            ({"location": ""}, "There is no location to put the record into"),
            ({"location": "bucket/path"}, "'bucket/path' is not a location"),
            ({"backup_id": "Bad Id"}, "'Bad Id' is not a backup id"),
            ({"earlier": "file:///mnt/x1"}, "'file:///mnt/x1' is not the URI of a content record"),
            ({"include": "Article"}, "include is 'Article', which is not of the form"),
            ({"include": ["Nope"]}, "There is no collection 'Nope'"),
            ({"include": ["Article"], "exclude": ["Author"]}, "include and exclude are both given"),
            ({"inactive_tenants": "ignore"}, "inactive_tenants is 'ignore'. Use one of warn, fail, activate."),
            ({"sample_objects": "many"}, "sample_objects is 'many'"),
            ({"sample_objects": 0}, "sample_objects is 0. Give 1 or more."),
            ({"sample_searches": "-1"}, "sample_searches is -1. Give 1 or more."),
            ({"nearest": None}, "nearest is None. Give 1 or more."),
        ],
    )
    def test_bad_input(self, location: str, tmp_path: Path, run: TaskRun, fields: dict[str, Any], text: str) -> None:
        with pytest.raises(AirflowFailException) as caught:
            record(location, **fields).execute(run.context)
        assert text in str(caught.value)
        assert files(tmp_path) == []

    def test_earlier_one_that_is_not_there(self, location: str, tmp_path: Path, run: TaskRun) -> None:
        uri = f"{location}/x1/_vectorbackup/content-before.jsonl.gz"
        with pytest.raises(AirflowFailException, match="content-before"):
            record(location, earlier=uri).execute(run.context)
        assert files(tmp_path) == []

    def test_what_may_pass_is_left_to_retries(self, server: WeaviateStandIn, location: str, run: TaskRun) -> None:
        server.fail_next("POST", "/graphql", status=500)
        with pytest.raises(ServerFault):
            record(location).execute(run.context)

    def test_tenants_are_put_back_by_a_retry(self, server: WeaviateStandIn, location: str, run: TaskRun) -> None:
        tenants = server.add_collection("Shop", {"a": "COLD"}).tenants
        server.fail_next("PUT", "/schema/Shop/tenants", status=200, body=[], handled=True)
        server.fail_next("PUT", "/schema/Shop/tenants", status=500)
        with pytest.raises(ServerFault):
            record(location, inactive_tenants="activate").execute(run.context)
        assert tenants == {"a": "HOT"}
        record(location).execute(run.context)
        assert (tenants, run.memory.kept) == ({"a": "COLD"}, {})


class TestExpected:
    @pytest.mark.parametrize("form", ["{location}/x1", "{location}/x1/", "{before}", "{after}", '["{before}"]'])
    def test_is_a_backup_or_a_record(self, uris: dict[str, str], run: TaskRun, form: str) -> None:
        result = compare(form.format(**uris)).execute(run.context)
        assert json.loads(json.dumps(result)) == result
        assert set(result) == COMPARED
        assert (result["is_equal"], result["collections"], result["objects"], result["sampled"]) == (True, 2, 12, 12)
        assert run.xcoms == {}

    @pytest.mark.parametrize("render", [list, tuple, json.dumps])
    def test_is_a_list_of_both_records(self, before: str, after: str, run: TaskRun, render: Any) -> None:
        assert compare(render([before, after])).execute(run.context)["is_equal"] is True

    def test_both_records_beside_a_backup_are_taken(
        self, server: WeaviateStandIn, before: str, location: str, run: TaskRun
    ) -> None:
        held = server.collections["Article"].objects_of("")
        del held[min(held)]
        with pytest.raises(AirflowFailException, match="11 objects, not 12"):
            compare(f"{location}/x1").execute(run.context)
        record(location, earlier=before).execute(run.context)
        assert compare(f"{location}/x1").execute(run.context)["is_equal"] is True
        assert compare([f"{location}/x1"]).execute(run.context)["is_equal"] is True

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (["{before}", "{after}", "{after}?"], "expected names 3 records. Give one, or those before and after."),
            ([], "expected names 0 records"),
            ("[]", "expected names 0 records"),
            (None, "expected names 0 records"),
            ("", "'' is not a location"),
            ("[", "expected is '[', which is not of the form"),
            ("x1", "'' is not a location"),
            ("{location}/Bad Id", "'Bad Id' is not a backup id"),
            (["{location}/x1", "{before}"], "is not the URI of a content record"),
            ("{location}/other", "There is no content record beside"),
            ("{location}/x1/_vectorbackup/content-more.jsonl.gz", "content-more.jsonl.gz"),
        ],
    )
    def test_what_it_can_not_be(
        self, server: WeaviateStandIn, uris: dict[str, str], run: TaskRun, given: Any, text: str
    ) -> None:
        def filled(form: str) -> str:
            return form.format(**uris)

        expected = [*map(filled, given)] if isinstance(given, list) else given and filled(given)
        seen = len(server.requests)
        with pytest.raises(AirflowFailException) as caught:
            compare(expected).execute(run.context)
        assert text in str(caught.value)
        assert {found.method for found in server.requests[seen:]} <= {"GET"}
        assert run.xcoms == {}


class TestCompare:
    def test_differences_fail_and_leave_a_report(
        self, server: WeaviateStandIn, before: str, run: TaskRun, log: Log
    ) -> None:
        held = server.collections["Article"].objects_of("")
        lost = min(held)
        del held[lost]
        with pytest.raises(AirflowFailException) as caught:
            compare(before).execute(run.context)
        for text in (f"- Article lacks the object {lost}", "- Article has 11 objects, not 12", "Do not switch over"):
            assert text in str(caught.value)
        report = run.xcoms["report"]
        assert json.loads(json.dumps(report)) == report
        assert set(report) == COMPARED
        assert (report["is_equal"], report["written"]) == (False, 2)
        assert f"Article lacks the object {lost}" in report["differences"]
        assert f"Article lacks the object {lost}" in log()

    def test_warnings_are_told_and_no_failure(
        self, server: WeaviateStandIn, before: str, run: TaskRun, log: Log
    ) -> None:
        server.add_collection("New")
        result = compare(before).execute(run.context)
        assert (result["is_equal"], result["warnings"]) == (True, ["New is there, and was not recorded"])
        assert "New is there, and was not recorded" in log()

    def test_templated_texts(self, server: WeaviateStandIn, before: str, run: TaskRun) -> None:
        fields = {
            "include": '["Article"]',
            "exclude": "",
            "strict": "False",
            "vector_tolerance": "0.5",
            "min_recall": "0.5",
            "probe_writes": "False",
            "inactive_tenants": "warn",
        }
        assert {*fields, "expected", "weaviate_conn_id"} == set(compare(before).template_fields)
        for found in server.collections["Article"].objects_of("").values():
            found.vectors[""] = [value + 1e-3 for value in found.vectors[""] if isinstance(value, float)]
        result = compare(before, **fields).execute(run.context)
        assert (result["collections"], result["written"], result["sampled"]) == (1, 0, 12)
        with pytest.raises(AirflowFailException, match="with other vector"):
            compare(before, **(fields | {"vector_tolerance": "1e-6"})).execute(run.context)

    @pytest.mark.parametrize("strict", [True, "True", "true"])
    def test_strict(self, server: WeaviateStandIn, before: str, run: TaskRun, strict: bool | str) -> None:
        server.add_collection("New")
        with pytest.raises(AirflowFailException, match="New is there, and was not recorded"):
            compare(before, strict=strict).execute(run.context)

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"strict": "maybe"}, "strict is 'maybe'. Give True or False."),
            ({"probe_writes": "maybe"}, "probe_writes is 'maybe'. Give True or False."),
            ({"vector_tolerance": "0"}, "vector_tolerance is '0'. Give a number above 0."),
            ({"vector_tolerance": "small"}, "vector_tolerance is 'small'"),
            ({"min_recall": 1.5}, "min_recall is 1.5. Give a number from 0 to 1."),
            ({"min_recall": "95%"}, "min_recall is '95%'"),
            ({"inactive_tenants": "ignore"}, "inactive_tenants is 'ignore'"),
            ({"include": ["Nope"]}, "There is no collection 'Nope'"),
            ({"exclude": ["*"]}, "There is no collection left to work on"),
        ],
    )
    def test_bad_input(
        self, server: WeaviateStandIn, before: str, run: TaskRun, fields: dict[str, Any], text: str
    ) -> None:
        seen = len(server.requests)
        with pytest.raises(AirflowFailException) as caught:
            compare(before, **fields).execute(run.context)
        assert text in str(caught.value)
        assert {found.method for found in server.requests[seen:]} <= {"GET"}

    def test_what_may_pass_is_left_to_retries(self, server: WeaviateStandIn, before: str, run: TaskRun) -> None:
        server.fail_next("POST", "/objects", status=500)
        with pytest.raises(ServerFault):
            compare(before).execute(run.context)
        assert run.xcoms == {}
        assert compare(before).execute(run.context)["is_equal"] is True
