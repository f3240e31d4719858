"""The process of ours that ``benchmarks.copy`` measures: it copies one backup, or opens the stores for it and ends."""

from __future__ import annotations

import json
import sys
import time

from airflow_provider_vectorbackup.actions.copying import CopyOrder, copy_backup
from airflow_provider_vectorbackup.backups.copies import Method
from airflow_provider_vectorbackup.backups.locations import Location
from benchmarks._copy_places import Opener, import_store


def main() -> None:
    """Do what comes as JSON, and print what came of it: the copy's summary, and the seconds that it took."""
    order = json.load(sys.stdin)
    opener, source, target = Opener(*order["opener"]), Location.parse(order["source"]), Location.parse(order["target"])
    for location in (source, target):
        import_store(location)
    if not order["method"]:
        for location in (source, target):
            opener.open_store(location)
        return
    copy_order = CopyOrder(
        backup_id=order["backup_id"],
        source=source,
        target=target,
        threads=order["threads"],
        buffer_bytes=order["buffer_mib"] * 2**20,
        method=Method(order["method"]),
    )
    began = time.perf_counter()  # as Airflow's operator is timed: its libraries are loaded with its module
    summary = copy_backup(copy_order, opener.open_store).summary()
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "summary": summary}, default=str))
