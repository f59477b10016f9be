"""The files of an adopted checkpoint's tokenizer: which they are, their digest, and where a state folder has them.

A run's charter names the tokenizer by digest. A peer is given the checkpoint's folder and keeps the tokenizer in
STATE/tokenizer, so that whatever is made from the state folder alone (a Shared Base, a build, a bundle) has it as well.
Files are bytes here: nothing is parsed, and every reader compares the digest.
"""

import shutil
from pathlib import Path

from peers.build.weights import files_digest
from swarm.errors import ModelError
from swarm.state.disk import told
from swarm.state.shared_base import exports

TOKENIZER_NAME = "tokenizer.json"
TOKENIZER_FILES = (
    TOKENIZER_NAME,
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("tokenizer.model", "vocab.json", "merges.txt", "vocab.txt", "spiece.model"),
)
TOKENIZER_FOLDER = "tokenizer"
"""In a state folder."""


def tokenizer_files(folder: Path) -> list[str]:
    """Names of the tokenizer's files in a folder; none if there is no such folder."""
    return [name for name in TOKENIZER_FILES if (folder / name).is_file()]


def tokenizer_digest_of(folder: Path) -> str:
    """Hex BLAKE3 over the tokenizer's files; empty where there is none. Raises ModelError."""
    names = tokenizer_files(folder)
    return files_digest(folder / name for name in sorted(names)) if names else ""


def has_tokenizer(folder: Path, digest: str) -> bool:
    """Whether a folder holds the tokenizer of this digest; any does where a charter names none. Raises ModelError."""
    return not digest or tokenizer_digest_of(folder) == digest


def put_tokenizer(source: Path, folder: Path) -> None:
    """Copies the tokenizer's files into a folder that has none. Raises OSError."""
    for name in tokenizer_files(source):
        shutil.copyfile(source / name, folder / name)


def keep_tokenizer(state: Path, source: Path, digest: str) -> None:
    """Keeps the run's tokenizer in its state folder, if the one in `source` is that, and it is not kept yet.

    Args:
        digest: that the charter names; empty where tokens are bytes.

    Raises:
        StateError: the disk refuses.
        ModelError: a file cannot be read.
    """
    kept = state / TOKENIZER_FOLDER
    if has_tokenizer(kept, digest) or not has_tokenizer(source, digest):
        return
    with told(kept):
        shutil.rmtree(kept, ignore_errors=True)  # what a crash has left
        kept.mkdir()
        put_tokenizer(source, kept)


def tokenizer_of(state: Path, digest: str) -> Path:
    """The folder in a state folder that holds the run's tokenizer. Raises ModelError if none does."""
    kept = state / TOKENIZER_FOLDER
    for folder in (kept, *exports(state)):
        if has_tokenizer(folder, digest):
            return folder
    raise ModelError(
        f"{state} does not hold the tokenizer that this run began with ({digest[:16]}...): copy its files from the "
        f"checkpoint that the run was begun from to {kept}"
    )
