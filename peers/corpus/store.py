"""A prepared corpus on disk: whole or absent, never half.

    <cache>/<source>/<version>/train/<language>.txt       one paragraph per line, UTF-8
    <cache>/<source>/<version>/held_out/<language>.txt    the same, never trained on
    <cache>/<source>/<version>/corpus.json                written with them; holds the digest of every file

A corpus is built beside its place and moved there in one step; a damaged one is not loaded. `version` changes
when the recipe here or the selection in a source does, so that an older cache is not mistaken for the present
recipe's.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from peers.corpus import text

TRAIN_LIMIT_BYTES = 3_000_000
HELD_OUT_LIMIT_BYTES = 200_000
_INDEX = "corpus.json"


@dataclass(frozen=True)
class Corpus:
    """Text per language code (ISO 639-1), ready to train on and to score with."""

    source: str
    train: Mapping[str, Path]
    held_out: Mapping[str, Path]
    notes: tuple[str, ...]
    """Sentences for the report: what was fetched, what was removed."""
    licences: Mapping[str, str]
    """Per language, the licence of the training text."""


@dataclass(frozen=True)
class RawText:
    """What a source found: paragraphs per language, as they stood."""

    source: str
    version: str
    train: Mapping[str, Sequence[str]]
    held_out: Mapping[str, Sequence[str]]
    licences: Mapping[str, str]
    min_chars: Mapping[str, int]
    """Per language, how long a paragraph must be to be kept."""
    may_hold_english: bool
    """Whether paragraphs that nobody translated are to be looked for and left out."""
    notes: tuple[str, ...]


class _Index(msgspec.Struct, frozen=True):
    source: str
    notes: tuple[str, ...]
    licences: dict[str, str]
    sha256: dict[str, str]
    """Path below the folder to hex digest."""


def load(cache: Path, source: str, version: str) -> Corpus | None:
    """The corpus in the cache, or None when it is absent, incomplete or damaged."""
    folder = cache / source / version
    try:
        index = msgspec.json.decode((folder / _INDEX).read_bytes(), type=_Index)
        intact = all(_digest(folder / name) == digest for name, digest in index.sha256.items())
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    if not intact:
        return None
    return Corpus(
        source=index.source,
        train=_by_language(folder, index, "train"),
        held_out=_by_language(folder, index, "held_out"),
        notes=index.notes,
        licences=index.licences,
    )


def save(cache: Path, raw: RawText) -> Corpus:
    """Selects paragraphs, writes the corpus and returns it."""
    home = cache / raw.source
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=home) as scratch:
        built = Path(scratch) / raw.version
        notes = [*raw.notes, *_write(built, raw)]
        names = sorted(path.relative_to(built).as_posix() for path in built.rglob("*.txt"))
        index = _Index(
            source=raw.source,
            notes=tuple(notes),
            licences=dict(raw.licences),
            sha256={name: _digest(built / name) for name in names},
        )
        (built / _INDEX).write_bytes(msgspec.json.format(msgspec.json.encode(index)))
        # Another process may have put the same corpus there meanwhile; a damaged one is replaced.
        if load(cache, raw.source, raw.version) is None:
            shutil.rmtree(home / raw.version, ignore_errors=True)
            built.rename(home / raw.version)
    corpus = load(cache, raw.source, raw.version)
    assert corpus is not None
    return corpus


def _write(folder: Path, raw: RawText) -> list[str]:
    """Writes the text files; returns notes on what was removed."""
    removed: list[str] = []
    for kind in ("train", "held_out"):
        (folder / kind).mkdir(parents=True)
    for language in sorted(raw.train):
        held_out = _select(language, raw, raw.held_out[language])
        train = _select(language, raw, raw.train[language])
        # The whole of the held-out source counts, not only the part that is kept for scoring.
        unseen = text.without_copies(train, held_out, text.shared_run_chars(language))
        removed.append(f"{language} {len(train) - len(unseen)} of {len(train)}")
        _write_lines(folder / "train" / f"{language}.txt", text.capped(unseen, TRAIN_LIMIT_BYTES))
        _write_lines(folder / "held_out" / f"{language}.txt", text.capped(held_out, HELD_OUT_LIMIT_BYTES))
    return [f"Training paragraphs removed because they also stand in the held-out text: {', '.join(removed)}."]


def _select(language: str, raw: RawText, paragraphs: Sequence[str]) -> list[str]:
    selected = text.select(paragraphs, min_chars=raw.min_chars[language])
    if raw.may_hold_english:
        return [paragraph for paragraph in selected if text.is_in(language, paragraph)]
    return selected


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _by_language(folder: Path, index: _Index, kind: str) -> dict[str, Path]:
    names = (Path(name) for name in sorted(index.sha256))
    return {name.stem: folder / name for name in names if name.parent.name == kind}
