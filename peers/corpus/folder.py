"""A user's own text for the pilot: one folder per region.

    DIR/eu/de.txt                 a file named by its language, or
    DIR/eu/de/...                 a folder of text files named by it;
    DIR/eu/anything-else.txt      all other text counts as one language named like the region

The regions are the pilot's three; each must hold text. One paragraph (a line) in ten, by its hash, is held
out.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peers.corpus import store
from peers.corpus.regions import REGIONS, PilotRegion
from peers.corpus.store import Corpus, RawText
from peers.corpus.text import in_held_out_tenth
from swarm.errors import DataError, UsageError

_LANGUAGE = re.compile(r"[a-z]{2,3}")
_MIN_CHARS = 20
_NOT_TEXT = frozenset({".toml", ".json", ".gz", ".xz", ".zip", ".png", ".jpg", ".pdf"})


@dataclass(frozen=True)
class FolderText:
    """What the folder held: the corpus, and the pilot's regions with the languages found in each."""

    corpus: Corpus
    regions: tuple[PilotRegion, ...]


def read_folder(folder: Path, cache: Path) -> FolderText:
    """Reads DIR/<region>/... and keeps the selection under `cache`.

    Raises:
        UsageError: the folder does not exist.
        DataError: a region's folder is missing, unreadable or short of text, or two regions share a language.
    """
    if not folder.is_dir():
        raise UsageError(f"--data {folder} is not a folder")
    lines: dict[str, list[str]] = {}
    regions: list[PilotRegion] = []
    content = hashlib.sha256()
    for region in REGIONS:
        found = _languages(folder, region)
        if shared := sorted(lines.keys() & found.keys()):
            raise DataError(f"{folder / region.name}: {shared[0]!r} is a language of another region already")
        home = next(iter(region.jurisdictions.values()))
        regions.append(PilotRegion(region.name, {name: region.jurisdictions.get(name, home) for name in found}))
        for language, paths in found.items():
            lines[language] = [line for path in paths for line in _read_lines(path)]
            content.update("\n".join((language, *lines[language], "")).encode())
    raw = RawText(
        source="folder",
        version=content.hexdigest()[:16],
        train={name: [line for line in text if not in_held_out_tenth(line)] for name, text in lines.items()},
        held_out={name: [line for line in text if in_held_out_tenth(line)] for name, text in lines.items()},
        licences=dict.fromkeys(lines, "as stated by the owner of the folder"),
        min_chars=dict.fromkeys(lines, _MIN_CHARS),
        may_hold_english=False,
        notes=(f"Text from the folder {folder.name}; held out: one line in ten by its hash.",),
    )
    try:
        corpus = store.load(cache, raw.source, raw.version) or store.save(cache, raw)
    except OSError as error:
        raise DataError(f"{cache} cannot be written: {error.strerror or error}") from error
    _require_text(folder, regions, corpus)
    return FolderText(corpus=corpus, regions=tuple(regions))


def _languages(folder: Path, region: PilotRegion) -> dict[str, list[Path]]:
    """The region's text files by language, sorted."""
    home = folder / region.name
    if not home.is_dir():
        names = ", ".join(known.name for known in REGIONS)
        raise DataError(f"{home} is missing; --data needs one folder per region: {names}")
    found: dict[str, list[Path]] = {}
    for path in sorted(home.rglob("*")):
        if not path.is_file() or path.suffix in _NOT_TEXT:
            continue
        name = Path(path.relative_to(home).parts[0]).stem
        found.setdefault(name if _LANGUAGE.fullmatch(name) else region.name, []).append(path)
    if not found:
        raise DataError(f"{home} holds no text files")
    return found


def _read_lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _require_text(folder: Path, regions: Sequence[PilotRegion], corpus: Corpus) -> None:
    for region in regions:
        for language in region.jurisdictions:
            if not (corpus.train[language].stat().st_size and corpus.held_out[language].stat().st_size):
                raise DataError(
                    f"{folder / region.name}: too little text in {language!r} to train on and to hold out "
                    f"(lines of at least {_MIN_CHARS} characters count)"
                )
