"""File names for exported music, made from tags that nobody checked.

The store itself names files by hash; this is only for ``marina get`` and the like.
"""

from __future__ import annotations

import unicodedata

NAME_BYTES_MAX = 120
_EXTRA = frozenset(" -_.,()'&+!")
_RESERVED = frozenset(
    {"CON", "PRN", "AUX", "NUL", *(f"COM{n}" for n in range(1, 10)), *(f"LPT{n}" for n in range(1, 10))}
)


def export_name(text: str, *, suffix: str = "") -> str:
    """Return one path component that is safe on Linux, macOS and Windows.

    Only letters, marks, digits and ``-_.,()'&+!`` and spaces remain; every other character becomes
    ``_``. Never empty, hidden, ``.``/``..`` or a reserved device name; at most 120 bytes of UTF-8.

    Args:
        text: a title or any other untrusted text.
        suffix: a trusted extension with its dot, kept whole.

    Raises:
        ValueError: the suffix is not a plain extension.
    """
    if suffix and not (
        suffix[0] == "." and suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) <= 8
    ):
        raise ValueError(f"{suffix!r} is not a file extension")
    letters = "".join(
        char if _is_allowed(char) else "_" for char in unicodedata.normalize("NFC", text[:4096])
    )
    name = " ".join(letters.split()).strip(" .")
    room = NAME_BYTES_MAX - len(suffix)
    name = name.encode()[:room].decode(errors="ignore").rstrip(" .")
    if not name.strip("_ ."):
        name = "untitled"
    if name.partition(".")[0].rstrip().upper() in _RESERVED:
        name = f"_{name}"[:room]
    return name + suffix


def _is_allowed(char: str) -> bool:
    return char in _EXTRA or unicodedata.category(char) in ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd")
