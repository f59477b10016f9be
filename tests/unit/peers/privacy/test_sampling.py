"""Records, Poisson batches and noise, from a fixed source in the operating system's place."""

import os
from pathlib import Path

import numpy as np
import pytest

from peers.privacy.keystream import KEY_BYTES, NONCE_BYTES, Keystream
from peers.privacy.records import PADDING, PoissonSampler, find_records, rounded_down, sample_rate
from swarm.errors import DataError
from tests.unit.peers.privacy.fixed import fixed_entropy

L = 7


def test_sequences_hold_every_byte_exactly_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(bytes(range(8 * 5 + 3)))
    (tmp_path / "b.txt").write_bytes(b"x")  # one byte predicts nothing
    (tmp_path / "c.txt").write_bytes(b"xy")
    records = find_records([tmp_path / name for name in ("a.txt", "b.txt", "c.txt")], "sequence", L)
    assert list(records.length_R) == [8, 8, 8, 8, 8, 3, 2]
    assert list(records.text_R) == [0] * 6 + [2]
    covered = [
        int(start) + offset
        for start, length in zip(records.start_R[:6], records.length_R[:6], strict=True)
        for offset in range(length)
    ]
    assert covered == list(range(43))


def test_documents_are_files_and_lines_and_give_one_piece_each(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(bytes(range(100)))
    (tmp_path / "b.jsonl").write_bytes(b'{"a": 1}\n\n{"b": 22}\n{}')
    records = find_records([tmp_path / "a.txt", tmp_path / "b.jsonl"], "document", L)
    assert list(records.length_R) == [100, 8, 9, 2]
    batch = PoissonSampler(records, 1.0, L, Keystream(fixed_entropy("documents"))).draw()
    assert batch.shape == (4, L + 1)
    assert np.array_equal(batch[0] - batch[0, 0], np.arange(L + 1))
    assert bytes(batch[1].astype(np.uint8)) == b'{"a": 1}'
    assert list(batch[3]) == [ord("{"), ord("}")] + [PADDING] * (L - 1)


def test_windows_of_a_document_begin_everywhere(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(bytes(range(L + 4)))
    records = find_records([tmp_path / "a.txt"], "document", L)
    sampler = PoissonSampler(records, 1.0, L, Keystream(fixed_entropy("windows")))
    assert {int(sampler.draw()[0, 0]) for _ in range(60)} == {0, 1, 2, 3}


def test_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match="empty"):
        find_records([tmp_path / "a.txt"], "sequence", L)
    with pytest.raises(DataError, match="read"):
        find_records([tmp_path / "none.txt"], "sequence", L)


def test_every_record_is_drawn_with_the_rate_whatever_the_others_do(tmp_path: Path) -> None:
    records, steps, rate = 40, 6000, 0.05
    (tmp_path / "a.txt").write_bytes(b"".join(bytes([n]) * (L + 1) for n in range(records)))
    found = find_records([tmp_path / "a.txt"], "sequence", L)
    sampler = PoissonSampler(found, rate, L, Keystream(fixed_entropy("poisson")))
    drawn = np.zeros((steps, records))
    for step in range(steps):
        drawn[step, sampler.draw()[:, 0]] += 1
    assert drawn.max() == 1  # never twice in a step
    of_each = drawn.mean(axis=0)
    deviation = np.sqrt(rate * (1 - rate) / steps)
    assert abs(of_each - rate).max() < 4.5 * deviation
    sizes = drawn.sum(axis=1)
    assert (sizes == 0).mean() == pytest.approx((1 - rate) ** records, abs=0.02)  # a fixed batch is never empty
    assert sizes.var() == pytest.approx(records * rate * (1 - rate), rel=0.1)
    pairs = np.corrcoef(drawn.T) - np.eye(records)
    assert abs(pairs).max() < 5 / np.sqrt(steps)


def test_the_rate_hides_the_exact_count() -> None:
    assert [rounded_down(count) for count in (1, 2, 3, 5, 7, 8, 11, 1000, 1025)] == [1, 2, 3, 4, 6, 8, 8, 768, 1024]
    assert sample_rate(1000, 4) == sample_rate(800, 4) == 4 / 768
    assert sample_rate(3, 4) == 1.0
    assert all(rounded_down(count) <= count < 1.5 * rounded_down(count) + 1 for count in range(1, 5000))


def test_noise_is_gaussian_of_the_asked_deviation() -> None:
    count, deviation = 400_001, 3.5  # odd: pairs are cut
    noise = Keystream(fixed_entropy("noise")).add_noise(np.full(count, 10, np.float32), deviation) - 10
    scaled = noise.astype(np.float64) / deviation
    assert scaled.mean() == pytest.approx(0, abs=4 / np.sqrt(count))
    assert scaled.var() == pytest.approx(1, abs=4 * np.sqrt(2 / count))
    assert (scaled**4).mean() == pytest.approx(3, abs=4 * np.sqrt(96 / count))
    assert (abs(scaled) > 1.96).mean() == pytest.approx(0.05, abs=0.002)
    halves = np.corrcoef(scaled[: count // 2], scaled[count // 2 : count - 1])[0, 1]
    assert abs(halves) < 4 / np.sqrt(count / 2)
    assert abs(np.corrcoef(scaled[:-1], scaled[1:])[0, 1]) < 4 / np.sqrt(count)


def test_noise_leaves_nothing_finer_than_its_grid() -> None:
    noisy = Keystream(fixed_entropy("grid")).add_noise(np.linspace(0, 1, 1000, dtype=np.float32), 1.0)
    assert np.array_equal(noisy * 2.0**20, np.rint(noisy * 2.0**20))


def test_keys_come_from_the_operating_system_and_are_never_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def entropy(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    assert Keystream.__init__.__defaults__ == (os.urandom,)
    monkeypatch.setattr("peers.privacy.keystream.REKEY_BYTES", 8 * 65_536)
    words = Keystream(entropy).words(3 * 65_536)
    assert asked == [KEY_BYTES, NONCE_BYTES] * 3
    assert len(np.unique(words)) == len(words)
    assert not np.array_equal(Keystream().words(4), Keystream().words(4))
