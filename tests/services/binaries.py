"""Finds or makes the executable of a pinned service: the cache, PATH, a release, docker, a build from source.

The sources are tried in the order of `Service.sources`; the first that works fills the cache, one folder per service
and version, under `$VECTORBACKUP_CACHE` or `${XDG_CACHE_HOME:-~/.cache}/vectorbackup`. Two processes that want the
same service at once wait for one another, and a folder appears in the cache only when it is whole.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.sources import (
    Say,
    Source,
    SourceFailed,
    docker_image,
    found_on_path,
    go_install,
    npm_install,
    prove_it_runs,
    release,
)

WEAVIATE = "1.39.2"
MINIO = "RELEASE.2025-09-07T16-13-09Z"
# The source of a release that has no binaries; it is the same server to a client.
MINIO_MODULE = "v0.0.0-20260212201848-7aac2a2c5b7c"
FAKE_GCS_SERVER = "1.56.1"
AZURITE = "3.35.0"

_GO_HINT = "install Go 1.26 or newer"


class ServiceUnavailable(RuntimeError):
    """No source gave a working executable; the message lists each with its reason and says what to install."""


@dataclass(frozen=True)
class Service:
    """One pinned service. `executable` is relative to its folder in the cache; `names` are looked up on PATH."""

    name: str
    version: str
    executable: str
    names: tuple[str, ...]
    sources: tuple[Source, ...]
    hint: str
    module: str | None = None
    """Go module whose version a binary on PATH must carry; None accepts any version found there."""


def log(message: str) -> None:
    """Be the `say` of callers that have nobody to tell."""
    logging.getLogger(__name__).info(message)


def find_weaviate(version: str = WEAVIATE, *, any_version: bool = False, say: Say = log) -> Path:
    """Find `weaviate-server` of exactly this version, or with `any_version` whatever is on PATH, before building."""
    files = {"Linux": "weaviate-v{version}-Linux-{arch}.tar.gz", "Darwin": "weaviate-v{version}-Darwin-all.zip"}
    page = f"https://github.com/weaviate/weaviate/releases/download/v{version}/"
    sources = (
        release({system: page + file for system, file in files.items()}, version, member="weaviate"),
        docker_image(f"semitechnologies/weaviate:{version}", "/bin/weaviate"),
        go_install(f"github.com/weaviate/weaviate/cmd/weaviate-server@v{version}", minutes=4),
    )
    return find(
        Service(
            name="weaviate",
            version=version,
            executable="weaviate-server",
            names=("weaviate-server", "weaviate"),
            sources=sources,
            hint=f"{_GO_HINT}, or put weaviate-server {version} on PATH",
            module="github.com/weaviate/weaviate",
        ),
        any_version=any_version,
        say=say,
    )


def find_minio(*, build: bool = True, say: Say = log) -> Path:
    """Find the S3 server `minio`; one on PATH is taken in any version. Without `build`, only what needs no compiler."""
    url = "https://dl.min.io/server/minio/release/{system}-{arch}/archive/minio.{version}"
    sources = (
        release({"Linux": url, "Darwin": url}, MINIO),
        docker_image(f"minio/minio:{MINIO}", "/usr/bin/minio"),
        *([go_install(f"github.com/minio/minio@{MINIO_MODULE}", minutes=4)] if build else []),
    )
    hint = f"{_GO_HINT}, or put minio on PATH"
    return find(Service("minio", MINIO, "minio", ("minio",), sources, hint), say=say)


def find_fake_gcs_server(*, say: Say = log) -> Path:
    """Find the Google Cloud Storage stand-in `fake-gcs-server`; one on PATH is taken in any version."""
    version, name = FAKE_GCS_SERVER, "fake-gcs-server"
    url = f"https://github.com/fsouza/{name}/releases/download/v{version}/{name}_{version}_{{System}}_{{arch}}.tar.gz"
    sources = (
        release({"Linux": url, "Darwin": url}, version, member=name),
        docker_image(f"fsouza/{name}:{version}", f"/bin/{name}"),
        go_install(f"github.com/fsouza/{name}@v{version}", minutes=2),
    )
    return find(Service(name, version, name, (name,), sources, f"{_GO_HINT}, or put {name} on PATH"), say=say)


def find_azurite(*, say: Say = log) -> Path:
    """Find the Azure Blob stand-in `azurite-blob` (a Node.js program); one on PATH is taken in any version."""
    sources = (npm_install(f"azurite@{AZURITE}"),)
    hint = "install Node.js 18 or newer with npm, or put azurite-blob on PATH"
    name = "azurite-blob"
    return find(Service("azurite", AZURITE, f"node_modules/.bin/{name}", (name,), sources, hint), say=say)


def find(service: Service, *, any_version: bool = False, say: Say = log) -> Path:
    """Return the absolute path of the service's executable, made if need be. Raises ServiceUnavailable."""
    cached = cache_folder() / f"{service.name}-{service.version}" / service.executable
    if _is_executable(cached):
        return cached
    on_path, reasons = found_on_path(service.names, None if any_version else service.module, service.version)
    if on_path:
        return on_path
    with _only_one(cache_folder() / f".{service.name}-{service.version}.lock", service, say):
        return cached if _is_executable(cached) else _install(service, reasons, say)


def cache_folder() -> Path:
    """Return where made executables are kept: outside the tree, so that a clean checkout need not build again."""
    own = os.environ.get("VECTORBACKUP_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vectorbackup"


def _install(service: Service, reasons: list[str], say: Say) -> Path:
    """Fill the cache from the first source that works."""

    def announce(what: str) -> None:
        say(f"{service.name} {service.version}: {what}")

    for source in service.sources:
        with _scratch(service) as scratch:
            try:
                source.install(scratch / service.executable, announce)
                prove_it_runs(scratch / service.executable)
            except SourceFailed as error:
                reasons.append(f"{source.label}: {error}")
                continue
            return _publish(scratch, service) / service.executable
    tried = "\n".join(f"  - {reason}" for reason in reasons)
    raise ServiceUnavailable(f"no {service.name} {service.version}. Tried:\n{tried}\nTo go on: {service.hint}.")


def _publish(scratch: Path, service: Service) -> Path:
    """Rename the finished folder into place: nobody ever sees half of one."""
    target = cache_folder() / f"{service.name}-{service.version}"
    if target.exists():
        shutil.rmtree(target)
    return scratch.rename(target)


@contextmanager
def _scratch(service: Service) -> Iterator[Path]:
    """Make an empty folder beside the final one. The caller holds the lock, so older ones are left from killed runs."""
    prefix = f".making-{service.name}-{service.version}-"
    for leftover in cache_folder().glob(prefix + "*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=cache_folder()))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _only_one(lock: Path, service: Service, say: Say) -> Iterator[None]:
    """Hold the lock file; the kernel frees it if this process dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{service.name} {service.version}: waiting for another process that is making it")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
