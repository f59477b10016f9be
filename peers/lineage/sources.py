"""What a peer's own records say of the data behind its updates, and of the privacy that this has cost.

The data sets are those of all sessions on record in the state folder, each of which its ledger confirms. Epsilon is the
account's, over everything the peer has trained, and never below the node's own mark; without Opacus to compute it the
mark alone is stated, and named as that.
"""

from contextlib import suppress
from pathlib import Path

import msgspec

from peers.lineage.statement import DataSource, PrivacySpent, source_of
from peers.privacy.account import ACCOUNT, read_charges
from peers.privacy.accounting import accountant_name, epsilon_of
from swarm.errors import LineageError, StateError, UsageError
from swarm.node.spending import MARK, SpentMark
from swarm.sovereignty.entry import Tier
from swarm.sovereignty.ledger import LEDGER_NAME
from swarm.state.disk import read_file
from swarm.state.run import Run
from swarm.state.trails import read_trail

MARK_ONLY = "the node's own mark"


def data_of(state: Path, tier: Tier) -> tuple[DataSource, ...]:
    """Every data set on record in a state folder, once.

    Raises:
        LineageError: what was trained on is not what the ledger says.
        StateError: a file cannot be read.
    """
    if not (state / LEDGER_NAME).exists():
        return ()
    trail = read_trail(state)
    if trail.faults:
        raise LineageError(trail.faults[0])
    found = {artefact.artifact_id: artefact for session in trail.sessions for artefact in session.data}
    return tuple(source_of(artefact, tier) for _, artefact in sorted(found.items()))


def privacy_of(run: Run, state: Path) -> PrivacySpent | None:
    """What differential privacy has cost this peer's records; None where nothing was charged. Raises StateError."""
    charges = read_charges(state / "trainer" / ACCOUNT)
    mark = _mark(state)
    if not charges and mark is None:
        return None
    delta = run.charter.privacy.delta
    epsilon, accountant = 0.0, MARK_ONLY
    if charges:
        with suppress(UsageError, ModuleNotFoundError):  # without Opacus the mark alone can be stated
            epsilon, accountant = epsilon_of(charges, delta), accountant_name()
    return PrivacySpent(
        epsilon=max(epsilon, 0.0 if mark is None else mark.epsilon),
        delta=delta,
        steps=max(sum(charge.steps for charge in charges), 0 if mark is None else mark.steps),
        noise_multipliers=tuple(sorted({charge.noise_multiplier for charge in charges})),
        accountant=accountant,
    )


def _mark(state: Path) -> SpentMark | None:
    data = read_file(state / MARK)
    try:
        return None if data is None else msgspec.json.decode(data, type=SpentMark)
    except msgspec.DecodeError:
        raise StateError(f"{state / MARK} is damaged: what privacy was spent is unknown") from None
