"""One attempt to hand a DICOM file to an archive by STOW-RS (PS3.18, 10.5)."""

import http.client
import json
import secrets
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from flare_serve.node.addresses import WebTarget
from flare_serve.node.answers import Answer, Result
from flare_serve.node.settings import NodeSettings
from flare_serve.node.statuses import is_final, is_stored

_CHUNK_BYTES: Final = 2**20
_MOST_ANSWER_BYTES: Final = 2**20
_FINAL_HTTP: Final = frozenset({400, 406, 409, 413, 415, 422})
"""Answers after which sending the same again is of no use; those about rights and addresses may be put right."""

_REFERENCED: Final = "00081199"
_FAILED: Final = "00081198"
_FAILURE: Final = "00081197"
"""Tags of what is told of instances: stored ones, failed ones, and the reason."""


def send_by_stow(path: Path, target: WebTarget, settings: NodeSettings) -> Answer:
    """One attempt by STOW-RS; redirections are not followed, since they could lead the authorization away.

    Args:
        path: the file.
        target: where to.
        settings: time limit and authorization.
    """
    parts = urlsplit(target.url)
    seconds = settings.retries.timeout_seconds
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=seconds, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Content-Length": str(len(head) + path.stat().st_size + len(tail)),
        "Accept": "application/dicom+json",
    }
    if settings.authorization is not None:
        headers["Authorization"] = settings.authorization
    try:
        connection.request("POST", parts.path, _pieces(path, head, tail), headers)
        response = connection.getresponse()
        return _said(response.status, response.read(_MOST_ANSWER_BYTES))
    except (OSError, http.client.HTTPException) as error:
        return Answer(Result.LATER, f"cannot be reached ({type(error).__name__})")
    finally:
        connection.close()


def _pieces(path: Path, head: bytes, tail: bytes) -> Iterator[bytes]:
    yield head
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            yield piece
    yield tail


def _said(code: int, content: bytes) -> Answer:
    """What an answer of STOW-RS means for the one instance that was sent (PS3.18, 10.5.3)."""
    try:
        told = json.loads(content)
        instance = told if isinstance(told, dict) else {}
        failed = [_number(one.get(_FAILURE)) for one in _items(instance, _FAILED)]
        stored = _items(instance, _REFERENCED)
    except (ValueError, AttributeError, TypeError, LookupError):
        failed, stored = [], []
    if failed and not stored:
        reason = failed[0]
        if is_stored(reason):
            return Answer(Result.STORED, f"had it before, reason {reason:04X}")
        return Answer(Result.NEVER if is_final(reason) else Result.LATER, f"refused with reason {reason:04X}")
    if code in {200, 201} or (code == 202 and stored):
        return Answer(Result.STORED, f"stored, HTTP {code}")
    return Answer(Result.NEVER if code in _FINAL_HTTP else Result.LATER, f"refused with HTTP {code}")


def _items(told: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return list(told.get(tag, {}).get("Value") or [])


def _number(element: Any) -> int:
    return int(element["Value"][0])
