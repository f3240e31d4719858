"""Small backup trees that real Weaviate servers wrote, for tests without a server. README.md tells them apart."""

import tarfile
from pathlib import Path

_HERE = Path(__file__).parent
_SUFFIX = ".tar.xz"

NAMES = tuple(sorted(path.name.removesuffix(_SUFFIX) for path in _HERE.glob(f"*{_SUFFIX}")))
"""Of all trees."""


def archive(name: str) -> Path:
    """Return where the tree of this name is kept; it need not exist."""
    return _HERE / f"{name}{_SUFFIX}"


def unpack(name: str, folder: Path) -> Path:
    """Unpack a tree into `folder / name` and return that: the root that holds `<backup id>/…`.

    Raises FileNotFoundError if there is none of this name.
    """
    root = folder / name
    with tarfile.open(archive(name)) as packed:
        packed.extractall(root, filter="data")
    return root
