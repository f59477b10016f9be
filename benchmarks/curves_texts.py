"""The text of `tapestry bench curves`: what each peer trains on, and what nobody trains on.

Every paragraph of the corpus is one line, and repeats are already gone. Of each language, evenly spaced paragraphs are
held out, and the others are dealt to the peers in turn: so all peers have the same mix and no two the same text.
"""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.curves_setup import Setup
from peers.corpus.store import Corpus


@dataclass(frozen=True)
class Texts:
    train: tuple[Path, ...]
    """One file per peer."""
    held_out: tuple[bytes, ...]
    """One text per language."""


def write_texts(corpus: Corpus, setup: Setup, folder: Path) -> Texts:
    """Deals the corpus out into `folder`."""
    shards: list[list[bytes]] = [[] for _ in range(setup.peers)]
    held_out: list[bytes] = []
    for language in setup.languages:
        paragraphs = corpus.train[language].read_bytes().splitlines(keepends=True)
        every = setup.held_out_every_paragraphs
        held_out.append(b"".join(paragraphs[::every])[: setup.held_out_bytes])
        rest = [paragraph for number, paragraph in enumerate(paragraphs) if number % every]
        for peer, shard in enumerate(shards):
            shard.extend(rest[peer :: setup.peers])
    paths = tuple(folder / f"peer-{peer}.txt" for peer in range(setup.peers))
    for path, shard in zip(paths, shards, strict=True):
        path.write_bytes(b"".join(shard))
    return Texts(train=paths, held_out=tuple(held_out))
