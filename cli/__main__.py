"""``python -m cli`` is ``marina``."""

from cli.main import entry

entry()
