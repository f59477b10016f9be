"""A peer's policy file: which data sets lie in its data folder, and under which label, residency and licence.

Fails closed: a version it does not know, a key it does not know, a data file that no data set covers, or that
two cover, is refused. Says what data is, never what may leave: that is `gate.py`. The rules:

 1. data files are `*.txt` and `*.jsonl`, at any depth; every other file is ignored and never read;
 2. every data file belongs to exactly one data set, by globs relative to the folder (`**` for any depth);
 3. nothing outside the folder is reached: no `..`, no absolute glob, no link that leads out;
 4. label, residency, licence and language must be there; there are no defaults.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

from swarm.charter.rules import is_jurisdiction
from swarm.errors import DataError, PolicyError, UnlabelledDataError, UsageError
from swarm.isolation.levels import LADDER, NONE
from swarm.sovereignty.labels import Label

POLICY_NAME = "policy.toml"
MAX_POLICY_BYTES = 1_048_576
DATA_SUFFIXES = (".txt", ".jsonl")


class Dataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    files: tuple[str, ...]
    """Globs relative to the data folder."""
    label: Label
    residency: str
    """ISO 3166 alpha-2 code of the jurisdiction whose law applies to the data."""
    licence: str
    language: str


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[1]
    datasets: tuple[Dataset, ...]
    isolation: str = NONE
    """The trainer's isolation below which nothing is trained: a level of `swarm.isolation.levels`."""
    origin: str = ""
    """Where the policy was read from, for messages and the ledger; not part of the file."""


@dataclass(frozen=True, slots=True)
class LabelledFile:
    path: Path
    dataset: Dataset


class _PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    dataset: tuple[Dataset, ...]
    isolation: str = NONE


def find_policy(folder: Path, explicit: Path | None) -> Path:
    """The policy file of a data folder: the one that was named, else `policy.toml` inside the folder.

    Raises:
        UsageError: the named file does not exist.
        UnlabelledDataError: none was named and the folder has none.
    """
    if explicit is not None:
        if not explicit.exists():
            raise UsageError(f"policy file {explicit} does not exist")
        return explicit
    inside = folder / POLICY_NAME
    if not inside.is_file():
        raise UnlabelledDataError(f"{folder} has no {POLICY_NAME}: data without a label is refused")
    return inside


def read_policy(path: Path) -> Policy:
    """The policy in a file.

    Raises:
        UsageError: nothing lies at `path`.
        UnlabelledDataError: a data set without a label.
        PolicyError: not readable, not TOML, or a key that is missing, unknown or wrong (and which).
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"policy file {path} does not exist") from None
    except OSError as error:
        raise PolicyError(f"cannot read the policy file {path}: {error.strerror}") from None
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(f"{path} is longer than {MAX_POLICY_BYTES} bytes")
    policy = _decode(data, path)
    _check(policy, path)
    return policy


def sovereign_in(datasets: Iterable[Dataset]) -> tuple[str, ...]:
    """Jurisdictions that data sets labelled sovereign belong to, and outside which they may not be used."""
    return tuple(sorted({dataset.residency for dataset in datasets if dataset.label is Label.SOVEREIGN}))


def label_folder(folder: Path, policy: Policy) -> tuple[LabelledFile, ...]:
    """Every data file below the folder with the one data set it belongs to, sorted by path.

    Raises:
        UsageError: the folder does not exist.
        DataError: it is no folder, not readable, holds no data files, or a link in it leads out.
        UnlabelledDataError: a data file that no data set covers, or that more than one does (and which).
    """
    patterns = [(dataset, tuple(_glob_pattern(glob) for glob in dataset.files)) for dataset in policy.datasets]
    labelled: list[LabelledFile] = []
    for path in _data_files(folder):
        name = path.relative_to(folder).as_posix()
        owners = [dataset for dataset, globs in patterns if any(glob.fullmatch(name) is not None for glob in globs)]
        if not owners:
            raise UnlabelledDataError(f"{path} has no label: no data set in {policy.origin} covers it")
        if len(owners) > 1:
            both = f"{owners[0].name} and {owners[1].name}"
            raise UnlabelledDataError(f"{path} has no clear label: data sets {both} both cover it")
        labelled.append(LabelledFile(path, owners[0]))
    if not labelled:
        raise DataError(f"{folder} holds no data: no {' or '.join('*' + s for s in DATA_SUFFIXES)} file in it")
    return tuple(labelled)


def _decode(data: bytes, path: Path) -> Policy:
    try:
        parsed = msgspec.toml.decode(data, type=_PolicyFile)
    except msgspec.ValidationError as error:
        cause = f"{path}: {str(error).replace('$.', '')}"
        if "missing required field `label`" in cause:
            raise UnlabelledDataError(f"{cause}: data without a label is refused") from None
        raise PolicyError(cause) from None
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise PolicyError(f"{path} is not TOML: {error}") from None
    return Policy(version=parsed.version, datasets=parsed.dataset, isolation=parsed.isolation, origin=str(path))


def _check(policy: Policy, path: Path) -> None:
    if policy.isolation not in LADDER:
        raise PolicyError(f"{path}: isolation is {policy.isolation!r}, not one of {', '.join(LADDER)}")
    names: set[str] = set()
    for dataset in policy.datasets:
        for key in ("name", "licence", "language"):
            text = getattr(dataset, key)
            if not text.strip() or not text.isprintable():
                raise PolicyError(f"{path}: dataset.{key} is empty or has control characters")
        if dataset.name in names:
            raise PolicyError(f"{path}: two data sets are called {dataset.name}")
        names.add(dataset.name)
        if not is_jurisdiction(dataset.residency):
            raise PolicyError(
                f"{path}: dataset.residency of {dataset.name} is {dataset.residency!r}, not a two-letter "
                "ISO 3166 code such as DE"
            )
        if not dataset.files:
            raise PolicyError(f"{path}: dataset.files of {dataset.name} is empty")
        for glob in dataset.files:
            if not glob or "\\" in glob or PurePosixPath(glob).is_absolute() or ".." in glob.split("/"):
                raise PolicyError(f"{path}: dataset.files of {dataset.name}: {glob!r} leaves the data folder")


def _data_files(folder: Path) -> list[Path]:
    """Data files below the folder, sorted; linked folders are not entered."""
    if not folder.exists():
        raise UsageError(f"data folder {folder} does not exist")
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    root = folder.resolve()
    found: list[Path] = []

    def unreadable(error: OSError) -> None:
        raise DataError(f"cannot read {error.filename}: {error.strerror}")

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        for name in (*folders, *names):
            path = Path(parent, name)
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                raise DataError(f"{path} is a link that leads out of the data folder")
        found += [
            path for path in (Path(parent, name) for name in names) if path.suffix in DATA_SUFFIXES and path.is_file()
        ]
    return sorted(found)


def _glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression over the path below the folder: `**/` any depth, `*` and `?` within one
    name."""
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens: list[str] = re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", glob.removeprefix("./"))
    return re.compile("".join(wildcards.get(token) or re.escape(token) for token in tokens), re.DOTALL)
