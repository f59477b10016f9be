"""Tiers mixed in one run of real processes: all sum under masks, one of them also trains under differential privacy.

Its budget runs out; the others go on without it. One crew for everything, since starting it is what takes time.
"""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import msgspec
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.rdp import RdpAccountant

from peers.demo.privacy_evidence import masked_wire, peer_privacy
from peers.privacy.accounting import Charge, epsilon_of
from peers.privacy.records import find_records, sample_rate
from swarm import events
from swarm.charter import manifest
from swarm.charter import passport as passports
from swarm.charter.documents import write_document
from swarm.charter.signing import run_id
from swarm.clock import unix_s
from swarm.errors import PassportError
from swarm.identity.key import Identity
from swarm.sovereignty.ledger import read_totals
from swarm.vector.grid import Grid
from tests.integration.conftest import Bootstrap, Crew
from tests.integration.papers import TRAINING, Papers
from tests.integration.processes import LIMIT_S, Running, wait_for

AFFORDED_STEPS = 3 * TRAINING.inner_steps
NOISE, CHUNK_ELEMENTS = 1.0, 4096
BO_TIER = ("secagg",)


def four_members(folder: Path) -> Papers:
    """A run of masked sums in one region, with dee as a fourth member."""
    papers = Papers(folder, chunk_elements=CHUNK_ELEMENTS)
    papers.members["dee"] = Identity.generate()
    founding = papers.charter
    papers.charter = msgspec.structs.replace(
        founding,
        reduce=msgspec.structs.replace(founding.reduce, min_contributors=3),
        aggregation=manifest.SecureSum(block_elements=512),
        # Nobody is left out for starting slowly, and nobody trains (and spends) while the others are not there yet.
        deadlines=manifest.Deadlines(floor_s=30.0, ceiling_s=60.0),
        quorum=manifest.Quorum(island=False),
        regions=(manifest.Region(name="world", jurisdictions=("DE", "JP")),),
        members=tuple(manifest.Member(name=name, key=key.peer_id) for name, key in papers.members.items()),
        genesis=msgspec.structs.replace(
            founding.genesis, peers=tuple(papers.peers[name].peer_id for name in papers.members)
        ),
    )
    papers.run_id = run_id(papers.charter)
    papers.sign(papers.charter, papers.charter_path)
    return papers


def demand(papers: Papers, name: str, privacy: str, table: str = "") -> Path:
    """Has a member's policy demand a protection; its text."""
    policy = papers.of(name).data / "policy.toml"
    policy.write_text(policy.read_text() + f'privacy = "{privacy}"\n{table}')
    return policy.parent / "text.txt"


@pytest.fixture(scope="module")
def sampling_rate(papers_of_four: Papers) -> float:
    """Of ada's text, whose policy is written here: a budget for so many steps, and not one more."""
    text = papers_of_four.of("ada").data / "text.txt"
    rate = sample_rate(len(find_records([text], "sequence", TRAINING.sequence_length)), TRAINING.batch_size)
    delta = papers_of_four.charter.privacy.delta
    least, too_much = (epsilon_of([Charge(NOISE, rate, AFFORDED_STEPS + more)], delta) for more in (0, 1))
    budget = (least + too_much) / 2
    demand(papers_of_four, "ada", "dp", f"[dp]\nepsilon = {budget}\nnoise_multiplier = {NOISE}\nmax_grad_norm = 1.0\n")
    return rate


