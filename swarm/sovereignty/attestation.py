"""Where an enclave's attestation would be checked: a typed hook, and a refusal as long as nothing stands behind it.

Data with `privacy = "enclave"` may be trained on only where a `Verifier` has said `Attested` of the trainer's quote.
This program brings no verifier and makes no quote: which hardware and whose root keys to trust is for those who run it
to decide, and a check that only looks like one would be worse than none. So the answer here is always `Refused`.
"""

from dataclasses import dataclass
from typing import Protocol

MAX_QUOTE_BYTES = 65_536
NONCE_BYTES = 32


@dataclass(frozen=True)
class Quote:
    """Signed evidence by a processor about what it runs."""

    kind: str
    """Of the hardware, such as "sev-snp" or "tdx"."""
    evidence: bytes
    """As the hardware made it."""
    nonce: bytes
    """The challenge that it must contain, so that an old one cannot be shown again."""


@dataclass(frozen=True)
class Attested:
    """The quote holds until `expires`."""

    measurement: str
    """Hex digest of what runs inside."""
    expires: int
    """Unix seconds."""


@dataclass(frozen=True)
class Refused:
    """Nothing may be trained on in there; `reason` is for people."""

    reason: str


class Verifier(Protocol):
    """Checks quotes of one kind of hardware; written and configured by who trusts that hardware."""

    def verify(self, quote: Quote, now_s: float) -> Attested | Refused: ...


def attest(quote: Quote | None, verifier: Verifier | None, now_s: float) -> Attested | Refused:
    """Whether a trainer runs in an enclave that its verifier accepts now."""
    if verifier is None:
        return Refused('privacy = "enclave" needs an attestation verifier, and none is configured')
    if quote is None:
        return Refused("the trainer showed no quote")
    if len(quote.evidence) > MAX_QUOTE_BYTES or len(quote.nonce) != NONCE_BYTES:
        return Refused("the quote is too long, or its nonce is not the challenge's length")
    answer = verifier.verify(quote, now_s)
    if isinstance(answer, Attested) and answer.expires <= now_s:
        return Refused("the attestation has expired")
    return answer
