"""Copies of what traps lie beside, in the source: neither comes along, nor do they disturb."""

from __future__ import annotations

from tests.e2e.copy_lab import copy_task, everything, sizes
from tests.e2e.traps_lab import COLLECTIONS, LOCATION, PREFIX, Bucket, Server, both_servers
from tests.operators.contexts import TaskRun
from tests.services.fixtures import BUCKET
from tests.trees.filling import Server as Rest


@both_servers
def test_trap_04_copy_of_what_can_not_be_restored(server: Server) -> None:
    """Trap 4: where a restore was being cancelled, each later one answers 200 and does nothing; the copy restores."""
    server.fill()
    held = everything(Rest(server.node.url))
    server.empty()
    backup_id, state = server.bucket.add_backup(f"copied-{server.name}"), {"status": "CANCELLING"}
    state_key = f"{backup_id}/restore_config.json"
    server.bucket.write(state_key, server.bucket.read(f"{backup_id}/backup_config.json") | state)
    target = f"file://{server.backup_folder}"
    server.backup_folder.mkdir(exist_ok=True)
    result = copy_task(LOCATION, target, backup_id).execute(TaskRun().context)
    assert result["copied"] == [backup_id]
    assert not (server.backup_folder / state_key).exists()

    assert server.do("POST", f"/backups/s3/{backup_id}/restore", {})["status"] == "STARTED"
    assert (server.status(f"{backup_id}/restore"), server.collections()) == ("CANCELLING", [])
    # The server takes one restore at a time: this one would be refused if the other did anything.
    restored = server.restore(backup_id, backend="filesystem", location=target).execute(TaskRun().context)
    assert (restored["status"], restored["collections"]) == ("SUCCESS", COLLECTIONS)
    assert len(held) > 3000
    assert everything(Rest(server.node.url)) == held
    assert server.bucket.read(state_key)["status"] == "CANCELLING"


def test_trap_22_uploads_in_the_source(new: Server, trap_bucket: Bucket) -> None:
    """Trap 22: what a crashed server left there, under a name of the backup and under another, is left alone."""
    backup_id = trap_bucket.add_backup("littered")
    keys = [f"{PREFIX}/{backup_id}/w1/{name}" for name in ("Airport/chunk-1", "Airport/chunk-99")]
    begun = {key: trap_bucket.client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"] for key in keys}
    for key, upload_id in begun.items():
        trap_bucket.client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload_id, PartNumber=1, Body=b"part")
    target = f"file://{new.backup_folder}"
    new.backup_folder.mkdir(exist_ok=True)
    result = copy_task(LOCATION, target, backup_id).execute(TaskRun().context)
    assert result["copied"] == [backup_id]
    assert sizes(target, f"{backup_id}/") == sizes(LOCATION, f"{backup_id}/")
    for key, upload_id in begun.items():
        listed = trap_bucket.client.list_multipart_uploads(Bucket=BUCKET, Prefix=key)["Uploads"]
        assert [upload["UploadId"] for upload in listed] == [upload_id]
        trap_bucket.client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload_id)
