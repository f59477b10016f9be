"""The text of `tapestry bench curves`: what each peer trains on, and what nobody trains on.

Every paragraph of the corpus is one line, and repeats are already gone. Of each language, evenly spaced paragraphs are
held out; the peer of that language trains on the others. So no peer sees what another has, and all are scored on all.
"""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.curves_setup import Setup
from peers.corpus.store import Corpus


@dataclass(frozen=True)
class Texts:
    train: tuple[Path, ...]
    """One file per peer, in order of the languages."""
    held_out: tuple[bytes, ...]
    """One text per language."""


def write_texts(corpus: Corpus, setup: Setup, folder: Path) -> Texts:
    """Divides the corpus; what is trained on goes into `folder`."""
    train: list[Path] = []
    held_out: list[bytes] = []
    every = setup.held_out_every_paragraphs
    for language in setup.languages:
        paragraphs = corpus.train[language].read_bytes().splitlines(keepends=True)
        held_out.append(b"".join(paragraphs[::every])[: setup.held_out_bytes])
        rest = [paragraph for number, paragraph in enumerate(paragraphs) if number % every]
        train.append(folder / f"{language}.txt")
        train[-1].write_bytes(b"".join(rest))
    return Texts(train=tuple(train), held_out=tuple(held_out))
