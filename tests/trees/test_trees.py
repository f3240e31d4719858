from pathlib import Path

import pytest

from tests.trees import NAMES, unpack
from tests.trees.record import RECORDERS


def test_each_tree_can_be_recorded_anew() -> None:
    assert tuple(sorted(RECORDERS)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_descriptors_name_no_place_on_the_recording_machine(name: str, tmp_path: Path) -> None:
    descriptors = list(unpack(name, tmp_path).rglob("*.json"))
    assert descriptors
    for path in descriptors:
        content = path.read_text()
        assert [place for place in ("/tmp/", "/home/", "/root/", "/work/", "trees-") if place in content] == []
