"""Amendments: a new epoch of a run's rules, signed by the members that the epoch before has in force.

A document holds the complete new charter, names the epoch it follows by digest, and says from which round on it counts.
The run keeps its id. This file makes, encodes and reads documents, and says what one may change at all; which of them
are in force is `swarm.charter.epochs`.

An amendment changes who takes part and the rules they are held to: `MAY_CHANGE`. It may add regions, and not move what
belongs to one, since single updates travel inside it. Everything else is the same in every epoch, so what training made
before stays what it is: the model and its state 0, the training and outer rules, the layout of chunks on wire and disk,
how updates are summed and kept private, founders and genesis. Nothing in an amendment reaches a member's own policy
file: the gate judges with that, whatever the charter says; and leaving needs no charter.
"""

import hashlib
from typing import Any

import msgspec
import rfc8785

from swarm.charter.manifest import Charter
from swarm.charter.rules import check_charter
from swarm.charter.signing import Signature, content_of
from swarm.errors import CharterError

AMENDMENT_DOMAIN = "amendment"
MAX_EPOCH = 10_000
MAX_FROM_ROUND = 2**40
MAX_REASON_CHARACTERS = 500
_DIGEST_HEX = 64
MAY_CHANGE: dict[str, tuple[str, ...]] = {
    "run": ("expires",),
    "reduce": ("min_contributors", "single_update_may_cross", "max_rms"),
    "weights": ("policy", "cap_percent"),
    "deadlines": ("floor_s", "ceiling_s", "mad_factor"),
    "quorum": ("island",),
    "admission": ("kind",),
    "regions": (),
    "members": (),
    "data": (),
    "governance": (),
    "quality": (),
}
"""Tables, and which of their keys; all of a table's where none is named. What is added to charters later is fixed."""


class Amendment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload that members sign."""

    run_id: str
    """Of the genesis charter, in every epoch."""
    epoch: int
    """1 for the first amendment."""
    previous: str
    """Hex digest of the epoch before: of its amendment, or the run id for epoch 1."""
    from_round: int
    """The first round it may govern."""
    charter: Charter
    """The whole new charter."""
    reason: str


class SignedAmendment(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="amendment"
):
    """An envelope: nothing in it is to be believed before `swarm.charter.epochs` has judged it."""

    amendment: Amendment
    signatures: tuple[Signature, ...] = ()


def amendment_bytes(amendment: Amendment) -> bytes:
    """What is signed: canonical JSON (RFC 8785). Raises CharterError for a number that JSON cannot hold exactly."""
    try:
        return rfc8785.dumps(content_of_amendment(amendment))
    except rfc8785.CanonicalizationError as error:
        raise CharterError(f"the amendment has no canonical form: {error}") from None


def content_of_amendment(amendment: Amendment) -> dict[str, Any]:
    """The payload as what is signed and written."""
    return msgspec.to_builtins(amendment) | {"charter": content_of(amendment.charter)}


def amendment_digest(amendment: Amendment) -> str:
    """Hex SHA-256 of the payload: the epoch's name in the next one and in rosters, whoever signed it."""
    return hashlib.sha256(amendment_bytes(amendment)).hexdigest()


def check_amendment(amendment: Amendment, before: Charter) -> None:
    """Judges the payload alone, against the charter of the epoch before.

    Raises:
        CharterError: one sentence with the first rule that is broken.
    """
    # Genesis names members of its own time: one that is gone since makes no charter wrong.
    genesis = msgspec.structs.replace(amendment.charter.genesis, members=())
    check_charter(msgspec.structs.replace(amendment.charter, genesis=genesis))
    if not 1 <= amendment.epoch <= MAX_EPOCH:
        raise CharterError(f"the amendment's epoch is {amendment.epoch}, expected 1 to {MAX_EPOCH}")
    if not 1 <= amendment.from_round <= MAX_FROM_ROUND:
        raise CharterError(f"the amendment counts from round {amendment.from_round}, expected 1 to {MAX_FROM_ROUND}")
    if len(amendment.previous) != _DIGEST_HEX:
        raise CharterError("the amendment does not name the epoch before by its digest")
    check_reason(amendment.reason)
    _check_regions(before, amendment.charter)
    changed = fixed_changes(before, amendment.charter)
    if changed:
        raise CharterError(
            f"the amendment changes {', '.join(changed)}, and that is the same in every epoch of a run: "
            "found another run for it"
        )


def _check_regions(before: Charter, after: Charter) -> None:
    """Regions may be added. What belongs to one stays: single updates travel inside it, and members joined under that.

    Raises:
        CharterError: a region is gone, or has other jurisdictions.
    """
    now = {region.name: set(region.jurisdictions) for region in after.regions}
    for region in before.regions:
        if now.get(region.name) != set(region.jurisdictions):
            raise CharterError(
                f"the amendment changes what belongs to region {region.name}, inside which single updates travel: "
                "add another region for it"
            )


def check_reason(reason: str) -> None:
    """A sentence for people. Raises CharterError when it is missing, too long, or not printable."""
    if not 1 <= len(reason) <= MAX_REASON_CHARACTERS or not reason.isprintable():
        raise CharterError(f"the reason must be a sentence of 1 to {MAX_REASON_CHARACTERS} printable characters")


def fixed_changes(before: Charter, after: Charter) -> list[str]:
    """What differs and must not, as `table.key` or `table`."""
    changed: list[str] = []
    for table in Charter.__struct_fields__:
        old, new = getattr(before, table), getattr(after, table)
        if old == new:
            continue
        keys = MAY_CHANGE.get(table)
        if keys is None:
            changed.append(table)
        elif keys:
            changed += [f"{table}.{key}" for key in _differing(old, new) if key not in keys]
    return changed


def _differing(old: Any, new: Any) -> list[str]:
    return [key for key in old.__struct_fields__ if getattr(old, key) != getattr(new, key)]
