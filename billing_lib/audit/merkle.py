"""Merkle trees: one hash over a list, and short proofs about it (RFC 9162, section 2.1).

    tree_root(leaves)                     one hash over the list
    inclusion_path(leaves, 5)             proves that leaf 5 is in the list

    leaf hash  sha256(0x00 ‖ leaf)        node hash  sha256(0x01 ‖ left ‖ right)

These are the trees of Certificate Transparency (RFC 6962), so every tool for those checks these
proofs. Leaves are bytes, counted from 0; roots and hashes are 32 bytes. Whoever has the whole list
sees by the root over its first leaves that it only grew. On PyPI only pymerkle makes such proofs: a
GPL library with a form of its own, which says that it needs an audit.
"""

import hashlib
from collections.abc import Sequence

Leaves = Sequence[bytes]


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\0" + leaf).digest()


def tree_root(leaves: Leaves) -> bytes:
    """The root over leaves; that of no leaves is the hash of nothing (RFC 9162, 2.1.1)."""
    if not leaves:
        return hashlib.sha256().digest()
    return _root([leaf_hash(leaf) for leaf in leaves])


def inclusion_path(leaves: Leaves, index: int) -> list[bytes]:
    """The hashes by which a leaf's hash becomes the root (RFC 9162, 2.1.3.1)."""
    hashes = [leaf_hash(leaf) for leaf in leaves]
    path: list[bytes] = []
    while len(hashes) > 1:
        split = _split(len(hashes))
        left, right = hashes[:split], hashes[split:]
        if index < split:
            path.append(_root(right))
            hashes = left
        else:
            path.append(_root(left))
            hashes, index = right, index - split
    return path[::-1]


def root_of_inclusion(hashed: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a leaf's hash and its path make; None if the path does not fit the size.

    RFC 9162, 2.1.3.2.
    """
    if not 0 <= index < size:
        return None
    first, last = index, size - 1
    for sibling in path:
        if last == 0:
            return None
        if first & 1 or first == last:
            hashed = _node(sibling, hashed)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            hashed = _node(hashed, sibling)
        first, last = first >> 1, last >> 1
    return hashed if last == 0 else None


def _root(hashes: list[bytes]) -> bytes:
    """The root over hashes, level by level; a last hash without a sibling goes up as it is."""
    while len(hashes) > 1:
        pairs = [_node(hashes[at], hashes[at + 1]) for at in range(0, len(hashes) - 1, 2)]
        hashes = [*pairs, hashes[-1]] if len(hashes) % 2 else pairs
    return hashes[0]


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _split(size: int) -> int:
    """The largest power of two below the size."""
    return 1 << (size - 1).bit_length() - 1
