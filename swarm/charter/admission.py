"""Who may take part: `admit` judges a passport against the charter.

Pure. The rules, of which the first that is broken is the answer:

1. the passport is for this run and for the peer that the transport authenticated;
2. its member is one of the charter's and signed it, with a key that is not the peer's own;
   or the run admits volunteers (open, mixed), the member is "open" and the peer signed for itself;
3. it is not revoked: neither it, nor its peer's passports, nor all that its signer has signed;
4. it is valid now, and the charter places its jurisdiction in the region it names.
"""

from dataclasses import dataclass
from enum import StrEnum

from swarm.charter.manifest import Charter
from swarm.charter.passport import Passport, SignedPassport, signature_holds
from swarm.charter.revocation import NOTHING_REVOKED, Revoked
from swarm.charter.rules import OPEN_MEMBER
from swarm.identity.peer_id import PeerId


class Reason(StrEnum):
    """Why somebody was refused. Stable: these codes go into ledgers and metrics."""

    WRONG_RUN = "wrong_run"
    WRONG_PEER = "wrong_peer"
    UNKNOWN_MEMBER = "unknown_member"
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WRONG_REGION = "wrong_region"
    SELF_SIGNED = "self_signed"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Admitted:
    passport: Passport


@dataclass(frozen=True, slots=True)
class Refused:
    reason: Reason


def admit(
    signed: SignedPassport,
    remote: PeerId,
    charter: Charter,
    run_id: str,
    now_s: float,
    revoked: Revoked = NOTHING_REVOKED,
) -> Admitted | Refused:
    """Judges the passport that `remote` showed; `now_s` is in Unix seconds.

    The charter is verified already, and `run_id` is the run's own (it stays when a charter is amended).
    """
    passport = signed.payload
    if passport.run_id != run_id:
        return Refused(Reason.WRONG_RUN)
    if passport.peer_id != remote:
        return Refused(Reason.WRONG_PEER)
    refusal = _judge_signer(signed, charter)
    if refusal is not None:
        return Refused(refusal)
    if revoked.withdraws(signed):
        return Refused(Reason.REVOKED)
    if now_s < passport.not_before:
        return Refused(Reason.NOT_YET_VALID)
    if now_s >= passport.expires:
        return Refused(Reason.EXPIRED)
    if charter.region_of(passport.jurisdiction) != passport.region:
        return Refused(Reason.WRONG_REGION)
    return Admitted(passport)


def _judge_signer(signed: SignedPassport, charter: Charter) -> Reason | None:
    passport = signed.payload
    self_signed = signed.signer == passport.peer_id
    if charter.admits_volunteers and passport.member == OPEN_MEMBER:
        expected = passport.peer_id
    elif self_signed:
        return Reason.SELF_SIGNED
    else:
        keys = [member.key for member in charter.members if member.name == passport.member]
        if not keys:
            return Reason.UNKNOWN_MEMBER
        expected = keys[0]
    if signed.signer != expected or not signature_holds(signed):
        return Reason.BAD_SIGNATURE
    return None
