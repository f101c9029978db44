from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watermark.errors import VerificationError
from watermark.store import merkle
from watermark.store.tree import Frontier

# The test tree of certificate-transparency: testdata in merkletree/merkle_tree_test.cc,
# and transparency-dev/merkle, testonly/constants.go.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# The proofs that go with it: (leaf, size) or (old, new), and the path.
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}

sizes = st.integers(1, 70)


def bodies(size: int) -> list[bytes]:
    return [b"leaf %d" % index for index in range(size)]


def hashes(leaves: list[bytes], ranges: list[merkle.Range]) -> list[bytes]:
    return [merkle.root(leaves[start:stop]) for start, stop in ranges]


def altered(data: st.DataObject, path: list[bytes]) -> list[bytes]:
    """`path` with one bit flipped, one hash dropped or added, or two swapped."""
    path = list(path)
    at = data.draw(st.integers(0, len(path)))
    if at == len(path):
        return [*path, bytes(32)]
    change = data.draw(st.sampled_from(["flip", "drop", "add"]))
    if change == "flip":
        bit = data.draw(st.integers(0, 255))
        value = int.from_bytes(path[at], "big") ^ (1 << bit)
        path[at] = value.to_bytes(32, "big")
    elif change == "drop":
        del path[at]
    else:
        path.insert(at, bytes(32))
    return path


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert merkle.root(LEAVES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_those_of_certificate_transparency(
    index: int, size: int
) -> None:
    path = hashes(LEAVES, merkle.inclusion_ranges(index, size))

    assert [value.hex() for value in path] == INCLUSION[index, size]
    leaf, root = merkle.leaf_hash(LEAVES[index]), bytes.fromhex(ROOTS[size])
    merkle.verify_inclusion(leaf, index, size, path, root)


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_consistency_proofs_are_those_of_certificate_transparency(
    old: int, new: int
) -> None:
    path = hashes(LEAVES, merkle.consistency_ranges(old, new))

    assert [value.hex() for value in path] == CONSISTENCY[old, new]
    roots = bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new])
    merkle.verify_consistency(old, new, path, *roots)


@given(sizes)
def test_a_frontier_has_the_reference_root(size: int) -> None:
    leaves, frontier = bodies(size), Frontier()
    nodes: dict[tuple[int, int], bytes] = {}
    for body in leaves:
        nodes |= dict(frontier.append(merkle.leaf_hash(body)))

    assert frontier.root == merkle.root(leaves)
    for (level, index), value in nodes.items():
        part = leaves[index << level : (index + 1) << level]
        assert len(part) == 1 << level
        assert value == merkle.root(part)


@given(sizes, sizes)
def test_a_range_folds_to_its_reference_root(size: int, other: int) -> None:
    leaves, big = bodies(size), max(size, other)
    for start, stop in merkle.consistency_ranges(min(size, other), big):
        parts = merkle.subtrees(start, stop)
        found = [merkle.root(bodies(big)[i << n : (i + 1) << n]) for n, i in parts]
        assert merkle.fold(found) == merkle.root(bodies(big)[start:stop])
    assert merkle.fold([merkle.root(leaves)]) == merkle.root(leaves)


@given(st.data(), sizes)
def test_inclusion_proofs_verify_and_altered_ones_do_not(
    data: st.DataObject, size: int
) -> None:
    leaves = bodies(size)
    index = data.draw(st.integers(0, size - 1))
    leaf, root = merkle.leaf_hash(leaves[index]), merkle.root(leaves)
    path = hashes(leaves, merkle.inclusion_ranges(index, size))
    merkle.verify_inclusion(leaf, index, size, path, root)

    other = data.draw(st.integers(-1, size).filter(lambda i: i != index))
    wrong = [
        (leaf, index, size, altered(data, path), root),
        (leaf, other, size, path, root),
        (merkle.leaf_hash(b"other"), index, size, path, root),
        (leaf, index, size, path, bytes(32)),
    ]
    for case in wrong:
        with pytest.raises(VerificationError):
            merkle.verify_inclusion(*case)


@given(st.data(), sizes)
def test_consistency_proofs_verify_and_altered_ones_do_not(
    data: st.DataObject, new: int
) -> None:
    leaves = bodies(new)
    old = data.draw(st.integers(0, new))
    old_root, new_root = merkle.root(leaves[:old]), merkle.root(leaves)
    path = hashes(leaves, merkle.consistency_ranges(old, new))
    merkle.verify_consistency(old, new, path, old_root, new_root)

    wrong = [
        (old, new, altered(data, path), old_root, new_root),
        (old, new, path, bytes(32), new_root),
        (new + 1, new, path, old_root, new_root),
    ]
    if old:
        wrong.append((old, new, path, old_root, bytes(32)))
    for case in wrong:
        with pytest.raises(VerificationError):
            merkle.verify_consistency(*case)


def test_an_empty_consistency_proof_of_different_trees_is_refused() -> None:
    root = merkle.root(LEAVES[:3])

    with pytest.raises(VerificationError, match="empty"):
        merkle.verify_consistency(3, 5, [], root, root)


def test_leaves_and_nodes_are_told_apart() -> None:
    left, right = base64.b64decode("AA=="), base64.b64decode("AQ==")

    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
