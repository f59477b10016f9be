"""RFC 9162 trees against the recursive definition, and proofs that prove nothing else."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.sovereignty import merkle
from swarm.sovereignty.merkle import Frontier, Levels, consistency_proof, includes, inclusion_proof, is_extension

LEAVES = [merkle.leaf_hash(bytes([number])) for number in range(70)]
LEVELS = Levels(LEAVES)

# The tree of RFC 6962 implementations' shared test vectors: these eight inputs, and the roots after each.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def defined(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, section 2.1.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = max(2**n for n in range(10) if 2**n < len(leaves))
    return hashlib.sha256(b"\x01" + defined(leaves[:k]) + defined(leaves[k:])).digest()


def test_published_roots() -> None:
    edge = Frontier()
    for number, text in enumerate(INPUTS, 1):
        edge.append(merkle.leaf_hash(bytes.fromhex(text)))
        if number in ROOTS:
            assert edge.root().hex() == ROOTS[number]


def test_every_way_to_a_root_is_the_definition() -> None:
    edge, roots = Frontier(), merkle.roots_at(LEAVES, range(80))
    assert set(roots) == set(range(71))
    for size in range(71):
        expected = defined(LEAVES[:size])
        assert edge.root() == expected == roots[size] == merkle.root_of(LEVELS.node, size)
        assert Frontier(size, merkle.peaks_of(LEVELS.node, size)).root() == expected
        if size < 70:
            made = edge.append(LEAVES[size])
            assert made == [LEVELS.node(level, size >> level) for level in range(len(made))]


def test_every_proof_holds() -> None:
    for size in range(1, 71):
        root = defined(LEAVES[:size])
        for index in range(size):
            assert includes(LEAVES[index], index, size, root, inclusion_proof(LEVELS.node, index, size))
        for old in range(size + 1):
            proof = consistency_proof(LEVELS.node, old, size)
            assert len(proof) <= 2 * size.bit_length()
            assert is_extension(old, defined(LEAVES[:old]), size, root, proof)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_proof_holds_for_anything_else(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    old = data.draw(st.integers(1, size - 1))
    root, old_root = defined(LEAVES[:size]), defined(LEAVES[:old])
    proof = consistency_proof(LEVELS.node, old, size)
    spot = data.draw(st.integers(0, len(proof) - 1))
    bent = [*proof[:spot], hashlib.sha256(proof[spot]).digest(), *proof[spot + 1 :]]
    assert not is_extension(old, old_root, size, root, bent)
    assert not is_extension(old, old_root, size, root, proof[:-1])
    assert not is_extension(old, old_root, size, root, [*proof, root])
    assert not is_extension(old, hashlib.sha256(old_root).digest(), size, root, proof)
    assert not is_extension(size, root, old, old_root, proof)
    rewritten = [*LEAVES]
    rewritten[data.draw(st.integers(0, old - 1))] = merkle.leaf_hash(b"another history")
    other = Levels(rewritten)
    assert not is_extension(old, old_root, size, defined(rewritten[:size]), consistency_proof(other.node, old, size))

    index = data.draw(st.integers(0, size - 1))
    path = inclusion_proof(LEVELS.node, index, size)
    elsewhere = data.draw(st.integers(0, size - 1).filter(lambda at: at != index))
    assert not includes(LEAVES[elsewhere], index, size, root, path)
    assert not includes(LEAVES[index], elsewhere, size, root, path)
    assert not includes(LEAVES[index], size, size, root, path)
    assert not includes(LEAVES[index], index, size, root, path[1:])


@pytest.mark.parametrize("size", [0, 1, 5])
def test_an_empty_tree_is_the_beginning_of_every_tree(size: int) -> None:
    assert is_extension(0, merkle.EMPTY_ROOT, size, defined(LEAVES[:size]), [])
    assert not is_extension(0, LEAVES[0], size, defined(LEAVES[:size]), [])
