"""Merkle trees against the vectors of Certificate Transparency, and proofs against forgeries."""

import pytest

from billing_lib.audit.merkle import (
    inclusion_path,
    leaf_hash,
    root_of_inclusion,
    tree_root,
)

LEAVES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243"),
        *("5051525354555657", "606162636465666768696a6b6c6d6e6f"),
    )
]
ROOTS = (  # of the first 0, 1, 2 … leaves, from certificate-transparency's merkle_tree_test
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
PATH_OF_5_IN_8 = (  # from the same tests
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
)


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert tree_root(LEAVES[:size]).hex() == ROOTS[size]


def test_paths_are_those_of_certificate_transparency() -> None:
    assert [it.hex() for it in inclusion_path(LEAVES, 5)] == list(PATH_OF_5_IN_8)


def test_every_leaf_of_every_size_is_proven_at_its_place_alone() -> None:
    leaves = [bytes([at]) for at in range(20)]
    for size in range(1, 21):
        root = tree_root(leaves[:size])
        for index in range(size):
            path = inclusion_path(leaves[:size], index)
            assert root_of_inclusion(leaf_hash(leaves[index]), index, size, path) == root
            others = [at for at in range(size) if at != index]
            for at in others:
                assert root_of_inclusion(leaf_hash(leaves[at]), index, size, path) != root
                assert root_of_inclusion(leaf_hash(leaves[index]), at, size, path) != root
            assert root_of_inclusion(leaf_hash(leaves[index]), index, size, [*path, root]) is None
            if path:
                assert root_of_inclusion(leaf_hash(leaves[index]), index, size, path[:-1]) is None
