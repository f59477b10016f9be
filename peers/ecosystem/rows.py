"""Files of rows, JSON lines or Parquet, as plain text that a trainer can map into memory: one document after another.

    *.txt           as they are
    *.jsonl        one object a line, with the text under `field`; read line by line
    *.parquet      a table with a column of that name; read by `datasets` as a stream, never whole

A Sovereign Build keeps the text in its own folder, under a name that depends on the file as it was (`as_text`). A
peer's trainer keeps it without a name (`as_nameless_text`): its scratch folder lies where the node can read. A row that
cannot be read is named, never skipped, and its content is not shown.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import blake3
import msgspec

from swarm.errors import DataError

TEXT_FIELD = "text"
ROW_SUFFIXES = (".jsonl", ".parquet")
_FOLDER = "texts"
_SEPARATOR = b"\n"
_OURS = re.compile(r"[0-9a-f]{64}\.(txt|part)")


def as_text(paths: Sequence[Path], fields: Mapping[str, str], scratch: Path) -> list[Path]:
    """Each file as a file of plain text: itself, or one below `scratch`; texts of files that are gone are removed.

    Args:
        fields: by path, the field that holds the text, where it is another than "text".

    Raises:
        DataError: a file or a row that cannot be read, or has no text under its field (and which).
    """
    folder = scratch / _FOLDER
    made = {path: folder / _name(path, _field(path, fields)) for path in paths if path.suffix in ROW_SUFFIXES}
    if folder.is_dir():
        for old in set(folder.iterdir()) - set(made.values()):
            if _OURS.fullmatch(old.name):
                old.unlink()
    for path, text in made.items():
        if not text.exists():
            _write(text, _documents(path, _field(path, fields)))
    return [made.get(path, path) for path in paths]


def as_nameless_text(paths: Sequence[Path], fields: Mapping[str, str], scratch: Path) -> list[Path]:
    """As `as_text`, for this process alone: texts have no name in any folder, and are gone when it ends.

    What is returned for them opens in this process and its children only. The arguments and errors are the same.
    """
    forget_texts(scratch)
    return [
        _nameless(scratch, _documents(path, _field(path, fields))) if path.suffix in ROW_SUFFIXES else path
        for path in paths
    ]


def forget_texts(scratch: Path) -> None:
    """Removes texts that `as_text` has left below a scratch folder."""
    for old in (scratch / _FOLDER).glob("*"):
        if _OURS.fullmatch(old.name):
            old.unlink()


def _nameless(scratch: Path, documents: Iterator[str]) -> Path:
    try:
        with tempfile.TemporaryFile(dir=scratch) as file:
            for document in documents:
                file.write(document.encode("utf-8", "replace"))
                file.write(_SEPARATOR)
            file.flush()
            return Path(f"/proc/self/fd/{os.dup(file.fileno())}")  # open until the process ends
    except OSError as error:
        raise DataError(f"no text can be kept in {scratch}: {error.strerror}") from None


def _field(path: Path, fields: Mapping[str, str]) -> str:
    return fields.get(str(path), TEXT_FIELD)


def _name(path: Path, field: str) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    known_by = msgspec.json.encode([str(path), status.st_size, status.st_mtime_ns, field])
    return blake3.blake3(known_by).hexdigest() + ".txt"


def _write(text: Path, documents: Iterator[str]) -> None:
    part = text.with_suffix(".part")
    try:
        text.parent.mkdir(exist_ok=True)
        with part.open("wb") as file:
            for document in documents:
                file.write(document.encode("utf-8", "replace"))
                file.write(_SEPARATOR)
            file.flush()
            os.fsync(file.fileno())  # a text of this name is taken as it lies, also after a power cut
        part.replace(text)
    except OSError as error:
        raise DataError(f"{text} cannot be written: {error.strerror}") from None


def _documents(path: Path, field: str) -> Iterator[str]:
    return _json_lines(path, field) if path.suffix == ".jsonl" else _parquet_rows(path, field)


def _json_lines(path: Path, field: str) -> Iterator[str]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.isspace():
                    continue
                try:
                    row = decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    raise DataError(f"{path}, line {number}: not a JSON object") from None
                yield _text(row, field, f"{path}, line {number}")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _parquet_rows(path: Path, field: str) -> Iterator[str]:
    try:
        import datasets
        import pyarrow
        from datasets.exceptions import DatasetsError
    except ImportError:
        raise DataError(f"{path}: Parquet needs pip install 'tapestry-swarm[build]' (datasets)") from None
    row = 0
    try:
        table: Any = datasets.load_dataset("parquet", data_files=str(path), split="train", streaming=True)
        names: list[str] = [str(name) for name in table.column_names or ()]
        if field not in names:
            raise DataError(f"{path} has no column {field!r}, but {', '.join(names) or 'none at all'}")
        for each in table.select_columns([field]):
            row += 1
            yield _text(each, field, f"{path}, row {row}")
    except (OSError, ValueError, pyarrow.ArrowException, DatasetsError) as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path}, after row {row}: not a readable Parquet file: {cause}") from None


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    if field not in row:
        raise DataError(f"{where}: no field {field!r}")
    text = row[field]
    if not isinstance(text, str):
        raise DataError(f"{where}: {field!r} is {_KINDS.get(type(text), 'no text')}, not text")
    return text


_KINDS: dict[type, str] = {type(None): "null", int: "a number", float: "a number", bool: "a truth value"}
