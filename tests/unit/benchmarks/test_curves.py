"""The simulated round against a dense mean, what is paired with what, and a training small enough for a test."""

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import curves, curves_plot, curves_report, machine
from benchmarks.cli import app
from benchmarks.curves_report import Curve, Document
from benchmarks.curves_round import average
from benchmarks.curves_setup import CODECS, NUDGED, REFERENCE, Setup, Variant, variants
from benchmarks.curves_texts import Texts, write_texts
from benchmarks.curves_training import train
from peers.corpus.store import Corpus
from swarm.vector.codec import make_codec
from swarm.vector.grid import Grid, Vector

TINY = Setup(
    languages=("de", "fr", "vi"),
    hidden_size=16,
    layers=1,
    heads=2,
    intermediate_size=16,
    inner_steps=1,
    batch_size=2,
    sequence_length=16,
    chunk_elements=512,
    held_out_every_paragraphs=4,
    held_out_bytes=64,
    score_every_rounds=2,
)


def _updates(peers: int, elements: int, seed: int) -> list[Vector]:
    return list(np.random.default_rng(seed).standard_normal((peers, elements)).astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(
    codec=st.sampled_from(CODECS),
    peers=st.integers(2, 5),
    elements=st.integers(1, 700),
    round_number=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_a_round_delivers_or_keeps_everything(
    codec: str, peers: int, elements: int, round_number: int, seed: int
) -> None:
    x_PN = _updates(peers, elements, seed)
    averaged = average(Grid(elements, 128), make_codec(codec, 32), x_PN, round_number)
    accounted_N = peers * averaged.mean_N + np.sum(averaged.residuals_PN, axis=0)
    np.testing.assert_allclose(accounted_N, np.sum(x_PN, axis=0), atol=1e-4)


def test_float32_gives_the_dense_mean_and_keeps_nothing() -> None:
    x_PN = _updates(4, 1000, seed=7)
    averaged = average(Grid(1000, 64), make_codec("float32", 1), x_PN, 1)
    np.testing.assert_allclose(averaged.mean_N, np.mean(x_PN, axis=0), atol=1e-6)
    assert not np.any(averaged.residuals_PN)


def test_int4_is_near_the_mean_and_leaves_residuals() -> None:
    x_PN = _updates(4, 1024, seed=8)
    averaged = average(Grid(1024, 256), make_codec("int4", 64), x_PN, 1)
    error = np.sqrt(np.mean((averaged.mean_N - np.mean(x_PN, axis=0)) ** 2))
    assert 0.01 < error < 0.15
    assert all(residual_N.any() for residual_N in averaged.residuals_PN)


@pytest.mark.parametrize("round_number", [1, 2, 3])
def test_an_owner_counts_its_own_part_exactly_and_owners_move_on(round_number: int) -> None:
    peers, lone, grid = 3, 1, Grid(6 * 64, 64)
    x_PN = [np.zeros(grid.elements, np.float32) for _ in range(peers)]
    x_PN[lone] = _updates(1, grid.elements, seed=round_number)[0]
    averaged = average(grid, make_codec("int8", 64), x_PN, round_number)
    for chunk in range(grid.chunks):
        losers = {peer for peer in range(peers) if averaged.residuals_PN[peer][grid.bounds(chunk)].any()}
        owner = (chunk + round_number) % peers
        assert losers <= {lone, owner}
        if owner == lone:
            lost_n = averaged.residuals_PN[lone][grid.bounds(chunk)]
            mean_n = x_PN[lone][grid.bounds(chunk)] / np.float32(peers)
            np.testing.assert_allclose(lost_n, peers * (mean_n - averaged.mean_N[grid.bounds(chunk)]), atol=1e-6)


def test_the_learning_rate_rises_then_falls_and_never_reaches_zero() -> None:
    rates = [Setup().inner_lr_at(number, 200) for number in range(1, 201)]
    peak = rates.index(max(rates))
    assert max(rates) == Setup().inner_lr
    assert peak + 1 == 10
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < rates[peak] / 100


def test_variants_hold_the_reference_its_twin_and_the_contrasts() -> None:
    names = [variant.name for variant in variants(CODECS)]
    contrasts = ["int8, no feedback", "int4, no feedback"]
    assert names == [REFERENCE, NUDGED, "bfloat16", "int8", contrasts[0], "int4", contrasts[1]]
    assert [variant.name for variant in variants(["int8", "int8"])] == [REFERENCE, NUDGED, "int8", contrasts[0]]


def _corpus(folder: Path) -> Corpus:
    train_paths: dict[str, Path] = {}
    for language in TINY.languages:
        train_paths[language] = folder / f"{language}.txt"
        lines = [f"{language} paragraph {number} of some length\n" for number in range(40)]
        train_paths[language].write_text("".join(lines))
    return Corpus(source="made up", train=train_paths, held_out={}, notes=(), licences={})


def _texts(folder: Path) -> Texts:
    shards = folder / "shards"
    shards.mkdir()
    return write_texts(_corpus(folder), TINY, shards)


def test_a_peer_has_its_own_language_and_nothing_that_is_held_out(tmp_path: Path) -> None:
    texts = _texts(tmp_path)
    for language, path, held_out in zip(TINY.languages, texts.train, texts.held_out, strict=True):
        lines = path.read_bytes().splitlines()
        assert len(lines) == len(set(lines)) == 30
        assert all(line.startswith(language.encode()) for line in lines)
        assert held_out.startswith(language.encode())
        assert len(held_out) == TINY.held_out_bytes
        assert held_out.splitlines()[0] not in lines


def _points(texts: Texts, variant: Variant, seed: int = 1) -> tuple[tuple[int, float], ...]:
    told: list[tuple[int, float]] = []
    points = train(TINY, texts, variant, seed=seed, rounds=5, on_point=told.append)
    assert tuple(told) == points
    return points


def test_runs_are_repeatable_and_paired(tmp_path: Path) -> None:
    texts = _texts(tmp_path)
    exact = Variant(name=REFERENCE, codec="float32")
    coarse = Variant(name="int4", codec="int4", block_elements=64)
    reference = _points(texts, exact)
    assert [number for number, _ in reference] == [0, 2, 4, 5]
    assert _points(texts, exact) == reference
    curves_of_1 = [
        reference,
        _points(texts, coarse),
        _points(texts, replace(coarse, has_feedback=False)),
        _points(texts, replace(exact, is_nudged=True)),
    ]
    assert len({points[0] for points in curves_of_1}) == 1  # the same initial weights
    assert len({points[-1] for points in curves_of_1}) == 4
    assert _points(texts, exact, seed=2)[0] != reference[0]


def _document() -> Document:
    losses = {REFERENCE: (2.0, 4.0), NUDGED: (2.0, 4.002), "int8": (2.02, 3.96), "int8, no feedback": (2.5, 4.4)}
    runs = tuple(
        Curve(variant=name, seed=seed, points=((0, 8.0), (10, final)), cpu_s=1.0)
        for seed in (1, 2)
        for name, finals in losses.items()
        for final in [finals[seed - 1]]
    )
    results = tuple(curves_report.result(variant, runs, 1.0) for variant in variants(["int8"]))
    return Document(
        machine=machine.fingerprint(),
        command=curves.command(["int8"], seeds=2, rounds=10),
        rounds=10,
        seeds=(1, 2),
        parameters=1,
        setup=TINY,
        corpus="made up",
        float32_spread_percent=curves_report.spread_percent([2.0, 4.0]),
        nudge_percent=curves_report.nudge_percent(results),
        results=results,
        curves=runs,
    )


def test_differences_are_taken_seed_by_seed() -> None:
    document = _document()
    int8 = next(one for one in document.results if one.variant.name == "int8")
    assert int8.bits_per_byte == (2.02, 3.96)
    assert int8.difference_percent == pytest.approx((1.0, -1.0))
    assert int8.mean_difference_percent == pytest.approx(0.0)
    assert abs(int8.worst_difference_percent) == pytest.approx(1.0)
    assert document.nudge_percent == pytest.approx(0.05)
    assert document.float32_spread_percent == pytest.approx(200 / 3)


def test_the_table_judges_the_worst_seed() -> None:
    text = io.StringIO()
    Console(file=text, width=120).print(curves_report.table(_document()))
    assert "MISSED" in text.getvalue()
    assert "kept" not in text.getvalue()


def test_the_files_are_written(tmp_path: Path) -> None:
    document = _document()
    curves.save(document, tmp_path / "new")
    assert msgspec.json.decode((tmp_path / "new" / curves.JSON_NAME).read_bytes(), type=Document) == document
    picture = (tmp_path / "new" / curves.PLOT_NAME).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert picture == curves_plot.draw(document)


def test_the_command_that_is_recorded_is_one_the_command_line_takes() -> None:
    words = curves.command(["int8", "int4"], seeds=3, rounds=200).split()
    assert words[:3] == ["tapestry", "bench", "curves"]
    assert CliRunner().invoke(app, [*words[2:], "--help"]).exit_code == 0
    assert CliRunner().invoke(app, ["curves", "--codec", "int3"]).exit_code == 2
