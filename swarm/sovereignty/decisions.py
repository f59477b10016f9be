"""What the gate has decided, in a form that is kept: verdict, reason code, and the policy it follows.

Every decision on an update is an entry of the ledger (kind `decision`, to "gate", no bytes), denials included; so are
denials of aggregates. Permits of aggregates are named by the frames that went under them, and follow the policy named
by the newest `policy` entry before them.

    permit/update/7/allowed/<policy>/<basis>          round 7; the basis is the base and the attempt it was made for
    denied/update/7/purpose_mismatch/<policy>/<basis>
    permit/verdict/7/verdict_only/<policy>/-          its word on a new base: one bit, and no loss
    permit/figures/0/allowed/<policy>/-               to a metrics service outside the run, once a start
    policy/<policy>                                   from here on this policy is in force (swarm.sovereignty.trained)
"""

from dataclasses import dataclass
from typing import Literal

from swarm.sovereignty.reasons import Reason

DIGEST_CHARACTERS = 32
"""Of a state digest's hexadecimal digits; a policy's are written in full."""
_NONE = "-"


@dataclass(frozen=True)
class Decision:
    """One verdict of the gate."""

    verdict: Literal["permit", "denied"]
    subject: str
    """`update`, `aggregate`, `verdict` or `figures`."""
    round: int
    code: Reason
    policy: str
    """Hex SHA-256 of the policy in force; empty where there is none."""
    basis: str = ""
    """What an update was for (`basis_of`)."""
    reason: str = ""
    """A sentence for people; no part of the line."""

    @property
    def line(self) -> str:
        """As the ledger names it."""
        fields = (self.verdict, self.subject, str(self.round), self.code.value, self.policy, self.basis)
        return "/".join(field or _NONE for field in fields)


def read_decision(line: str) -> Decision | None:
    """The decision in a ledger entry's permit field; None if it is something else."""
    parts = line.split("/")
    if len(parts) != 6 or not parts[2].isdecimal() or parts[3] not in tuple(Reason):
        return None
    verdict, subject, round_text, code, policy, basis = ("" if part == _NONE else part for part in parts)
    if verdict not in ("permit", "denied"):
        return None
    known = "permit" if verdict == "permit" else "denied"
    return Decision(known, subject, int(round_text), Reason(code), policy, basis)


def basis_of(state_digest: bytes, term: int, attempt: int) -> str:
    """The state before a round (the first half of its digest), and the attempt whose roster an update went into.

    It tells a round from one of the same number that founders have taken back: that was of an earlier term.
    """
    return f"{state_digest.hex()[:DIGEST_CHARACTERS]}@{term}.{attempt}"
