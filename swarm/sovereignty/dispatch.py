"""Whether work on data may begin at a place, for a purpose, in a run: asked before anything is read or sent.

The policy decides alone; who enforces is the caller (a peer that is refused stops with the reason). What an update
means is judged later and every time, by the gate. Rules, in order:

  1. the data's `uses` name the purpose;
  2. where the charter names licences, the data is under these and no others;
  3. sovereign and private data are worked on in their own jurisdiction only: two jurisdictions' together, nowhere;
  4. a run in which anything may be seen of single steps, or in which anybody may go on (`gradient` mode, quorum
     `available`), takes open data only;
  5. a protection that the policy demands must be one that this run and this machine can give.
"""

from collections.abc import Set
from dataclasses import dataclass

from swarm.charter.manifest import Charter, SecureSum
from swarm.sovereignty.gate import Denied, InForce, licence_fault
from swarm.sovereignty.labels import Label
from swarm.sovereignty.reasons import Reason
from swarm.sovereignty.uses import Privacy, Use


@dataclass(frozen=True)
class Request:
    """Work somebody wants done on data: what for, where, under which run's rules."""

    use: Use
    jurisdiction: str
    charter: Charter | None = None
    """The run it is for; None for work that stays with the owner."""
    protections: Set[Privacy] = frozenset()
    """Those that can be given there."""


def check_dispatch(policy: InForce, request: Request) -> Denied | None:
    """The first rule that forbids it; None if nothing does."""
    bound = policy.restrictions
    if request.use not in bound.uses:
        allowed = ", ".join(sorted(bound.uses)) or "no use that all of it allows"
        return _deny(policy, Reason.PURPOSE_MISMATCH, f"the data may be used for {allowed}, not for {request.use}")
    refused = None if request.charter is None else licence_fault(bound, request.charter.data.licences)
    if refused is not None:
        return _deny(policy, Reason.LICENCE_NOT_ACCEPTED, refused)
    if not bound.may_be_used_in(request.jurisdiction):
        homes = " and of ".join(sorted(bound.residency or ())) or "different jurisdictions"
        return _deny(
            policy,
            Reason.OUTSIDE_RESIDENCY,
            f"{bound.label} data of {homes} may not be used by a peer in {request.jurisdiction}",
        )
    needs = None if request.charter is None else _needs_open(request.charter)
    if needs is not None and bound.label is not Label.OPEN:
        return _deny(
            policy, Reason.NEEDS_OPEN_DATA, f"{needs}, so it takes open data only, and this peer's is {bound.label}"
        )
    missing = sorted(bound.privacy - request.protections)
    if missing and request.use is Use.SHARED_BASE:
        return _deny(
            policy,
            Reason.PRIVACY_MISSING,
            f"the policy demands {' and '.join(missing)}, which this run and this machine do not give",
        )
    return None


def protections_of(charter: Charter) -> frozenset[Privacy]:
    """Those that a run gives to every update in it."""
    return frozenset({Privacy.SECAGG}) if isinstance(charter.aggregation, SecureSum) else frozenset()


def _needs_open(charter: Charter) -> str | None:
    if charter.quorum.kind == "available":
        return "in this run whoever is there goes on (quorum available)"
    if charter.training.mode == "gradient":
        return "this run averages gradients (training.mode gradient)"
    return None


def _deny(policy: InForce, code: Reason, reason: str) -> Denied:
    return Denied(code, reason, policy.digest)
