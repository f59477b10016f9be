"""Policies as they were written, each under its digest, for their owner only.

    STATE/policies/DIGEST.toml    what a peer has trained under: sessions (swarm.sovereignty.trained) name theirs
    BUILD/policies/DIGEST.toml    what has decided in a build: its record and its decisions name theirs

With the file beside it the owner can show what a digest stands for, and takes it along on leaving; nobody else is sent
one.
"""

from collections.abc import Iterable
from pathlib import Path

from swarm.errors import StateError
from swarm.sovereignty.policy import OPEN_ONLY, Policy, read_policy
from swarm.sovereignty.trained import Session
from swarm.state.disk import replace_file, told

POLICIES_NAME = "policies"
_OWNER_ONLY = 0o600


def policy_path(folder: Path, digest: str) -> Path:
    """Where a state folder or a build keeps the policy of this digest."""
    return folder / POLICIES_NAME / f"{digest}.toml"


def keep_policy(folder: Path, rules: Policy) -> None:
    """Keeps the file that `rules` were read from; the built-in policy has none. Raises StateError."""
    path = policy_path(folder, rules.digest)
    if rules.digest == OPEN_ONLY.digest:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return
    except OSError as error:
        raise StateError(f"cannot use the folder {folder}: {error.strerror}") from None
    with told(Path(rules.origin)):
        data = Path(rules.origin).read_bytes()
    replace_file(path, [data], mode=_OWNER_ONLY)


def kept_policies(folder: Path) -> dict[str, Policy]:
    """The policies in a state folder or a build, by digest.

    Raises:
        StateError: one is not the policy that its name says.
        PolicyError: one cannot be read.
    """
    found: dict[str, Policy] = {}
    for path in sorted((folder / POLICIES_NAME).glob("*.toml")):
        rules = read_policy(path)
        if path != policy_path(folder, rules.digest):
            raise StateError(f"{path} is not the policy that its name says")
        found[rules.digest] = rules
    return found


def policies_of(sessions: Iterable[Session]) -> frozenset[str]:
    """Digests of the policies that sessions name, but for the built-in one."""
    return frozenset(session.policy for session in sessions) - {OPEN_ONLY.digest, ""}
