"""What holds from a node's start to its end: its store, its gate, and the record of what it trains on."""

from collections.abc import Callable
from pathlib import Path

from swarm import events
from swarm.clock import unix_s
from swarm.node.config import NodeConfig
from swarm.sovereignty import trained
from swarm.sovereignty.decisions import Decision
from swarm.sovereignty.dispatch import protections_of
from swarm.sovereignty.gate import Gate, InForce
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.privacy import Budget
from swarm.state.run import Run
from swarm.state.store import DiskStore


def open_store(config: NodeConfig) -> DiskStore:
    """This peer's state folder, as it was asked to keep it. Raises StateError."""
    return DiskStore(Path(config.state), kept_snapshots=config.checkpoints, archive=config.archive)


def make_gate(config: NodeConfig, run: Run, region: str, ledger: Ledger, budget: Budget | None) -> Gate:
    """The gate under this peer's own policy and the run's rules; what it decides is on record before it is acted on."""

    def decided(decision: Decision) -> None:
        ledger.note(decision.reason.encode(), decision.line)

    gate = Gate(
        region=region,
        label=config.restrictions.label,
        min_contributors=run.least_members,
        policy=InForce(config.policy, config.restrictions, frozenset(config.figures_to)),
        budget=budget,
        decided=decided,
        held_out=config.held_out,
    )
    gate.follow(min_contributors=run.least_members, licences=run.charter.data.licences)
    for protection in protections_of(run.charter):
        gate.protect(protection)
    return gate


def begin(
    config: NodeConfig, ledger: Ledger, store: DiskStore, member: str, sink: Callable[[events.AnyEvent], None]
) -> None:
    """Puts on record what this peer trains on from here on, before anything made from it can leave."""
    begun = trained.begin(
        Path(config.state),
        ledger,
        policy=config.policy,
        data=config.data,
        isolation=config.restrictions.isolation,
        owner=member,
        at=unix_s(),
    )
    if begun.withdrawn:
        store.drop_residual()
        names = ", ".join(begun.withdrawn)
        sink(events.Note(text=f"what was left over of updates from data that is no longer used ({names}) is dropped"))
    sink(
        events.PolicyInForce(
            policy=config.policy,
            label=config.restrictions.label.value,
            uses=tuple(sorted(config.restrictions.uses)),
            privacy=tuple(sorted(config.restrictions.privacy)),
            datasets=len(config.data),
        )
    )
