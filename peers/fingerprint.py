"""Which data a peer trains on, for its own records: each data set's digest, over the names and contents of its files.

Done by the process that starts the peer: the node never opens the data. A file is hashed again only if its size or its
time of change is another than last time (STATE/fingerprints.json, for its owner only); who forges those deceives
nobody but the owner of the records.
"""

from collections.abc import Sequence
from pathlib import Path

import blake3
import msgspec

from swarm.errors import DataError, StateError
from swarm.sovereignty.artefacts import DataUsed
from swarm.sovereignty.policy import Dataset, LabelledFile
from swarm.state.disk import replace_file

CACHE_NAME = "fingerprints.json"
_OWNER_ONLY = 0o600


class _Known(msgspec.Struct, frozen=True, array_like=True):
    size: int
    changed_ns: int
    digest: str


def data_used(folder: Path, labelled: Sequence[LabelledFile], state: Path) -> tuple[DataUsed, ...]:
    """The data sets that these files of a data folder belong to, by name. Raises DataError or StateError."""
    known = _read_cache(state / CACHE_NAME)
    by_set: dict[str, list[tuple[str, _Known]]] = {}
    datasets: dict[str, Dataset] = {}
    fresh: dict[str, _Known] = {}
    for file in labelled:
        path = str(file.path.absolute())
        fresh[path] = _fingerprint(file.path, known.get(path))
        name = file.path.relative_to(folder).as_posix()
        by_set.setdefault(file.dataset.name, []).append((name, fresh[path]))
        datasets[file.dataset.name] = file.dataset
    if fresh != known:
        try:
            state.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"cannot use the state folder {state}: {error.strerror}") from None
        replace_file(state / CACHE_NAME, [msgspec.json.encode(fresh)], mode=_OWNER_ONLY)
    return tuple(_used(datasets[name], by_set[name]) for name in sorted(datasets))


def _used(dataset: Dataset, files: Sequence[tuple[str, _Known]]) -> DataUsed:
    content = msgspec.json.encode([(name, known.digest) for name, known in sorted(files)])
    digest = blake3.blake3(content).hexdigest()
    return DataUsed.of(dataset, digest=digest, files=len(files), bytes=sum(known.size for _, known in files))


def _fingerprint(path: Path, known: _Known | None) -> _Known:
    try:
        status = path.stat()
        if known is not None and (known.size, known.changed_ns) == (status.st_size, status.st_mtime_ns):
            return known
        return _Known(status.st_size, status.st_mtime_ns, blake3.blake3().update_mmap(path).hexdigest())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _read_cache(path: Path) -> dict[str, _Known]:
    """What was hashed before; nothing if that cannot be read, since it can be hashed again."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, _Known])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
