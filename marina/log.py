"""Structured logs: one JSON object a line with the same eight keys, secrets masked.

Keys: timestamp, level, message, service, version, context, error, stack. Use the standard
``logging`` module: ``log = logging.getLogger("marina.p2p")`` and
``log.info("peer banned", extra={"context": {"peer": short_id}})``.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import IO

from marina import __version__
from marina.secret import Secret

SERVICE = "marina"
_SECRET_KEY = re.compile(r"pass|secret|token|words|mnemonic|authorization|private|key$", re.IGNORECASE)
_BEARER = re.compile(r"(?i)bearer\s+[\w.\-]+|/stream/[\w.\-]+|#code=\S+")


class JsonFormatter(logging.Formatter):
    """Formats a log record as one line of JSON with the eight fixed keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; never raises on odd context values."""
        exc = record.exc_info if record.exc_info and record.exc_info[0] else None
        entry = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": redact_text(record.getMessage()),
            "service": SERVICE,
            "version": __version__,
            "context": redact({"logger": record.name, **getattr(record, "context", {})}),
            "error": redact_text(f"{exc[0].__name__}: {exc[1]}") if exc and exc[0] else None,
            "stack": redact_text(self.formatException(exc)) if exc else None,
        }
        return json.dumps(entry, ensure_ascii=False, default=repr)


def redact(context: dict[str, object]) -> dict[str, object]:
    """Return the context with every value masked whose key names a secret."""
    masked: dict[str, object] = {}
    for key, value in context.items():
        if isinstance(value, Secret) or _SECRET_KEY.search(key):
            masked[key] = "***"
        elif isinstance(value, dict):
            masked[key] = redact(value)
        elif isinstance(value, str):
            masked[key] = redact_text(value)
        else:
            masked[key] = value
    return masked


def redact_text(text: str) -> str:
    """Return the text with bearer tokens, stream tickets and one-time codes masked."""
    return _BEARER.sub("***", text)


def set_up(level: str = "INFO", stream: IO[str] | None = None, *, library_level: str = "ERROR") -> None:
    """Send all logs as JSON lines to a stream (default stderr).

    Args:
        level: lowest level shown for Marina's own loggers.
        stream: where lines go.
        library_level: lowest level shown for everything else.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(library_level)
    logging.getLogger("marina").setLevel(level)
