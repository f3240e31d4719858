"""Which source gives an executable, in which order, and what the cache holds afterwards."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.services import binaries
from tests.services.binaries import Service, ServiceUnavailable, find
from tests.services.process import wait_until
from tests.services.sources import Say, Source, SourceFailed

_SCRIPT = "#!/bin/sh\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VECTORBACKUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "cache"


class Fakes:
    """Sources that note when they are asked, and then do what they are told."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def source(self, label: str, content: str | None = _SCRIPT, error: BaseException | None = None) -> Source:
        def install(target: Path, say: Say) -> None:
            self.asked.append(label)
            say(label)
            (target.parent / "leftover").write_text(label)
            if error:
                raise error
            if content is not None:
                _executable(target, content)

        return Source(label, install)


def _executable(path: Path, content: str = _SCRIPT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755)
    return path


def _service(*sources: Source, module: str | None = None, names: tuple[str, ...] = ("thing",)) -> Service:
    return Service("thing", "1.2.3", "thing-server", names, sources, "install Go, or put thing on PATH", module)


def test_the_first_that_works_fills_the_cache_and_is_not_asked_again(cache: Path) -> None:
    fakes = Fakes()
    said: list[str] = []
    service = _service(
        fakes.source("release", error=SourceFailed("unreachable")), fakes.source("docker"), fakes.source("go")
    )
    found = find(service, say=said.append)
    assert found == cache / "thing-1.2.3" / "thing-server"
    assert fakes.asked == ["release", "docker"]
    assert said == ["thing 1.2.3: release", "thing 1.2.3: docker"]
    assert (found.parent / "leftover").read_text() == "docker"
    assert find(service) == found
    assert fakes.asked == ["release", "docker"]


def test_what_does_not_run_here_is_passed_over() -> None:
    fakes = Fakes()
    find(_service(fakes.source("other machine", content="\x7fELF nonsense"), fakes.source("go")))
    assert fakes.asked == ["other machine", "go"]


def test_a_source_that_gives_nothing_is_passed_over() -> None:
    fakes = Fakes()
    find(_service(fakes.source("empty", content=None), fakes.source("go")))
    assert fakes.asked == ["empty", "go"]


def test_without_any_the_error_lists_each_with_its_reason_and_the_way_out(cache: Path) -> None:
    fakes = Fakes()
    service = _service(
        fakes.source("release", error=SourceFailed("no route")), fakes.source("go install", error=SourceFailed("no go"))
    )
    with pytest.raises(ServiceUnavailable) as caught:
        find(service)
    assert str(caught.value) == (
        "no thing 1.2.3. Tried:\n"
        "  - PATH: no thing\n"
        "  - release: no route\n"
        "  - go install: no go\n"
        "To go on: install Go, or put thing on PATH."
    )
    assert [path.name for path in cache.iterdir()] == [".thing-1.2.3.lock"]


def test_an_interrupted_build_leaves_nothing_behind(cache: Path) -> None:
    fakes = Fakes()
    with pytest.raises(KeyboardInterrupt):
        find(_service(fakes.source("go", error=KeyboardInterrupt())))
    assert [path.name for path in cache.iterdir()] == [".thing-1.2.3.lock"]


def test_leftovers_of_a_killed_build_are_cleared_away(cache: Path) -> None:
    (cache / ".making-thing-1.2.3-killed" / "part").mkdir(parents=True)
    other = cache / ".making-thing-1.2.4-running"
    other.mkdir()
    (cache / "thing-1.2.3" / "half").mkdir(parents=True)
    found = find(_service(Fakes().source("go")))
    assert sorted(path.name for path in found.parent.iterdir()) == ["leftover", "thing-server"]
    assert {path.name for path in cache.iterdir()} == {".thing-1.2.3.lock", "thing-1.2.3", other.name}


