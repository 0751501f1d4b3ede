"""Whether a Kubo node runs on this machine: one quick question, so that its owner can be told of pairing."""

from __future__ import annotations

import http.client
import json

DEFAULT_URL = "http://127.0.0.1:5001"
_HOST, _PORT = "127.0.0.1", 5001
_PATIENCE_S = 0.3
_ANSWER_BYTES_MAX = 4096


def local_kubo(port: int = _PORT) -> str | None:
    """Return the version of the Kubo node on this machine, None if there is none that answers at once."""
    connection = http.client.HTTPConnection(_HOST, port, timeout=_PATIENCE_S)
    try:
        connection.request("POST", "/api/v0/version")
        answer = connection.getresponse()
        facts = json.loads(answer.read(_ANSWER_BYTES_MAX))
    except (OSError, http.client.HTTPException, ValueError):
        return None  # nothing there, or something else
    finally:
        connection.close()
    version = facts.get("Version") if isinstance(facts, dict) else None
    return version if isinstance(version, str) and answer.status == http.client.OK else None