@pytest.fixture(scope="module")
def papers_of_four(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return four_members(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def mixed(
    papers_of_four: Papers, sampling_rate: float, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Crew, Bootstrap]]:
    """Four peers, two rounds after ada's budget was spent."""
    assert sampling_rate < 1
    demand(papers_of_four, "bo", BO_TIER[0])
    bootstrap = Bootstrap(papers_of_four, tmp_path_factory.mktemp("bootstrap"))
    crew = Crew(papers_of_four, bootstrap, tmp_path_factory.mktemp("crew"))
    try:
        crew.muster()
        ended = crew["ada"].wait_for(events.PrivacyBudgetSpent)
        assert isinstance(ended, events.PrivacyBudgetSpent)
        for name in papers_of_four.members:
            crew[name].wait_for_round(ended.round + 1)
        yield crew, bootstrap
    finally:
        crew.end()
        bootstrap.kill()


def test_epsilon_is_dp_accountings_for_the_steps_that_were_made(
    mixed: tuple[Crew, Bootstrap], sampling_rate: float
) -> None:
    crew, _ = mixed
    last = crew["ada"].happened(events.PrivacySpent)[-1]
    theirs = RdpAccountant()
    step = PoissonSampledDpEvent(sampling_rate, GaussianDpEvent(NOISE))
    theirs.compose(SelfComposedDpEvent(step, AFFORDED_STEPS))
    assert last.steps == AFFORDED_STEPS
    assert last.epsilon == pytest.approx(theirs.get_epsilon(crew.papers.charter.privacy.delta), rel=0.01)
    for name, protections in (("ada", ("dp",)), ("bo", BO_TIER), ("cy", ("licence",))):
        happened = [each for kind in (events.PolicyInForce, events.PrivacySpent) for each in crew[name].happened(kind)]
        found = peer_privacy(name, happened)
        assert found.protections == protections
        assert (found.spent is not None and found.spent.epsilon == last.epsilon) == (name == "ada")


def test_a_spent_budget_is_said_and_nothing_more_leaves_while_the_others_go_on(mixed: tuple[Crew, Bootstrap]) -> None:
    crew, _ = mixed
    ada, cy = crew["ada"], crew["cy"]
    ended = ada.happened(events.PrivacyBudgetSpent)[-1]
    assert "the privacy budget is spent" in ada.stderr + ada.stdout
    sent_in = {int(line["permit"].partition("/")[2]) for line in ada.ledger() if line["kind"] == "update"}
    assert sent_in and max(sent_in) < ended.round
    after = [event for event in cy.happened(events.RoundCommitted) if event.round >= ended.round]
    assert len(after) >= 2
    assert all(ada.id in event.peers and ada.id not in event.contributors for event in after)
    assert all(len(event.contributors) == 3 for event in after)
    assert "privacy_budget_spent" in {event.code for event in ada.happened(events.UpdateDenied)}


def test_bases_are_equal_and_no_update_goes_in_the_clear(mixed: tuple[Crew, Bootstrap]) -> None:
    crew, _ = mixed
    peers = [crew[name] for name in crew.papers.members]
    digests: dict[int, set[str]] = {}
    for peer in peers:
        for event in peer.happened(events.RoundCommitted):
            digests.setdefault(event.round, set()).add(event.state_digest)
    assert digests and all(len(found) == 1 for found in digests.values())
    ledgers = {peer.id: peer.state / "ledger.jsonl" for peer in peers}
    regions = dict.fromkeys(ledgers, "world")
    seen = masked_wire(ledgers, regions, Grid(crew.papers.charter.model.parameters, CHUNK_ELEMENTS), (), ())
    assert seen.masked_parts and seen.self_masks
    assert (seen.other_parts, seen.parts_abroad) == (0, 0)
    assert not any(read_totals(path).get("sum") for path in ledgers.values()), "one region: nothing but masked parts"


def test_who_watches_sees_what_was_spent(mixed: tuple[Crew, Bootstrap], tmp_path: Path) -> None:
    crew, bootstrap = mixed
    key, passport = observer(crew.papers, tmp_path)
    watching = Running(
        *("dashboard", bootstrap.start(), "--port", 0, "--json", "--identity", key, "--passport", passport)
    )
    try:
        wait_for("the dashboard", lambda: "\n" in watching.stdout or not watching.is_running)
        assert watching.is_running, watching.stderr
        url = json.loads(watching.stdout)["url"]
        wait_for("four peers and an epsilon", lambda: len(told := spent_by_peer(url)) == 4 and any(told.values()))
        last = crew["ada"].happened(events.PrivacySpent)[-1]
        assert spent_by_peer(url) == {
            crew[name].id: last.epsilon if name == "ada" else None for name in crew.papers.members
        }
    finally:
        watching.end(signal.SIGINT)


def observer(papers: Papers, folder: Path) -> tuple[Path, Path]:
    """Key and passport of somebody who only watches."""
    identity, charter = Identity.generate(), papers.charter
    issued = passports.issue(
        papers.members["cy"], charter, identity.peer_id, "JP", charter.run.expires, unix_s(), "observer"
    )
    identity.save(folder / "observer.key")
    write_document(folder / "observer.passport", passports.encode(issued), PassportError)
    return folder / "observer.key", folder / "observer.passport"


def spent_by_peer(url: str) -> dict[str, float | None]:
    """Epsilon of every peer, as the dashboard shows it."""
    with urlopen(f"{url}view", timeout=LIMIT_S) as answer:
        return {row["peer"]: row["epsilon"] for row in json.load(answer)["peers"]}
