"""An Ed25519 identity and its key file, in the format that libp2p's daemon reads.

The file is libp2p's protobuf PrivateKey: the four bytes 08 01 12 40, the 32-byte seed, the 32-byte public
key. It is written once, for its owner only, and never overwritten. Who may take part is not decided here
(`swarm.charter.admission`).
"""

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from swarm.errors import IdentityError, UsageError
from swarm.identity.peer_id import PeerId, peer_id_of, pre_authentication, signed_bytes

_PREFIX = bytes((0x08, 0x01, 0x12, 0x40))
_SEED_BYTES = 32
_FILE_BYTES = len(_PREFIX) + 64
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Identity:
    """A private key. Its text form shows the peer id only, so that it never leaks into a log."""

    __slots__ = ("_key", "peer_id")

    peer_id: PeerId

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.peer_id = peer_id_of(key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> "Identity":
        """A new key from the system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> "Identity":
        """The key of a 32-byte seed: the same seed gives the same peer id, so only for tests and seeded
        demos."""
        assert len(seed) == _SEED_BYTES, len(seed)
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def load(cls, path: Path) -> "Identity":
        """Reads a key file.

        Raises:
            UsageError: nothing lies at `path`.
            IdentityError: not readable, not a key file, or readable by others than its owner.
        """
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise IdentityError(f"{path} is not a file")
            if status.st_mode & _OTHERS:
                raise IdentityError(f"others can read the key file {path}: run `chmod 600 {path}`")
            with path.open("rb") as file:
                raw = file.read(_FILE_BYTES + 1)
        except FileNotFoundError:
            raise UsageError(f"identity file {path} does not exist: make one with `tapestry keys new`") from None
        except OSError as error:
            raise IdentityError(f"cannot read the identity file {path}: {error.strerror}") from None
        return cls(_decode(raw, path))

    @classmethod
    def load_or_make(cls, path: Path) -> "Identity":
        """Reads a key file; makes it first if nothing lies there, so that a crash leaves a whole one or none.

        Raises:
            UsageError: the folder does not exist.
            IdentityError: as `load` and `save`.
        """
        if not path.exists():
            beside = path.with_name(f"{path.name}.new")
            try:
                beside.unlink(missing_ok=True)
                cls.generate().save(beside)
                beside.rename(path)
            except OSError as error:
                raise IdentityError(f"cannot write the identity file {path}: {error.strerror}") from None
        return cls.load(path)

    def save(self, path: Path) -> None:
        """Writes the key file, readable by its owner only.

        Raises:
            UsageError: the folder does not exist.
            IdentityError: something lies at `path` already, or it cannot be written.
        """
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:
            raise UsageError(f"folder {path.parent} does not exist") from None
        except FileExistsError:
            raise IdentityError(f"{path} exists already, and a key is never overwritten") from None
        except OSError as error:
            raise IdentityError(f"cannot write the identity file {path}: {error.strerror}") from None
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_PREFIX + self._key.private_bytes_raw() + self._key.public_key().public_bytes_raw())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            path.unlink(missing_ok=True)  # half a key helps nobody, and would block the next attempt
            raise IdentityError(f"cannot write the identity file {path}: {error.strerror}") from None

    def sign(self, domain: str, message: bytes) -> bytes:
        """A 64-byte Ed25519 signature; `swarm.identity.peer_id.verify` checks it against the same domain."""
        return self._key.sign(signed_bytes(domain, message))

    def sign_dsse(self, payload_type: str, payload: bytes) -> bytes:
        """A 64-byte Ed25519 signature over a DSSE envelope's payload; `peer_id.verify_dsse` checks it."""
        return self._key.sign(pre_authentication(payload_type, payload))

    def __repr__(self) -> str:
        return f"Identity({self.peer_id})"


def _decode(raw: bytes, path: Path) -> Ed25519PrivateKey:
    if len(raw) != _FILE_BYTES or not raw.startswith(_PREFIX):
        raise IdentityError(f"{path} is not an Ed25519 key file of libp2p")
    seed, public_key = raw[len(_PREFIX) :][:_SEED_BYTES], raw[len(_PREFIX) + _SEED_BYTES :]
    key = Ed25519PrivateKey.from_private_bytes(seed)
    if key.public_key().public_bytes_raw() != public_key:
        raise IdentityError(f"{path} is damaged: its public key does not belong to its private key")
    return key
