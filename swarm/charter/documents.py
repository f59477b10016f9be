"""Reading and writing one small document: size-limited, atomic, with the caller's kind of error.

Knows nothing of what is inside; charters and passports decode their own bytes.
"""

import os
import tempfile
from pathlib import Path

from swarm.errors import CharterError, PassportError, UsageError

DocumentError = type[CharterError] | type[PassportError]


def read_document(path: Path, max_bytes: int, error_type: DocumentError) -> bytes:
    """The file's bytes.

    Raises:
        UsageError: nothing lies at `path`.
        CharterError | PassportError: as `error_type` says, when it cannot be read or is longer than
            `max_bytes`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except OSError as error:
        raise error_type(f"cannot read {path}: {error.strerror}") from None
    if len(data) > max_bytes:
        raise error_type(f"{path} is longer than {max_bytes} bytes")
    return data


def write_document(path: Path, data: bytes, error_type: DocumentError) -> None:
    """Replaces the file in one step: whoever reads sees the old bytes or the new, also after a power cut.

    Raises:
        UsageError: the folder does not exist.
        CharterError | PassportError: as `error_type` says, when it cannot be written; the old file stays.
    """
    if not path.parent.is_dir():
        raise UsageError(f"folder {path.parent} does not exist")
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise error_type(f"cannot write {path}: {error.strerror}") from None
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)  # these documents are public; mkstemp made it private
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise error_type(f"cannot write {path}: {error.strerror}") from None
