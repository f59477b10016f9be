"""A peer's policy file: which data sets lie in its data folder, and under which label, residency, licence and uses.

Fails closed: a version it does not know, a key it does not know, a data file that no data set covers, or that
two cover, is refused. Says what data is, never what may leave: that is `gate.py`. The rules:

 1. data files are `*.txt`, `*.jsonl` and `*.parquet`, at any depth; every other file is ignored and never read;
 2. every data file belongs to exactly one data set, by globs relative to the folder (`**` for any depth); a folder's
    name without wildcards stands for all below it;
 3. nothing outside the folder is reached: no `..`, no absolute glob, no link that leads out;
 4. label, residency, licence, language and uses must be there; there are no defaults. The keys with one are `privacy`
    ("licence", the protections that every peer has anyway), `votes` (false) and `field` ("text").
"""

import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec
import rfc8785

from swarm.charter.rules import is_jurisdiction
from swarm.errors import DataError, PolicyError, UnlabelledDataError, UsageError
from swarm.isolation.levels import LADDER, NONE
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import restrictions_of
from swarm.sovereignty.reasons import Reason
from swarm.sovereignty.uses import Privacy, Use

POLICY_NAME = "policy.toml"
POLICY_VERSION = 2
MAX_POLICY_BYTES = 1_048_576
MAX_DATASETS = 128
MAX_TEXT_CHARACTERS = 200
MAX_SERVICES = 16
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")
DATA_SUFFIXES = (".txt", ".jsonl", ".parquet")


class Dataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    files: tuple[str, ...]
    """Globs relative to the data folder."""
    label: Label
    residency: str
    """ISO 3166 alpha-2 code of the jurisdiction whose law applies to the data."""
    licence: str
    language: str
    uses: tuple[Use, ...]
    """What it may be used for; every other use is refused."""
    privacy: Privacy = Privacy.LICENCE
    """The protection without which nothing derived from it may leave."""
    votes: bool = False
    """Of private data for evaluation: that its word on a candidate base, one bit, may leave all the same."""
    field: str = "text"
    """In files of rows (JSON lines, Parquet): what holds the text."""


class DpRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[dp]` table: how training on data with `privacy = "dp"` is done, and when it ends."""

    epsilon: float
    """The budget over all rounds; training stops before it would be passed."""
    noise_multiplier: float
    """Standard deviation of the noise on a sum of clipped gradients, in units of `max_grad_norm`."""
    max_grad_norm: float
    """L2 norm that the gradient of one unit is clipped to."""
    unit: Literal["sequence", "document"] = "sequence"
    """What one record is: whose presence the guarantee hides."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[2]
    datasets: tuple[Dataset, ...]
    dp: DpRules | None = None
    isolation: str = NONE
    """The trainer's isolation below which nothing is trained: a level of `swarm.isolation.levels`."""
    figures_to: tuple[str, ...] = ()
    """Addresses of metrics services outside the run that this peer's own figures may go to."""
    origin: str = ""
    """Where the policy was read from, for messages; not part of the file."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the policy in canonical JSON (RFC 8785): what decisions name as the policy they follow."""
        content = msgspec.to_builtins(msgspec.structs.replace(self, origin=""))
        if not self.figures_to:
            del content["figures_to"]  # a policy that names none has the digest it always had
        for dataset in content["datasets"]:
            if not dataset["votes"]:
                del dataset["votes"]  # likewise
        return hashlib.sha256(rfc8785.dumps(content)).hexdigest()


OPEN_ONLY = Policy(version=2, datasets=(), origin="the built-in open-only policy")
"""Of a peer in an open run whose owner labels nothing: what it trains on counts as open, for the Shared Base only."""


@dataclass(frozen=True, slots=True)
class LabelledFile:
    path: Path
    dataset: Dataset


class _PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[2]
    dataset: tuple[Dataset, ...]
    isolation: str = NONE
    dp: DpRules | None = None
    figures_to: tuple[str, ...] = ()


class _Versioned(msgspec.Struct, frozen=True):
    """Of any policy file: looked at first, so that another version is refused in words that help."""

    version: int


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
        raise PolicyError(f"cannot read the policy file {path}: {error.strerror}", Reason.UNREADABLE) from None
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(f"{path} is longer than {MAX_POLICY_BYTES} bytes", Reason.TOO_LONG)
    policy = _decode(data, path)
    _check(policy, path)
    return policy


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


def is_held_out(dataset: Dataset) -> bool:
    """Whether new bases may be scored on this data for this peer's votes: it is for evaluation and not trained on.

    What such a vote may say is the gate's to decide (`Gate.check_verdict`). Data whose word may not leave stays unread.
    """
    return _is_for_evaluation_alone(dataset) and restrictions_of(dataset, NONE).votes


def is_silent(dataset: Dataset) -> bool:
    """Whether this data is for evaluation alone, and no vote of this peer may rest on it."""
    return _is_for_evaluation_alone(dataset) and not restrictions_of(dataset, NONE).votes


def _is_for_evaluation_alone(dataset: Dataset) -> bool:
    return Use.EVALUATION in dataset.uses and Use.SHARED_BASE not in dataset.uses


def files_for(labelled: Sequence[LabelledFile], use: Use, *, all_of_them: bool = False) -> tuple[LabelledFile, ...]:
    """Those whose data set may be used for something; all must, where one cannot be had without the others.

    Raises:
        PolicyError: there are none, or one that must be and is not.
    """
    allowed = tuple(file for file in labelled if use in file.dataset.uses)
    refused = [file for file in labelled if use not in file.dataset.uses]
    if not allowed or (all_of_them and refused):
        raise PolicyError(
            f"{refused[0].path}: its data set {refused[0].dataset.name} may be used for "
            f"{', '.join(refused[0].dataset.uses)}, not for {use}",
            Reason.PURPOSE_MISMATCH,
        )
    return allowed


def _decode(data: bytes, path: Path) -> Policy:
    try:
        version = msgspec.toml.decode(data, type=_Versioned).version
        if version != POLICY_VERSION:
            raise PolicyError(_other_version(path, version), Reason.UNKNOWN_VERSION)
        parsed = msgspec.toml.decode(data, type=_PolicyFile)
    except msgspec.ValidationError as error:
        cause = f"{path}: {str(error).replace('$.', '')}"
        if "missing required field `label`" in cause:
            raise UnlabelledDataError(f"{cause}: data without a label is refused") from None
        raise PolicyError(cause, _code_of(cause)) from None
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise PolicyError(f"{path} is not TOML: {error}", Reason.NOT_TOML) from None
    return Policy(
        version=parsed.version,
        datasets=parsed.dataset,
        dp=parsed.dp,
        isolation=parsed.isolation,
        figures_to=parsed.figures_to,
        origin=str(path),
    )


def _code_of(cause: str) -> Reason:
    """What kind of fault a sentence of the decoder's is about."""
    if "missing required field" in cause:
        return Reason.MISSING_FIELD
    if "unknown field" in cause:
        return Reason.UNKNOWN_KEY
    return Reason.UNKNOWN_LABEL if cause.endswith("].label`") else Reason.BAD_VALUE


