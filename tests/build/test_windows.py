"""Windows of text: the same by number, with every canary in them, whatever a token is."""

from pathlib import Path

import numpy as np
import pytest

from peers.build.windows import Windows, places
from peers.extraction import new_canaries
from swarm.errors import DataError

LENGTH = 64


def by_words(text: bytes) -> list[int]:
    """One token a word."""
    return [1000 + len(word) for word in text.split()]


@pytest.fixture
def texts(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "a.txt", tmp_path / "b.txt"]
    found[0].write_bytes(b"a word or two " * 200)
    found[1].write_bytes(bytes(range(256)) * 4)
    return found


def windows(texts: list[Path], planted: dict[int, bytes], seed: int = 1) -> Windows:
    return Windows(texts, list, 1, count=40, length=LENGTH, seed=seed, planted=planted)


def test_a_window_depends_on_its_number_and_the_seed_alone(texts: list[Path]) -> None:
    one, again, other = windows(texts, {}), windows(texts, {}), windows(texts, {}, seed=2)
    drawn = [one[number]["input_ids"] for number in range(40)]
    assert len(one) == 40 and all(window.shape == (LENGTH,) for window in drawn)
    assert all(np.array_equal(drawn[number], again[number]["input_ids"]) for number in reversed(range(40)))
    assert any(not np.array_equal(drawn[number], other[number]["input_ids"]) for number in range(40))
    assert bytes(drawn[0].tolist()) in texts[0].read_bytes() and bytes(drawn[1].tolist()) in texts[1].read_bytes()
    assert np.array_equal(one[0]["labels"], drawn[0])


def test_each_canary_stands_in_as_many_windows_as_it_shall(texts: list[Path]) -> None:
    canaries = new_canaries(3)
    data = windows(texts, places(canaries, 2, 40, seed=5))
    seen = [bytes(data[number]["input_ids"].astype(np.uint8)) for number in range(len(data))]
    assert [sum(canary.text.encode() in window for window in seen) for canary in canaries] == [2, 2, 2]


def test_tokens_that_are_not_bytes_fill_a_window_as_well(texts: list[Path]) -> None:
    data = Windows(texts[:1], by_words, 8, count=4, length=LENGTH, seed=1, planted={3: b"one two-three"})
    for number in range(4):
        window_L = data[number]["input_ids"]
        assert window_L.shape == (LENGTH,) and window_L.min() >= 1000
    assert 1000 + len("two-three") in data[3]["input_ids"]


def test_text_that_cannot_be_trained_on_is_refused(tmp_path: Path, texts: list[Path]) -> None:
    texts[0].write_bytes(b"short")
    with pytest.raises(DataError, match="5 bytes; a training sequence needs 64"):
        windows(texts, {})
    with pytest.raises(DataError, match="no text files"):
        windows([], {})
    empty = tmp_path / "empty.txt"
    empty.write_bytes(b" " * 1000)
    data = Windows([empty], by_words, 8, count=1, length=LENGTH, seed=1, planted={})
    with pytest.raises(DataError, match="hardly any text"):
        data[0]
