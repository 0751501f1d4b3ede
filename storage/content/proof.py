"""proof_root: a Merkle root over a rendition's segment digests.

It lets a party that holds only these 32 bytes check that a segment belongs to a rendition. Leaves
are digests that exist already, because a second pass over the bytes would halve the speed of
publishing (docs/decisions/0004). Shape as in RFC 6962: leaf H(0x00 ‖ digest), node H(0x01 ‖ l ‖ r),
split at the largest power of two below the count.
"""

from __future__ import annotations

import hashlib


def proof_root(digests: bytes) -> bytes:
    """Return the root over 32-byte digests, at least one."""
    leaves = [_leaf(digests[start : start + 32]) for start in range(0, len(digests), 32)]
    if not leaves:
        raise ValueError("a rendition has at least one segment")
    return _root(leaves)


def proof_path(digests: bytes, index: int) -> list[bytes]:
    """Return the sibling hashes from leaf ``index`` up to the root."""
    leaves = [_leaf(digests[start : start + 32]) for start in range(0, len(digests), 32)]
    path: list[bytes] = []
    while len(leaves) > 1:
        split = _split(len(leaves))
        if index < split:
            path.append(_root(leaves[split:]))
            leaves = leaves[:split]
        else:
            path.append(_root(leaves[:split]))
            leaves, index = leaves[split:], index - split
    return path[::-1]


def check_path(root: bytes, digest: bytes, index: int, count: int, path: list[bytes]) -> bool:
    """Return whether ``digest`` is segment ``index`` of ``count`` under a root."""
    if not 0 <= index < count:
        return False
    sides: list[bool] = []
    low, high = 0, count
    while high - low > 1:
        split = low + _split(high - low)
        is_left = index < split
        sides.append(is_left)
        low, high = (low, split) if is_left else (split, high)
    if len(sides) != len(path):
        return False
    node = _leaf(digest)
    for is_left, sibling in zip(reversed(sides), path, strict=True):
        node = _join(node, sibling) if is_left else _join(sibling, node)
    return node == root


def _root(nodes: list[bytes]) -> bytes:
    if len(nodes) == 1:
        return nodes[0]
    split = _split(len(nodes))
    return _join(_root(nodes[:split]), _root(nodes[split:]))


def _split(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1


def _leaf(digest: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + digest).digest()


def _join(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
