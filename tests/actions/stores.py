"""A store as tests give it: what it holds, in a dictionary."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_vectorbackup.backups.locations import Location


class StoreOf:
    """Holds objects by key; ``opened`` are the locations that it was opened for."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = objects
        self.opened: list[Location] = []

    def open(self, location: Location) -> StoreOf:
        self.opened.append(location)
        return self

    def read(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def close(self) -> None:
        """Hold nothing open."""
