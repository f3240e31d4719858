"""Each way to get an executable, against fake programs and a server on the loopback."""

import http.server
import io
import platform
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.loopback import ADDRESS, free_ports
from tests.services.sources import Source, SourceFailed, docker_image, go_install, npm_install, prove_it_runs, release

_FILES: dict[str, bytes] = {}


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = _FILES.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        # A connection that breaks off in the middle.
        self.wfile.write((body or b"")[: 10 if self.path.endswith("broken") else None])

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", ADDRESS)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with http.server.ThreadingHTTPServer((ADDRESS, 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://{ADDRESS}:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder that is all of PATH, but for the shell's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    return folder


def _quietly(_what: str) -> None:
    pass


def _program(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def _tar(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _zip(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("path", "content", "member"),
    [
        ("/v1.2.3/thing-linux-amd64", b"#!/bin/sh\n", None),
        ("/v1.2.3/thing-Linux-amd64.tar.gz", _tar("some/folder/thing", b"#!/bin/sh\n"), "thing"),
        ("/v1.2.3/thing-Linux-amd64.zip", _zip("../../thing", b"#!/bin/sh\n"), "thing"),
    ],
)
def test_a_release_is_unpacked_into_just_the_executable(
    path: str, content: bytes, member: str | None, site: str, tmp_path: Path
) -> None:
    _FILES[path] = content
    url = site + path.replace("1.2.3", "{version}").replace("linux", "{system}").replace("Linux", "{System}")
    target = tmp_path / "made" / "thing-server"
    release({"Linux": url.replace("amd64", "{arch}")}, "1.2.3", member).install(target, _quietly)
    prove_it_runs(target)
    assert target.read_bytes() == b"#!/bin/sh\n"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/absent.tar.gz", "404"),
        ("/other.tar.gz", "the archive has no thing, only README"),
        ("/text.tar.gz", "can't be unpacked"),
        ("/text.zip", "can't be unpacked"),
        ("/broken", "IncompleteRead|broken"),
    ],
)
def test_a_release_that_is_not_as_expected_is_a_reason(path: str, reason: str, site: str, tmp_path: Path) -> None:
    text = b"no archive, but long enough"
    _FILES.update({"/other.tar.gz": _tar("README", b""), "/text.tar.gz": text, "/text.zip": text, "/broken": text})
    source = release({"Linux": site + path}, "1", None if path == "/broken" else "thing")
    with pytest.raises(SourceFailed, match=reason):
        source.install(tmp_path / "thing", _quietly)


@pytest.mark.usefixtures("site")
def test_a_site_out_of_reach_is_a_reason(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(SourceFailed, match=f"http://{ADDRESS}:{port}/thing: "):
        release({"Linux": f"http://{ADDRESS}:{port}/thing"}, "1").install(tmp_path / "thing", _quietly)


def test_another_system_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="none for "):
        release({"Plan 9": "http://unused"}, "1").install(tmp_path / "thing", _quietly)


def test_docker_copies_out_of_a_container_that_it_removes(programs: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    body = f'echo "$@" >> {calls}; case $1 in create) echo abc;; cp) echo "#!/bin/sh" > "$3"; chmod +x "$3";; esac'
    _program(programs, "docker", body)
    target = tmp_path / "made" / "thing"
    docker_image("maker/thing:1", "/bin/thing").install(target, _quietly)
    prove_it_runs(target)
    expected = ["info", "create maker/thing:1", f"cp abc:/bin/thing {target}", "rm abc"]
    assert calls.read_text().splitlines() == expected


def test_docker_without_a_daemon_is_a_reason(programs: Path, tmp_path: Path) -> None:
    _program(programs, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    with pytest.raises(SourceFailed, match="`docker info` failed: Cannot connect to the Docker daemon"):
        docker_image("maker/thing:1", "/bin/thing").install(tmp_path / "thing", _quietly)


def test_docker_that_hangs_is_a_reason(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.services.sources._DOCKER_INFO_SECONDS", 0.3)
    _program(programs, "docker", "exec sleep 60")
    with pytest.raises(SourceFailed, match="took longer than"):
        docker_image("maker/thing:1", "/bin/thing").install(tmp_path / "thing", _quietly)


def test_go_builds_into_the_target_folder(programs: Path, tmp_path: Path) -> None:
    _program(programs, "go", 'echo "$@" > "$GOBIN/thing"; chmod +x "$GOBIN/thing"')
    said: list[str] = []
    go_install("example.org/thing@v1", minutes=4).install(tmp_path / "thing", said.append)
    assert (tmp_path / "thing").read_text() == "install example.org/thing@v1\n"
    assert said == ["building with Go, about 4 minutes, once"]


def test_a_failed_build_says_its_last_line(programs: Path, tmp_path: Path) -> None:
    _program(programs, "go", "echo first >&2; echo 'requires go >= 1.26' >&2; exit 1")
    with pytest.raises(SourceFailed, match=r"`go install` failed: requires go >= 1\.26"):
        go_install("example.org/thing@v1", minutes=4).install(tmp_path / "thing", _quietly)


@pytest.mark.parametrize("source", [go_install("x@v1", minutes=1), npm_install("x@1"), docker_image("x:1", "/x")])
def test_a_missing_program_is_a_reason(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceFailed, match=r"no (go|npm|docker) on PATH"):
        source.install(tmp_path / "thing", _quietly)


def test_npm_installs_beside_the_link_that_it_makes(programs: Path, tmp_path: Path) -> None:
    _program(programs, "npm", 'mkdir -p "$5/node_modules/.bin"; echo "$@" > "$5/node_modules/.bin/thing"')
    target = tmp_path / "made" / "node_modules" / ".bin" / "thing"
    npm_install("thing@1").install(target, _quietly)
    assert target.read_text() == f"install --no-audit --no-fund --prefix {tmp_path / 'made'} thing@1\n"
