"""What a server of a given version can do.

A server ignores request fields that it does not know and answers 200, so a field is checked here before it is sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from airflow_provider_vectorbackup.exceptions import InvalidRequest


class Version(NamedTuple):
    """A server's version; pre-releases count as the release they lead to."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return ".".join(map(str, self))


def parse_version(text: str) -> Version:
    """Read ``1.39.2``, ``v1.39.2`` or ``1.40.0-rc.1``.

    :raises InvalidRequest: it is none of these.
    """
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    if not found:
        raise InvalidRequest(
            f"The server's version {text!r} can't be read, so what it can do is not known.",
            hint="Check that the connection points to a Weaviate server.",
        )
    return Version(*map(int, found.groups()))


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that came with a version. ``since`` names the first patch of each minor it was brought to."""

    name: str
    since: tuple[str, ...]

    def is_in(self, version: Version) -> bool:
        """Whether a server of this version has it: from the named patch on, and in all minors after the last named."""
        firsts = [parse_version(text) for text in self.since]
        same_minor = [first for first in firsts if first[:2] == version[:2]]
        return version >= (same_minor[0] if same_minor else max(firsts))

    def require(self, version: Version) -> None:
        """Raise unless a server of this version has it.

        :raises InvalidRequest: it would be ignored without a word.
        """
        if not self.is_in(version):
            raise InvalidRequest(
                f"This server (Weaviate {version}) does not know {self.name} and would ignore it.",
                hint=f"It needs {' or '.join(self.since)} or later; update the server, or leave it out.",
            )


SAFE_RESTORE = Feature("safe restores (older servers can damage data)", ("1.23.13",))
CONFIG = Feature("compression and cpu_percentage", ("1.24.0",))
LIST_AND_CANCEL = Feature("listing and cancelling backups", ("1.24.25", "1.25.17", "1.26.5", "1.27.0"))
BUCKET_AND_PATH = Feature("bucket and path", ("1.27.2",))
NODE_MAPPING = Feature("node_mapping", ("1.22.0",))
RESTORE_ACCESS = Feature("roles_options and users_options", ("1.30.9", "1.31.2", "1.32.0"))
OVERWRITE_ALIAS = Feature("overwrite_alias", ("1.32.5",))
ALIASES = Feature("aliases", ("1.32.4",))
ZSTD_AND_NONE = Feature("this compression", ("1.32.18", "1.33.6", "1.34.1", "1.35.0"))
INCREMENTAL = Feature("incremental_base_backup_id", ("1.34.18", "1.35.13", "1.36.3", "1.37.0"))
INACTIVE_TENANTS = Feature("backups of inactive tenants", ("1.35.17", "1.36.10", "1.37.0"))
CANCEL_RESTORE = Feature("cancelling a restore", ("1.36.0",))
INCLUDE_USERS = Feature("include_users", ("1.38.3",))
INCLUDE_ROLES = Feature("include_roles", ("1.38.10", "1.39.2"))
