"""Library use: a plain PyTorch loop takes part with three changed lines (DESIGN section 7).

    run = swarm.join(charter="charter.toml", bootstrap=[addr])
    optimizer = run.wrap(model, torch.optim.AdamW(model.parameters(), lr=4e-4))
    ...loss.backward(); optimizer.step(); optimizer.zero_grad()

The loop's own process is the trainer, so nothing but its author keeps it off the network: its isolation is "none".
Started by `tapestry peer --trainer`, the same script is confined: it takes the place that its peer has kept for it.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from swarm import events
from swarm.charter import files, signing
from swarm.charter.signing import SignedCharter
from swarm.clock import process_s
from swarm.errors import PolicyError, UnlabelledDataError, UsageError
from swarm.isolation.levels import NONE, UNCONFINED, is_enough, refusal
from swarm.node.config import ANY_PORT, NodeConfig
from swarm.node.given import GivenNode, is_given
from swarm.node.paths import default_state
from swarm.node.spawn import NodeProcess, wait_for_charter
from swarm.sovereignty.artefacts import DataUsed
from swarm.sovereignty.lattice import join_all, restrictions_of
from swarm.sovereignty.policy import OPEN_ONLY, Policy, read_policy
from swarm.sovereignty.reasons import Reason
from swarm.state.policies import keep_policy

if TYPE_CHECKING:
    import torch

    from swarm.node.optimizer import SwarmOptimizer

_log = logging.getLogger("tapestry")
START_LIMIT_S = 120.0
PathText = str | Path


class Swarm:
    """This process's place in a run; `close` (or leaving a `with` block) leaves the swarm cleanly."""

    def __init__(self, node: NodeProcess | GivenNode, signed: SignedCharter) -> None:
        self._node = node
        self.charter = signed.charter
        self.run_id = signing.run_id(self.charter)
        self._score: Callable[[torch.nn.Module], float] | None = None
        self._optimizer: SwarmOptimizer | None = None

    def wrap(self, model: "torch.nn.Module", optimizer: "torch.optim.Optimizer") -> "SwarmOptimizer":
        """An optimizer that also takes part in rounds; `model` holds the Shared Base when this returns.

        Raises:
            NetworkError: the node process has ended, for example because this model is not the charter's.
        """
        from swarm.node.link import TrainerEnd
        from swarm.node.optimizer import SwarmOptimizer
        from swarm.node.shared import SharedVectors

        shared = SharedVectors(self._node.shared_fd, self.charter.model.parameters)
        end = TrainerEnd(self._node.control)
        if isinstance(self._node, NodeProcess):
            end.await_charter()
        self._optimizer = SwarmOptimizer(model, optimizer, end, shared, self.charter.training)
        self._optimizer.score_with = self._score
        return self._optimizer

    def score_with(self, score: "Callable[[torch.nn.Module], float]") -> None:
        """Gives this peer a voice where the charter has members vote on every new base (`[quality]`).

        Args:
            score: the model's loss on this peer's own held-out data, the lower the better. It is called with the
                wrapped model, which holds a candidate base meanwhile, while the loop waits in `optimizer.step()`.
        """
        self._score = score
        if self._optimizer is not None:
            self._optimizer.score_with = score

    def events(self) -> list[events.AnyEvent]:
        """What has happened since the last call, in order."""
        happened: list[events.AnyEvent] = []
        while (stamped := self._node.next_event(0.0)) is not None:
            happened.append(stamped.event)
        return happened

    def close(self) -> None:
        """Leaves the swarm; the node saves its state first."""
        self._node.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def join(
    *,
    charter: PathText | None = None,
    bootstrap: Sequence[str] = (),
    policy: PathText | None = None,
    identity: PathText | None = None,
    passport: PathText | None = None,
    jurisdiction: str | None = None,
    state: PathText | None = None,
    listen: Sequence[str] = ANY_PORT,
    run_id: str | None = None,
    max_rounds: int | None = None,
) -> Swarm:
    """Starts the node process and waits until it has verified the run's charter.

    In a script that `tapestry peer --trainer` started the node runs already: then the peer's own settings count, and
    all arguments are ignored.

    Args:
        charter: charter file; fetched from the swarm if left out.
        bootstrap: multiaddrs to join through, each ending in /p2p/<peer id>.
        policy: policy file that labels the data this loop trains on; `policy.toml` beside the charter if there is one.
            Without either the data of an open run counts as open, with a warning; a members' run is refused.
        identity: key file; made in the state folder if left out.
        passport: passport file; needed unless the run is open.
        jurisdiction: ISO 3166 code, for a volunteer in an open run.
        state: state folder; `$XDG_STATE_HOME/tapestry/default` if left out.
        listen: multiaddrs to listen on.
        run_id: the run to insist on.
        max_rounds: stop when the Shared Base has reached this round.

    Raises:
        UsageError: nothing to join through, or a file that does not exist.
        UnlabelledDataError: a members' run, and nothing says what the data may be used for.
        PolicyError: the policy demands a trainer that is isolated.
        NetworkError: the node could not come up; the message is its cause.
    """
    if is_given():
        return _take_place(GivenNode())
    if not bootstrap and charter is None:
        raise UsageError("give swarm.join a charter file, a bootstrap address, or both")
    folder = Path(state) if state is not None else default_state()
    rules = _policy(policy, charter)
    keep_policy(folder, rules)
    node = NodeProcess(
        NodeConfig(
            join=tuple(bootstrap),
            state=str(folder),
            listen=tuple(listen),
            identity=_text(identity),
            passport=_text(passport),
            jurisdiction=jurisdiction,
            policy=rules.digest,
            restrictions=join_all(restrictions_of(dataset, rules.isolation) for dataset in rules.datasets),
            data=tuple(DataUsed.of(dataset) for dataset in rules.datasets),
            charter=_text(charter),
            run_id=run_id,
            max_rounds=max_rounds,
            began_s=process_s(),
        )
    )
    try:
        ready, _ = wait_for_charter(node, START_LIMIT_S)
    except BaseException:
        node.close()
        raise
    return Swarm(node, files.read(Path(ready.path)))


def _take_place(node: GivenNode) -> Swarm:
    """Waits until the peer's node has verified the charter."""
    from swarm.node.link import TrainerEnd

    return Swarm(node, files.decode_toml(TrainerEnd(node.control).await_charter()))


def _policy(policy: PathText | None, charter: PathText | None) -> Policy:
    """What the policy says of the loop's data; the built-in open-only one in an open run without a policy."""
    path = Path(policy) if policy is not None else None
    if path is None and charter is not None:
        beside = Path(charter).with_name("policy.toml")
        path = beside if beside.exists() else None
    if path is not None:
        read = read_policy(path)
        if not is_enough(NONE, read.isolation):
            cause = f"{refusal(*UNCONFINED, read.isolation)}: start it with tapestry peer --trainer"
            raise PolicyError(cause, Reason.ISOLATION_TOO_LOW)
        if not read.datasets:
            raise UnlabelledDataError(f"{path} has no [[dataset]]: data without a label is refused")
        return read
    if charter is not None and files.read(Path(charter)).charter.admission.kind == "open":
        _log.warning("open run, no policy: what this loop trains on is taken to be open data (policy=FILE labels it)")
        return OPEN_ONLY
    raise UnlabelledDataError("label this loop's data: give policy=FILE, or put a policy.toml beside the charter")


def _text(path: PathText | None) -> str | None:
    if path is None:
        return None
    if not Path(path).exists():
        raise UsageError(f"{path} does not exist")
    return str(Path(path).absolute())