def _other_version(path: Path, version: int) -> str:
    if version == 1:
        return (
            f"{path}: policy version 1 does not say what data may be used for: write version = {POLICY_VERSION}, and "
            f"in every [[dataset]] uses = [...] out of {', '.join(Use)}"
        )
    return f"{path}: version {version} is not one this program knows ({POLICY_VERSION}), so nothing in it is used"


def _check(policy: Policy, path: Path) -> None:
    if policy.isolation not in LADDER:
        raise PolicyError(f"{path}: isolation is {policy.isolation!r}, not one of {', '.join(LADDER)}")
    if policy.dp is not None:
        for key in ("epsilon", "noise_multiplier", "max_grad_norm"):
            value = getattr(policy.dp, key)
            if not (math.isfinite(value) and value > 0):
                raise PolicyError(f"{path}: dp.{key} is {value}, expected a number above 0")
    if len(policy.figures_to) > MAX_SERVICES:
        raise PolicyError(f"{path}: figures_to names {len(policy.figures_to)} addresses, at most {MAX_SERVICES}")
    for address in policy.figures_to:
        if not _ADDRESS.fullmatch(address):
            raise PolicyError(f"{path}: figures_to: {address!r} is not of the form https://HOST[:PORT]")
    if len(policy.datasets) > MAX_DATASETS:
        raise PolicyError(f"{path}: {len(policy.datasets)} data sets, at most {MAX_DATASETS}; one may have many files")
    names: set[str] = set()
    for dataset in policy.datasets:
        for key in ("name", "licence", "language", "field"):
            text = getattr(dataset, key)
            if not text.strip() or not text.isprintable():
                raise PolicyError(f"{path}: dataset.{key} is empty or has control characters")
            if len(text) > MAX_TEXT_CHARACTERS:
                raise PolicyError(f"{path}: dataset.{key} is longer than {MAX_TEXT_CHARACTERS} characters")
        if dataset.name in names:
            raise PolicyError(f"{path}: two data sets are called {dataset.name}")
        names.add(dataset.name)
        if not is_jurisdiction(dataset.residency):
            raise PolicyError(
                f"{path}: dataset.residency of {dataset.name} is {dataset.residency!r}, not a two-letter "
                "ISO 3166 code such as DE"
            )
        if not dataset.uses:
            raise PolicyError(f"{path}: dataset.uses of {dataset.name} is empty: it may be used for nothing")
        if dataset.votes and dataset.privacy is not Privacy.LICENCE:
            raise PolicyError(f'{path}: {dataset.name} has privacy = "{dataset.privacy}", and no vote is under that')
        if dataset.privacy is Privacy.DP and policy.dp is None:
            raise PolicyError(f'{path}: {dataset.name} has privacy = "dp", and there is no [dp] table')
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
    tokens: list[str] = re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", glob.removeprefix("./").removesuffix("/"))
    below = "" if "*" in glob or "?" in glob else "(?:/.*)?"
    return re.compile("".join(wildcards.get(token) or re.escape(token) for token in tokens) + below, re.DOTALL)