def test_two_at_once_build_once() -> None:
    entered, go_on = threading.Event(), threading.Event()
    built: list[Path] = []
    found: list[Path] = []
    said: list[str] = []

    def build(target: Path, _say: Say) -> None:
        entered.set()
        assert go_on.wait(10)
        built.append(target)
        _executable(target)

    service = _service(Source("go", build))
    threads = [threading.Thread(target=lambda: found.append(find(service, say=said.append))) for _ in range(2)]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    wait_until(lambda: "thing 1.2.3: waiting for another process that is making it" in said, 10, "the second waits")
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(built) == 1
    assert len(found) == 2
    assert found[0] == found[1]


def test_one_on_path_is_taken_before_any_source_is_asked(tmp_path: Path) -> None:
    fakes = Fakes()
    on_path = _executable(tmp_path / "bin" / "thing")
    assert find(_service(fakes.source("go"))) == on_path
    assert fakes.asked == []


def test_a_made_one_comes_before_one_on_path(tmp_path: Path, cache: Path) -> None:
    _executable(tmp_path / "bin" / "thing")
    made = _executable(cache / "thing-1.2.3" / "thing-server")
    assert find(_service()) == made


@pytest.fixture
def go_says(tmp_path: Path) -> Callable[[str], None]:
    """Make a `go` whose `go version -m` answers this version of example.org/thing."""

    def install(version: str) -> None:
        answer = f"x: go1.26\\n\\tpath\\texample.org/thing/cmd\\n\\tmod\\texample.org/thing\\t{version}\\th1:abc=\\n"
        _executable(tmp_path / "bin" / "go", f"#!/bin/sh\nprintf '{answer}'\n")

    return install


def test_a_pinned_one_on_path_must_be_of_that_version(tmp_path: Path, go_says: Callable[[str], None]) -> None:
    fakes = Fakes()
    on_path = _executable(tmp_path / "bin" / "thing")
    service = _service(fakes.source("go", error=SourceFailed("not now")), module="example.org/thing")
    go_says("v1.2.3")
    assert find(service) == on_path
    for other in ("v1.2.30", "v1.2.2", "(devel)"):
        go_says(other)
        with pytest.raises(ServiceUnavailable) as caught:
            find(service)
        assert f"{on_path} is not known to be 1.2.3 (example.org/thing {other})" in str(caught.value)


def test_a_version_that_cannot_be_read_is_good_only_for_any_version(tmp_path: Path) -> None:
    fakes = Fakes()
    on_path = _executable(tmp_path / "bin" / "thing")
    service = _service(fakes.source("go"), module="example.org/thing")
    assert find(service, any_version=True) == on_path
    assert find(service) != on_path
    assert fakes.asked == ["go"]


def test_a_second_name_is_looked_for_too(tmp_path: Path) -> None:
    on_path = _executable(tmp_path / "bin" / "old-thing")
    assert find(_service(names=("thing", "old-thing"))) == on_path


@pytest.mark.parametrize(
    ("finder", "labels"),
    [
        (binaries.find_weaviate, ["release download", "docker", "go install"]),
        (binaries.find_minio, ["release download", "docker", "go install"]),
        (binaries.find_fake_gcs_server, ["release download", "docker", "go install"]),
        (binaries.find_azurite, ["npm install"]),
    ],
)
def test_every_service_is_pinned_and_tries_the_quick_sources_first(
    finder: Callable[[], Path], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Service] = []

    def note(service: Service, **_options: object) -> Path:
        asked.append(service)
        return Path()

    monkeypatch.setattr(binaries, "find", note)
    finder()
    assert [source.label for source in asked[0].sources] == labels
    assert asked[0].version in (binaries.WEAVIATE, binaries.MINIO, binaries.FAKE_GCS_SERVER, binaries.AZURITE)


def test_the_cache_follows_the_xdg_convention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VECTORBACKUP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert binaries.cache_folder() == Path("/somewhere/vectorbackup")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert binaries.cache_folder() == Path.home() / ".cache" / "vectorbackup"
