"""What a restore has brought into a cluster, kept beside the backup: what may be left out next time, or taken back.

It is written before the restore is begun, so that it also tells of one whose task was killed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from airflow_provider_vectorbackup.actions.memory import Memory, Stage
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor
from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.weaviate.layout import OWN_FOLDER

_VERSION = 1
_TOKEN_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a restore has brought.

    :param owner: whose restore it is, in words: the Dag, the run and the group.
    :param cluster: the URL of the cluster.
    :param asked: the collections that it was to bring.
    :param arrived: those that it is known to have brought, this time or an earlier one.
    :param aliases_before: the aliases that the cluster had.
    :param remembered: what the task remembers of the restore itself; None where it has ended, or was refused.
    """

    owner: str
    cluster: str
    asked: tuple[str, ...] = ()
    arrived: tuple[str, ...] = ()
    aliases_before: tuple[str, ...] = ()
    remembered: Mapping[str, Any] | None = None

    def with_arrived(self, names: tuple[str, ...]) -> Self:
        """Return it with more collections that have arrived, and no restore that runs."""
        return replace(self, arrived=tuple(sorted({*self.arrived, *names})), remembered=None)

    def to_json(self) -> bytes:
        """Return what is stored."""
        return json.dumps({"version": _VERSION} | asdict(self)).encode()

    @classmethod
    def from_json(cls, key: str, content: bytes) -> Self:
        """Read what is stored.

        :raises BrokenDescriptor: it is of another shape, or of a later version.
        """
        try:
            told = json.loads(content)
            if told["version"] != _VERSION:
                raise BrokenDescriptor(f"{key} is of version {told['version']!r}, not {_VERSION}.")
            asked, arrived, before = (tuple(map(str, told[name])) for name in ("asked", "arrived", "aliases_before"))
            remembered = told["remembered"] if told["remembered"] is None else dict(told["remembered"])
            return cls(str(told["owner"]), str(told["cluster"]), asked, arrived, before, remembered)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BrokenDescriptor(f"{key} can't be read: {error!r}.") from error


@dataclass(frozen=True, slots=True)
class LedgerFile:
    """Where a ledger lies: one for each backup and cluster."""

    store: Store
    backup_id: str
    cluster: str

    @property
    def key(self) -> str:
        """In its location."""
        token = hashlib.sha256(self.cluster.lower().encode()).hexdigest()[:_TOKEN_LENGTH]
        return f"{self.backup_id}/{OWN_FOLDER}/restored-{token}.json"

    def read(self) -> Ledger | None:
        """Return the ledger, None where there is none.

        :raises BrokenDescriptor: it can't be read.
        """
        content = self.store.read(self.key)
        return None if content is None else Ledger.from_json(self.key, content)

    def write(self, ledger: Ledger) -> None:
        """Write it, in place of the one that is there."""
        content = ledger.to_json()
        self.store.write(self.key, [content], len(content))

    def delete(self) -> None:
        """Delete it."""
        self.store.delete([self.key])


class LedgerMemory:
    """A task's memory that keeps what a restore brings in a ledger, too, and remembers by that where Airflow does not.

    :param aliases: tells the aliases that the cluster has.
    """

    def __init__(self, inner: Memory, file: LedgerFile, ledger: Ledger, aliases: Callable[[], tuple[str, ...]]) -> None:
        self._inner = inner
        self._file = file
        self._aliases = aliases
        self._before: Ledger | None = None
        self.ledger = ledger

    def get(self, key: str) -> Any:
        """Return the value, or None."""
        value = self._inner.get(key)
        return self.ledger.remembered if value is None and key == OperationKind.RESTORE else value

    def set(self, key: str, value: Any) -> None:
        """Keep a value; of a restore, what it is to bring, before it is begun."""
        if key == OperationKind.RESTORE:
            self._note(value)
        self._inner.set(key, value)

    def delete(self, key: str) -> None:
        """Forget a value; a restore is forgotten when all that it was to bring has arrived."""
        if key == OperationKind.RESTORE and self.ledger.remembered is not None:
            self.keep(self.ledger.with_arrived(tuple(self.ledger.remembered["operation"]["collections"])))
        self._inner.delete(key)

    def _note(self, value: Mapping[str, Any]) -> None:
        if value["stage"] == Stage.REFUSED:
            self._take_back()
            return
        if self.ledger.remembered is None:
            self._before = self.ledger
        asked = tuple(sorted({*self.ledger.asked, *value["operation"]["collections"]}))
        before = self.ledger.aliases_before if self.ledger.asked else self._aliases()
        self.keep(replace(self.ledger, asked=asked, aliases_before=before, remembered=dict(value)))

    def _take_back(self) -> None:
        """Forget a restore that the server has refused."""
        before = self._before or replace(self.ledger, remembered=None)
        if before.asked:
            self.keep(before)
        else:
            self._file.delete()
            self.ledger = before

    def keep(self, ledger: Ledger) -> None:
        """Write the ledger anew."""
        self._file.write(ledger)
        self.ledger = ledger
