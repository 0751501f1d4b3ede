"""JSON from strangers: UTF-8 alone, no NaN, and never nested so deep that the decoder fills the stack.

The decoder's recursion is in C and stops at Python's recursion limit; libraries that raise that limit when
they are imported (py_ecc, which eth-account and web3 bring) would turn a body of brackets into a crash of
the whole process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

DEPTH_MAX = 64
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
"""A string, whole or cut off, or a bracket; possessive, so that its time is linear."""


def load_json(
    raw: bytes,
    *,
    depth_max: int = DEPTH_MAX,
    pairs_hook: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None,
) -> Any:
    """Return the value of a JSON text.

    Args:
        raw: of any length; the caller bounds it.
        depth_max: most lists and objects within each other.
        pairs_hook: makes an object of its (name, value) pairs; None keeps the last of each name.

    Raises:
        ValueError: it is not JSON in UTF-8, is nested deeper, or has a number that JSON does not have.
    """
    text = raw.decode("utf-8")
    depth = 0
    for token in _TOKENS.finditer(text):
        first = text[token.start()]
        depth += (first in "[{") - (first in "]}")
        if depth > depth_max:
            raise ValueError(f"the text is nested deeper than {depth_max}")
    return json.loads(text, object_pairs_hook=pairs_hook, parse_constant=_no_constant)


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")
