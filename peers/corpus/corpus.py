"""`prepare`: the pilot's text from the first source that can be had, fetched once and kept in a cache."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from peers.corpus import debian, plone, store
from peers.corpus.store import Corpus
from swarm.errors import DataError

__all__ = ["Corpus", "SourceName", "default_cache", "prepare"]

SourceName = Literal["debian", "plone"]

_SOURCES = {debian.SOURCE: debian, plone.SOURCE: plone}


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/tapestry`, or `~/.cache/tapestry` where that is unset or relative."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "tapestry"


def prepare(cache: Path, say: Callable[[str], None], prefer: SourceName | None = None) -> Corpus:
    """The corpus of the preferred source (Debian when none is named), or of the other one, with a note why.

    Args:
        cache: folder for fetched text; made when absent. A complete corpus in it is used without any network.
        say: told, in a few words each, what is going on.

    Raises:
        DataError: no source can be had, or the cache cannot be written.
    """
    names = sorted(_SOURCES, key=lambda name: name != (prefer or debian.SOURCE))
    failures: list[str] = []
    for name in names:
        source = _SOURCES[name]
        try:
            corpus = store.load(cache, name, source.VERSION)
            if corpus is None:
                raw = source.fetch(cache, say)
                say("Removing repeats and what also stands in the held-out text")
                corpus = store.save(cache, raw)
        except DataError as error:
            say(f"No text from {name}: {error}")
            failures.append(f"No text from {name}: {error}.")
        except OSError as error:
            raise DataError(f"the cache {cache} cannot be used: {error.strerror or error}") from error
        else:
            return _with_notes(corpus, failures)
    raise DataError(f"no text for the pilot ({' '.join(failures)} Name a folder per region with --data instead.)")


def _with_notes(corpus: Corpus, failures: list[str]) -> Corpus:
    sizes = ", ".join(f"{language} {path.stat().st_size / 1e6:.2f} MB" for language, path in corpus.train.items())
    return Corpus(
        source=corpus.source,
        train=corpus.train,
        held_out=corpus.held_out,
        notes=(*failures, *corpus.notes, f"Training text: {sizes}."),
        licences=corpus.licences,
    )
