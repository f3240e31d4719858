"""Real descriptors, changed at random."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from hypothesis import strategies as st

Place = tuple[str | int, ...]

_NAMED = ("nodes", "chunks", "bigFilesChunk", "filesPerBackup")
"""Objects whose fields have names that someone chose."""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def replaced(draw: st.DrawFn, contents: dict[str, bytes]) -> bytes:
    """One of these descriptors, with another value somewhere in it."""
    content = draw(st.sampled_from(sorted(contents.values())))
    changed = json.loads(content)
    place = draw(st.sampled_from(_places(content)))
    value = draw(json_values)
    if not place:
        return json.dumps(value).encode()
    _at(changed, place[:-1])[place[-1]] = value
    return json.dumps(changed).encode()


@st.composite
def extended(draw: st.DrawFn, contents: dict[str, bytes]) -> tuple[bytes, bytes]:
    """One of these descriptors, and the same with fields that no server has written so far."""
    content = draw(st.sampled_from(sorted(contents.values())))
    changed = json.loads(content)
    for place in draw(st.lists(st.sampled_from(_objects(content)), min_size=1, max_size=5)):
        _at(changed, place)[f"future{draw(st.text(max_size=5))}"] = copy.deepcopy(draw(json_values))
    return content, json.dumps(changed).encode()


@cache
def _places(content: bytes) -> list[Place]:
    return [place for place, _ in _walk(json.loads(content), ())]


@cache
def _objects(content: bytes) -> list[Place]:
    found = _walk(json.loads(content), ())
    return [place for place, value in found if isinstance(value, dict) and place[-1:] not in [(n,) for n in _NAMED]]


def _walk(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    yield place, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from _walk(inner, (*place, name))


def _at(value: Any, place: Place) -> Any:
    for step in place:
        value = value[step]
    return value
