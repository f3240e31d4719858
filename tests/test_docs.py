"""The documentation names everything public, and nothing that is not there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from airflow.sdk import BaseOperator, BaseSensorOperator

from airflow_provider_vectorbackup import exceptions, operators, sensors
from airflow_provider_vectorbackup.actions.content_recording import RecordResult
from airflow_provider_vectorbackup.backups.content_comparison import Comparison
from airflow_provider_vectorbackup.backups.copies import CopyResult, Method
from airflow_provider_vectorbackup.backups.operation import Operation, summary_of
from airflow_provider_vectorbackup.backups.pruning import PruneReport
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind
from airflow_provider_vectorbackup.backups.verification import Level, Report
from airflow_provider_vectorbackup.hooks.connection_form import FIELDS
from airflow_provider_vectorbackup.task_groups import copy_backup, migrate_environment, prune_backups, restore_drill
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.transfer.manifest import ManifestEntry

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPERATORS = (ROOT / "docs" / "operators.md").read_text()
VERIFYING = (ROOT / "docs" / "verifying.md").read_text()
MIGRATING = (ROOT / "docs" / "migrating.md").read_text()
RETENTION = (ROOT / "docs" / "retention.md").read_text()
COPYING = (ROOT / "docs" / "copying.md").read_text()
TASKS = [
    getattr(module, name)
    for module in (operators, sensors)
    for name in module.__all__
    if issubclass(getattr(module, name), BaseOperator)
]
ERRORS = [kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if issubclass(kind, Exception)]


def sections_about(name: str) -> str:
    """Return the sections of docs/operators.md that have this name in their heading."""
    sections = re.split(r"^## ", OPERATORS, flags=re.MULTILINE)
    return "\n".join(section for section in sections if name in section.split("\n", 1)[0])


def first_cells(text: str) -> set[str]:
    """Return the names in backticks in the first cells of tables."""
    cells = re.findall(r"^\| (.*?) \|", text, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def own_arguments(task: type[BaseOperator]) -> set[str]:
    """Return the arguments that this package gives a task, those of Airflow's base classes left out."""
    ours = [kind for kind in task.__mro__ if kind.__module__.startswith("airflow_provider_vectorbackup")]
    # Unwrapped, because Airflow wraps constructors and adds an argument to what their signatures say.
    codes = [inspect.unwrap(vars(kind)["__init__"]).__code__ for kind in ours if "__init__" in vars(kind)]
    return {name for code in codes for name in code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]}


