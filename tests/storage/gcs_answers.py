"""Answers of Google's, made up: to downloads, uploads and their parts."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from types import MappingProxyType

import google_crc32c

from tests.scripted_server import Reply, ScriptedServer

NAME = "backups%2Fb1%2Fbackup_config.json"
PART = 2**18
CONTENT = bytes(range(256)) * 1024 * 2 + b"end"
SIZE = len(CONTENT)
UPLOAD_ID = "an-upload-id"


def crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def stored(content: bytes = CONTENT, changes: Mapping[str, str] = MappingProxyType({})) -> Reply:
    told = {"size": str(len(content)), "crc32c": crc32c(content), "generation": "7", **changes}
    return Reply(200, json.dumps(told).encode())


def media(content: bytes, *, cut_after: int | None = None, generation: str = "7", crc: str = "") -> Reply:
    headers = {"X-Goog-Generation": generation, "X-Goog-Hash": f"crc32c={crc or crc32c(content)},md5=AAAA"}
    return Reply(200, content[:cut_after], {**headers, "Content-Length": str(len(content))})


def rest(content: bytes, start: int, generation: str = "7") -> Reply:
    """Return the answer to a range that goes to the end."""
    content_range = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return Reply(206, content[start:], {"X-Goog-Generation": generation, "Content-Range": content_range})


def begun(server: ScriptedServer) -> Reply:
    """Return the answer to what begins an upload in parts."""
    return Reply(200, b"", {"Location": f"{server.url}/upload?upload_id={UPLOAD_ID}"})


def kept(end: int) -> Reply:
    """Return the answer to a part after which there are that many bytes."""
    return Reply(308, b"", {"Range": f"bytes=0-{end - 1}"} if end else {})
