"""A store as tests give it: a directory, whatever location it is opened for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore


class StoreOf(FilesystemStore):
    """Holds objects by key; ``opened`` are the locations that it was opened for."""

    def __init__(self, folder: Path, objects: Mapping[str, bytes]) -> None:
        super().__init__(Location("file", "", str(folder)))
        self.opened: list[Location] = []
        for key, content in objects.items():
            self.create(key, content)

    def open(self, location: Location) -> Self:
        self.opened.append(location)
        return self