def test_there_is_something_to_document() -> None:
    assert len(TASKS) >= 5
    assert len(ERRORS) >= 20
    where = ({"weaviate_conn_id"}, {"location"}, {"source", "target"})
    assert all(any(own_arguments(task) >= least for least in where) for task in TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_arguments(task: type[BaseOperator]) -> None:
    assert first_cells(sections_about(task.__name__)) == own_arguments(task)


@pytest.mark.parametrize("task", TASKS)
def test_template_marks(task: type[BaseOperator]) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (T?) *\|", sections_about(task.__name__), flags=re.MULTILINE)
    assert {name for name, mark in rows if mark} == set(task.template_fields)


@pytest.mark.parametrize("kind", ERRORS)
def test_errors(kind: type[exceptions.VectorBackupError]) -> None:
    retried = re.findall(rf"^\| `{kind.__name__}` \| .* \| (yes|no) \|$", sections_about("Errors"), flags=re.MULTILINE)
    assert retried == ["yes" if kind.retryable else "no"]


def test_xcom_keys() -> None:
    keys = set(summary_of(Operation(OperationKind.BACKUP, BackupAddress("s3", "x")), None))
    assert first_cells(sections_about("What a task returns")) == keys
    assert keys <= set(re.findall(r"`(\w+)`", PAGES[0].read_text()))


def test_xcom_keys_of_a_verification() -> None:
    report = Report("file:///backups/x", "x", Level.QUICK, ())
    section = VERIFYING.split("## What the verify task returns", 1)[1].split("\n## ", 1)[0]
    assert first_cells(section) == {*report.summary(), "report_key"}


def test_xcom_keys_of_a_copy() -> None:
    result = CopyResult("x", "file:///a/x", "file:///b/x", "file:///b", Method.STREAMED, ("x",))
    section = COPYING.split("## What a copy returns", 1)[1].split("\n## ", 1)[0]
    assert first_cells(section) == set(result.summary())


def test_arguments_of_the_task_group() -> None:
    section = COPYING.split("## Several workers", 1)[1].split("\n## ", 1)[0]
    own = set(inspect.signature(copy_backup).parameters) - {"options"}
    assert own < first_cells(section) <= own | own_arguments(operators.WeaviateCopyBackupOperator)


def migrating(heading: str) -> str:
    return MIGRATING.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize(
    ("heading", "keys"),
    [("Content records", RecordResult("", "").summary()), ("Comparing", Comparison().summary())],
)
def test_xcom_keys_of_contents(heading: str, keys: dict[str, object]) -> None:
    assert first_cells(migrating(heading)) == set(keys)


@pytest.mark.parametrize(
    ("heading", "group"), [("Migrating an environment", migrate_environment), ("Restore drills", restore_drill)]
)
def test_arguments_of_migrations_and_drills(heading: str, group: Callable[..., object]) -> None:
    rows = migrating(heading).split("| argument |", 1)[1].split("\n\n", 1)[0]
    assert first_cells(rows) == set(inspect.signature(group).parameters)
    templated = {
        name
        for cells in re.findall(r"^\| (.*?) \| T \|", rows, flags=re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cells)
    }
    plain = {"group_id", "approval_timeout", "approval_users", "deferrable", "timeout", "default_args"}
    assert templated == set(inspect.signature(group).parameters) - plain


def retention(heading: str) -> str:
    return RETENTION.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_xcom_keys_of_a_prune() -> None:
    assert first_cells(retention("What a prune returns")) == set(PruneReport("file:///a", dry_run=True).summary())


def test_arguments_of_a_prune_with_approval() -> None:
    own = set(inspect.signature(prune_backups).parameters) - {"rules"}
    rows = retention("Approval")
    assert first_cells(rows) == own
    templated = set(re.findall(r"^\| `(\w+)` \| T \|", rows, flags=re.MULTILINE))
    assert templated == {"location", "dry_run", "approval"}


def test_fields_of_the_manifest() -> None:
    section = COPYING.split("## The manifest", 1)[1].split("\n## ", 1)[0]
    assert first_cells(section) == set(ManifestEntry(5, ("ab", "cd"), 3).to_json())


def test_connection_fields() -> None:
    fields = first_cells((ROOT / "docs" / "connections.md").read_text())
    assert set(FIELDS) <= fields


def test_readme_names_every_task() -> None:
    assert {task.__name__ for task in TASKS} <= first_cells(PAGES[0].read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_in_the_makefile(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9.-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    commands = set(re.findall(r"(?:^ {4}|`)make ([a-z0-9.-]+)", page.read_text(), flags=re.MULTILINE))
    assert commands <= targets
    if page.name in ("README.md", "development.md"):
        assert {"demo", "test"} <= commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_benchmarks_are_listed() -> None:
    names = {path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")}
    assert names <= first_cells((ROOT / "docs" / "development.md").read_text())


def test_sensor_arguments_of_airflow_are_named() -> None:
    named = set(re.findall(r"`(\w+)`", sections_about("Sensor")))
    assert {"timeout", "mode", "soft_fail"} <= named & set(inspect.signature(BaseSensorOperator).parameters)


def test_methods_of_the_stand_in() -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    rows = re.findall(r"^\| `(\w+)\((.*?)\)` \|", page, flags=re.MULTILINE)
    named = {name: set(filter(None, arguments.split(", "))) for name, arguments in rows}
    public = {name for name, member in vars(WeaviateStandIn).items() if inspect.isfunction(member) and name[0] != "_"}
    assert set(named) <= public
    for name, arguments in named.items():
        assert arguments <= set(inspect.signature(getattr(WeaviateStandIn, name)).parameters), name
