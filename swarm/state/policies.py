"""Policies that a peer has trained under, as they were written: STATE/policies/DIGEST.toml, for their owner only.

A session on record (swarm.sovereignty.trained) names its policy by digest. With the file beside it the owner can show
what the digest stands for, and takes it along on leaving; no other peer is ever sent one.
"""

from collections.abc import Iterable
from pathlib import Path

from swarm.errors import StateError
from swarm.sovereignty.policy import OPEN_ONLY, Policy, read_policy
from swarm.sovereignty.trained import Session
from swarm.state.disk import replace_file, told

POLICIES_NAME = "policies"
_OWNER_ONLY = 0o600


def policy_path(state: Path, digest: str) -> Path:
    """Where a state folder keeps the policy of this digest."""
    return state / POLICIES_NAME / f"{digest}.toml"


def keep_policy(state: Path, rules: Policy) -> None:
    """Keeps the file that `rules` were read from; the built-in policy has none. Raises StateError."""
    path = policy_path(state, rules.digest)
    if rules.digest == OPEN_ONLY.digest:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return
    except OSError as error:
        raise StateError(f"cannot use the state folder {state}: {error.strerror}") from None
    with told(Path(rules.origin)):
        data = Path(rules.origin).read_bytes()
    replace_file(path, [data], mode=_OWNER_ONLY)


def kept_policies(state: Path) -> dict[str, Policy]:
    """The policies in a state folder, by digest.

    Raises:
        StateError: one is not the policy that its name says.
        PolicyError: one cannot be read.
    """
    found: dict[str, Policy] = {}
    for path in sorted((state / POLICIES_NAME).glob("*.toml")):
        rules = read_policy(path)
        if path != policy_path(state, rules.digest):
            raise StateError(f"{path} is not the policy that its name says")
        found[rules.digest] = rules
    return found


def policies_of(sessions: Iterable[Session]) -> frozenset[str]:
    """Digests of the policies that sessions name, but for the built-in one."""
    return frozenset(session.policy for session in sessions) - {OPEN_ONLY.digest, ""}
