"""What a node process is told when it is started: local settings, never sent to anybody."""

from typing import Literal

import msgspec

from swarm.sovereignty.artefacts import DataUsed
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import Restrictions
from swarm.sovereignty.policy import DpRules

ANY_PORT = ("/ip4/0.0.0.0/tcp/0",)
"""Any free TCP port, on every interface."""


NOTHING_ALLOWED = Restrictions(label=Label.PRIVATE, residency=frozenset(), uses=frozenset(), votes=False)
"""What binds data of which nobody has said anything."""


class Service(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A metrics service; its key is in the environment and nowhere else."""

    kind: Literal["wandb", "trackio"]
    project: str
    address: str
    """Such as https://api.wandb.ai."""


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Passed as one JSON argument. Paths are text, addresses are multiaddrs, descriptors are inherited."""

    join: tuple[str, ...]
    """Peers to join through, each ending in /p2p/<peer id>; empty only with `charter` and for a first peer."""
    state: str
    """The state folder."""
    listen: tuple[str, ...] = ANY_PORT
    identity: str | None = None
    """Key file; made in the state folder if left out."""
    passport: str | None = None
    """Passport file; a volunteer's own in an open run."""
    jurisdiction: str | None = None
    """For a volunteer's own passport."""
    policy: str = ""
    """Hex digest of the policy in force."""
    restrictions: Restrictions = NOTHING_ALLOWED
    """What binds all the data this peer trains on together, and so its updates."""
    held_out: Restrictions | None = None
    """What binds the data that candidate bases are scored on, and so this peer's votes; None if that is what it trains
    on, or what a script of one's own scores on."""
    data: tuple[DataUsed, ...] = ()
    """The data sets, for this peer's own records."""
    dp: DpRules | None = None
    """How the built-in trainer keeps records private, where the policy demands it: every update needs a receipt."""
    services: tuple[Service, ...] = ()
    """Metrics services outside the run that are told this peer's own figures."""
    figures_to: tuple[str, ...] = ()
    """Addresses of such services that the policy names."""
    charter: str | None = None
    """Charter file; fetched from the peer joined if left out."""
    run_id: str | None = None
    """The run this peer insists on."""
    restart: str | None = None
    """Founders' restart to take, and to hand to others."""
    max_rounds: int | None = None
    """Stop when the head has reached this round."""
    checkpoints: int = 2
    """How many states of past rounds stay on disk."""
    archive: bool = False
    """Whether the committed means of all rounds stay on disk, and state 0."""
    began_s: float = 0.0
    """When the command was started that this node belongs to (`swarm.clock.process_s`); 0 for the node's own start."""
    walls: str = ""
    """What the node process is kept from, in a sentence to repeat; filled in by who starts it."""
    parent_pid: int = 0
    control_fd: int = -1
    """Socket to the trainer."""
    shared_fd: int = -1
    """Shared vectors."""
