"""What the policy has decided in a build, one decision a line, and the policies that decided, as they were written.

BUILD/decisions.jsonl         each names its policy by digest
BUILD/policies/DIGEST.toml    that policy: the member's own file may say something else by now
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from peers.build.record import DECISIONS_NAME, read_record
from swarm.clock import unix_s
from swarm.errors import StateError
from swarm.sovereignty.decisions import Decision, read_decision
from swarm.sovereignty.policy import Policy
from swarm.state.disk import read_file, replace_file
from swarm.state.policies import keep_policy

_OWNER_ONLY = 0o600


class _Noted(msgspec.Struct, frozen=True, kw_only=True):
    """One line."""

    at: float
    """Unix seconds."""
    stage: str
    data: tuple[str, ...]
    decision: str
    """As `Decision.line`."""
    reason: str


def note(build: Path, policy: Policy, what: str, names: Sequence[str], decision: Decision) -> None:
    """Keeps the policy, and adds what it has decided to the build's file.

    Args:
        what: was to be done: a stage by its name, "rebase" or "sign".
        names: of the data sets it was asked about.

    Raises:
        StateError: the disk refuses.
    """
    keep_policy(build, policy)
    path = build / DECISIONS_NAME
    line = _Noted(at=unix_s(), stage=what, data=tuple(names), decision=decision.line, reason=decision.reason)
    replace_file(path, [read_file(path) or b"", msgspec.json.encode(line) + b"\n"], mode=_OWNER_ONLY)


def policies_named(build: Path) -> frozenset[str]:
    """Digests of the policies that a build began and was decided under.

    Raises:
        StateError: its record or its decisions cannot be read.
    """
    path, named = build / DECISIONS_NAME, {read_record(build).policy_digest}
    for number, line in enumerate((read_file(path) or b"").splitlines(), 1):
        try:
            decision = read_decision(msgspec.json.decode(line, type=_Noted).decision)
        except (msgspec.DecodeError, UnicodeDecodeError):
            decision = None
        if decision is None:
            raise StateError(f"{path} is damaged: line {number} is no decision")
        named.add(decision.policy)
    return frozenset(named)
