"""pytest fixtures of the real services, each started once a session, by the first test that asks for it.

Under pytest-xdist each of its processes is a session, with services of its own.

A plugin: `pytest_plugins = ["tests.services.fixtures"]` in the top conftest.py. Data and logs are in one folder, which
is deleted after a run without failures; else its path stands at the end of the report.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.object_stores import (
    AzureSettings,
    GCSSettings,
    S3Settings,
    azurite_server,
    fake_gcs_server,
    minio_server,
    moto_server,
)
from tests.services.weaviate import (
    WeaviateCluster,
    WeaviateNode,
    filesystem_env,
    weaviate_cluster,
    weaviate_server,
)

BUCKET = "vectorbackup"
"""Made in every store; Weaviate's backups go there, under the name of the server's fixture."""

_folders = pytest.StashKey[list[Path]]()


def _folders_of(config: pytest.Config) -> list[Path]:
    return config.stash.setdefault(_folders, [])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that reports where the folder is, if that is another one."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["services_folders"] = list(map(str, _folders_of(session.config)))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear it from one of pytest-xdist's processes; one that crashed says nothing."""
    told = getattr(node, "workeroutput", {}).get("services_folders", [])
    _folders_of(node.config).extend(map(Path, told))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say where the logs of a failed run are."""
    for folder in _folders_of(config):
        if folder.exists():
            terminalreporter.write_line(f"data and logs of the services: {folder}")


@pytest.fixture(scope="session")
def services_folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="vectorbackup-services-"))
    _folders_of(request.config).append(folder)
    yield folder
    if not request.session.testsfailed:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def minio(services_folder: Path) -> Iterator[S3Settings]:
    with minio_server(services_folder) as settings:
        settings.create_bucket(BUCKET)
        yield settings


@pytest.fixture(scope="session")
def moto(services_folder: Path) -> Iterator[S3Settings]:
    with moto_server(services_folder) as settings:
        settings.create_bucket(BUCKET)
        yield settings


@pytest.fixture(scope="session")
def fake_gcs(services_folder: Path) -> Iterator[GCSSettings]:
    with fake_gcs_server(services_folder) as settings:
        settings.create_bucket(BUCKET)
        yield settings


@pytest.fixture(scope="session")
def azurite(services_folder: Path) -> Iterator[AzureSettings]:
    with azurite_server(services_folder) as settings:
        settings.create_container(BUCKET)
        yield settings


@pytest.fixture(scope="session")
def weaviate_139(services_folder: Path, minio: S3Settings, fake_gcs: GCSSettings) -> Iterator[WeaviateNode]:
    """Run a server that writes to `weaviate_139/` in MinIO's and the GCS stand-in's bucket, and to a folder."""
    folder = services_folder / "weaviate_139"
    stores = [minio.weaviate_env(BUCKET, folder.name), fake_gcs.weaviate_env(BUCKET, folder.name)]
    with weaviate_server(folder, backups=[*stores, filesystem_env(folder / "backups")]) as node:
        yield node


@pytest.fixture(scope="session")
def weaviate_pair(
    services_folder: Path, weaviate_139: WeaviateNode, minio: S3Settings, fake_gcs: GCSSettings
) -> Iterator[tuple[WeaviateNode, WeaviateNode]]:
    """Run another deployment beside `weaviate_139`, with other places: `weaviate_other/` in the same buckets."""
    folder = services_folder / "weaviate_other"
    stores = [minio.weaviate_env(BUCKET, folder.name), fake_gcs.weaviate_env(BUCKET, folder.name)]
    with weaviate_server(folder, backups=[*stores, filesystem_env(folder / "backups")]) as other:
        yield weaviate_139, other


@pytest.fixture(scope="session")
def weaviate_three(services_folder: Path, minio: S3Settings, fake_gcs: GCSSettings) -> Iterator[WeaviateCluster]:
    """Run three nodes that write to `weaviate_three/` in MinIO's and the GCS stand-in's bucket."""
    folder = services_folder / "weaviate_three"
    stores = [minio.weaviate_env(BUCKET, folder.name), fake_gcs.weaviate_env(BUCKET, folder.name)]
    with weaviate_cluster(folder, backups=stores) as cluster:
        yield cluster
