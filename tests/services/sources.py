"""The ways to get an executable, one small function each. All give a `Source`, or a reason why not."""

import os
import platform
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import requests

Say = Callable[[str], None]

_PROBE_SECONDS = 3.0
_DOCKER_INFO_SECONDS = 5.0
_STALLED_SECONDS = 30.0
_BUILD_SECONDS = 3600.0
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class SourceFailed(Exception):
    """This source can't give the executable here; the message is the reason, in one line."""


@dataclass(frozen=True)
class Source:
    """`install(target, say)` puts an executable at `target`, in an empty folder, or raises SourceFailed."""

    label: str
    install: Callable[[Path, Say], None]


def found_on_path(names: Iterable[str], module: str | None, version: str) -> tuple[Path | None, list[str]]:
    """Return the first of these names on PATH, with the reasons for those passed over.

    With `module`, only a Go binary that was built from exactly `module` at `v<version>` counts.
    """
    reasons = []
    for name in names:
        found = shutil.which(name)
        if found is None:
            reasons.append(f"PATH: no {name}")
        elif module and f"{module}\tv{version}\t" not in (built := _go_build_of(found)):
            reasons.append(f"PATH: {found} is not known to be {version} ({_module_line(built, module)})")
        else:
            return Path(found).absolute(), reasons
    return None, reasons


def release(urls: Mapping[str, str], version: str, member: str | None = None) -> Source:
    """Get a published binary: `urls` by system, with {system} {System} {arch} {version} in them.

    `member` is the file's name in the archive (.tar.gz or .zip); None means that the download is the executable.
    """

    def install(target: Path, say: Say) -> None:
        system, arch = platform.system(), _ARCHITECTURES.get(platform.machine().lower())
        if system not in urls or arch is None:
            raise SourceFailed(f"none for {system} {platform.machine()}")
        url = urls[system].format(system=system.lower(), System=system, arch=arch, version=version)
        target.parent.mkdir(parents=True, exist_ok=True)
        archive = target.parent / "download"
        _download(url, archive, say)
        if member is None:
            archive.rename(target)
        else:
            _unpack(archive, url, member, target)
            archive.unlink()
        target.chmod(0o755)

    return Source("release download", install)


def docker_image(image: str, path: str) -> Source:
    """Copy the executable out of an image (a Linux one, so on Linux only); the container is never started."""

    def install(target: Path, say: Say) -> None:
        if platform.system() != "Linux":
            raise SourceFailed(f"its executable does not run on {platform.system()}")
        _run(["docker", "info"], _DOCKER_INFO_SECONDS)
        say(f"copying it out of the image {image}")
        target.parent.mkdir(parents=True, exist_ok=True)
        container = _run(["docker", "create", image], _BUILD_SECONDS).split()[-1]
        try:
            _run(["docker", "cp", f"{container}:{path}", str(target)], _BUILD_SECONDS)
        finally:
            _run(["docker", "rm", container], _DOCKER_INFO_SECONDS * 2)

    return Source("docker", install)


def go_install(package: str, minutes: int) -> Source:
    """Build from source with the Go on PATH; `minutes` is what it takes on two cores, for the announcement."""

    def install(target: Path, say: Say) -> None:
        if shutil.which("go") is None:
            raise SourceFailed("no go on PATH")
        say(f"building with Go, about {minutes} minutes, once")
        _run(["go", "install", package], _BUILD_SECONDS, {"GOBIN": str(target.parent)})

    return Source("go install", install)


def npm_install(package: str) -> Source:
    """Install a Node.js program with its dependencies; `target` is in the `node_modules/.bin` that npm makes."""

    def install(target: Path, say: Say) -> None:
        if shutil.which("npm") is None:
            raise SourceFailed("no npm on PATH")
        say("installing with npm, about 1 minute, once")
        _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(target.parents[2]), package], _BUILD_SECONDS)

    return Source("npm install", install)


def prove_it_runs(executable: Path) -> None:
    """Start it once: a file for another machine or C library is found out here, not by its first user."""
    try:
        subprocess.run(
            [executable, "--help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_STALLED_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceFailed(f"what it gave does not run here: {error}") from error


def _download(url: str, target: Path, say: Say) -> None:
    try:
        with requests.get(url, stream=True, timeout=(_PROBE_SECONDS, _STALLED_SECONDS)) as response:
            response.raise_for_status()
            say(f"downloading {url}")
            with target.open("wb") as out:
                for block in response.iter_content(1 << 20):
                    out.write(block)
    except requests.RequestException as error:
        raise SourceFailed(f"{url}: {_short(str(error))}") from error


def _unpack(archive: Path, url: str, member: str, target: Path) -> None:
    """Write only the one file, under our own name, whatever paths the archive holds."""
    try:
        if url.endswith(".zip"):
            with zipfile.ZipFile(archive) as zipped:
                _copy(zipped.open(_named(member, zipped.namelist())), target)
        else:
            with tarfile.open(archive) as tarred:
                _copy(tarred.extractfile(_named(member, tarred.getnames())), target)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise SourceFailed(f"{url}: can't be unpacked: {error}") from error


def _named(member: str, names: Sequence[str]) -> str:
    found = [name for name in names if name.rsplit("/", 1)[-1] == member]
    if not found:
        raise SourceFailed(f"the archive has no {member}, only {', '.join(names[:10])}")
    return found[0]


def _copy(source: IO[bytes] | None, target: Path) -> None:
    if source is None:
        raise SourceFailed(f"{target.name} is not a file in the archive")
    with source, target.open("wb") as out:
        shutil.copyfileobj(source, out)


def _go_build_of(binary: str) -> str:
    """Return what Go says that a binary was built from; empty if it can't say."""
    try:
        return _run(["go", "version", "-m", binary], _STALLED_SECONDS)
    except SourceFailed:
        return ""


def _module_line(built: str, module: str) -> str:
    lines = [" ".join(line.split()[1:3]) for line in built.splitlines() if module in line and "\tmod\t" in line]
    return lines[0] if lines else "its version can't be read; that takes `go version -m`"


def _run(argv: Sequence[str], timeout_seconds: float, env: Mapping[str, str] | None = None) -> str:
    """Return its standard output; raise SourceFailed with the last line of what it complained of."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            env={**os.environ, **(env or {})},
            check=False,
        )
    except FileNotFoundError as error:
        raise SourceFailed(f"no {argv[0]} on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise SourceFailed(f"`{' '.join(argv[:2])}` took longer than {timeout_seconds:.0f} s") from error
    if done.returncode:
        complaint = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise SourceFailed(f"`{' '.join(argv[:2])}` failed: {_short(complaint[-1] if complaint else 'no output')}")
    return done.stdout


def _short(text: str, longest: int = 200) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
