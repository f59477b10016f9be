"""The graph of a statement: which way its edges go, and that what is private comes before nothing that is shared."""

import re

import msgspec
import pytest

from peers.lineage.graph import as_dot, as_text
from peers.lineage.statement import Base, Code, Counted, Lineage, Parent, Span, Stage, Statement
from swarm.sovereignty.entry import Tier
from tests.lineage.folders import ME

BASE = "Shared Base of round 6"
OLD, BUILD = "Shared Base of round 5, on which stages 1 to 2 were trained", "the build on round 5 that was rebased"


def stage(name: str, parent: str, result: str) -> Stage:
    return Stage(
        name=name,
        method="lora",
        parent=parent,
        result=result,
        data=(),
        evaluation=(),
        isolation="confined",
        started=1.0,
        finished=2.0,
    )


def parent(relation: str, domain: str, name: str) -> Parent:
    return msgspec.convert({"relation": relation, "domain": domain, "name": name, "digest": {"x": "ab"}}, Parent)


@pytest.fixture
def rebased() -> Statement:
    """A build of two stages of one kind, on another base than they were trained on."""
    seat = Counted(peer=ME.peer_id, member="acme", region="eu", weight=1, rounds=6)
    lineage = Lineage(
        kind="build",
        made_at=0.0,
        tier=Tier.PUBLIC,
        parents=(
            parent("adapter", "shared", BASE),
            parent("rebase", "shared", OLD),
            parent("rebase", "sovereign", BUILD),
        ),
        base=Base(run_id="11" * 32, run_name="run", round=6, record="22" * 32, state="33" * 32, epoch=0),
        rounds=(Span(first=1, last=6, rejected=0, roster=(seat,)),),
        data=(),
        stages=(stage("cpt", "base", "one"), stage("cpt", "one", "two")),
        code=Code(version="0", digest="44" * 32),
    )
    return Statement(subject=(), predicate=lineage)


def test_nothing_private_has_an_edge_into_what_is_shared(rebased: Statement) -> None:
    edges = re.findall(r'"([^"]*)" -> "([^"]*)" \[label="([^"]*)"\]', as_dot(rebased))
    assert edges == [
        ("acme (eu)", BASE, "rounds 1-6"),
        (OLD, "1-cpt", "rebase"),
        (BUILD, "1-cpt", "rebase"),
        (BASE, "1-cpt", "lora"),
        ("1-cpt", "2-cpt", "lora"),
    ]


def test_text_has_what_is_shared_first(rebased: Statement) -> None:
    lines = as_text(rebased, ME.peer_id).splitlines()
    (base,) = (number for number, line in enumerate(lines) if line.startswith(BASE))
    assert not any(OLD in line or BUILD in line for line in lines[:base])
    assert lines[base + 1].startswith(f"  | rebase: {OLD}") and lines[base + 2].startswith(f"  | rebase: {BUILD}")
    assert [line.split()[0] for line in lines if line[:1].isdigit() and "-cpt" in line] == ["1-cpt", "2-cpt"]
