"""What is recorded of a data set: whose it is, where it comes from, what restricts it, and who may see that.

    public       what kind of thing it is, its label, what it may be used for, whether anybody has judged its quality
    consortium   whose it is, licences, residency, protections, language, and what it was made from
    private      its name, what it is known by, and the digest of its content

The id is a salted commitment to the private fields: an artefact can be spoken of, and named as an ancestor, without
saying what it is; its owner can reveal the salt later. No I/O.
"""

import hashlib
from typing import Literal

import msgspec

from swarm.sovereignty.entry import SALT_BYTES, Tier
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import Restrictions
from swarm.sovereignty.policy import Dataset
from swarm.sovereignty.uses import Privacy, Use

NOT_ASSESSED = "not assessed"


class DataUsed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One data set that a peer trains on, as who started the peer has found it. Local: no peer is ever sent one."""

    name: str
    label: Label
    residency: str
    licence: str
    uses: tuple[Use, ...]
    privacy: Privacy
    language: str = ""
    digest: str = ""
    """Hex BLAKE3 over names and contents of its files; empty where a script reads the data itself."""
    files: int = 0
    bytes: int = 0

    @property
    def votes(self) -> bool:
        """What is trained on is not what candidate bases are scored on."""
        return False

    @classmethod
    def of(cls, dataset: Dataset, *, digest: str = "", files: int = 0, bytes: int = 0) -> "DataUsed":
        """A policy's data set, with what was found of it; by name only, if nothing was."""
        return cls(
            name=dataset.name,
            label=dataset.label,
            residency=dataset.residency,
            licence=dataset.licence,
            uses=dataset.uses,
            privacy=dataset.privacy,
            language=dataset.language,
            digest=digest,
            files=files,
            bytes=bytes,
        )


class Artefact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One record, with everything its owner knows."""

    artifact_id: str
    artifact_type: Literal["dataset"]
    visibility: Label
    use_constraints: tuple[str, ...]
    quality: str = NOT_ASSESSED

    owner: str
    """Member whose data it is."""
    rights: tuple[str, ...]
    """Licences, all of which hold."""
    residency: tuple[str, ...] | None
    """Jurisdictions it may be used in; None for everywhere."""
    privacy: tuple[str, ...] = ()
    """Protections without which nothing derived from it leaves."""
    language: str = ""
    lineage: tuple[str, ...] = ()
    """Ids of what it was made from."""

    source: str
    """What its owner calls it."""
    provenance: str
    version: str
    """Hex digest of its content; empty where that is not known."""
    salt: "Octets"


Octets = bytes
"""`bytes`, for classes that have a field of that name."""

_CONSORTIUM = ("owner", "rights", "residency", "privacy", "language", "lineage")
_PRIVATE = ("source", "provenance", "version", "salt")


def id_of(salt: bytes, source: str, version: str) -> str:
    """The commitment by which an artefact is known."""
    return hashlib.sha256(salt + msgspec.json.encode([source, version])).hexdigest()


def record_of(data: DataUsed, restrictions: Restrictions, *, owner: str, salt: bytes) -> Artefact:
    """The record of a data set, under a salt of 32 bytes from the system's generator, drawn once for each content."""
    assert len(salt) == SALT_BYTES, len(salt)
    residency = restrictions.residency
    return Artefact(
        artifact_id=id_of(salt, data.name, data.digest),
        artifact_type="dataset",
        visibility=restrictions.label,
        use_constraints=tuple(sorted(restrictions.uses)),
        owner=owner,
        rights=tuple(sorted(restrictions.licences)),
        residency=None if residency is None else tuple(sorted(residency)),
        privacy=tuple(sorted(restrictions.privacy)),
        language=data.language,
        source=data.name,
        provenance=f"{data.files} files, {data.bytes} bytes, on the owner's machine",
        version=data.digest,
        salt=salt,
    )


def is_what_it_says(artefact: Artefact) -> bool:
    """Whether the id is the commitment to the private fields."""
    return artefact.artifact_id == id_of(artefact.salt, artefact.source, artefact.version)


def view(artefact: Artefact, tier: Tier) -> dict[str, object]:
    """The fields that a tier may see, in their order."""
    hidden = {Tier.PUBLIC: (*_CONSORTIUM, *_PRIVATE), Tier.CONSORTIUM: _PRIVATE, Tier.PRIVATE: ()}[tier]
    fields: dict[str, object] = msgspec.to_builtins(artefact)
    return {name: value for name, value in fields.items() if name not in hidden}
