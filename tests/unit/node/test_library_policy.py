"""Library use fails closed: data that nothing labels takes no part in a members' run. No node is started here."""

from pathlib import Path

import msgspec
import pytest

import swarm
from swarm.charter import files
from swarm.charter.manifest import Admission
from swarm.charter.signing import SignedCharter
from swarm.node.config import NodeConfig
from swarm.node.papers import Papers
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import join_all, restrictions_of
from swarm.sovereignty.policy import Dataset
from swarm.sovereignty.uses import Use
from swarm.state.run import Run
from tests.unit.charter.samples import CREATED_S, charter, identity


def test_a_members_run_without_a_policy_is_refused(tmp_path: Path) -> None:
    files.write(tmp_path / "charter.toml", SignedCharter(charter=charter()))
    with pytest.raises(swarm.UnlabelledDataError, match=r"policy\.toml"):
        swarm.join(charter=tmp_path / "charter.toml", bootstrap=["/ip4/127.0.0.1/tcp/1/p2p/x"])


def test_without_a_charter_file_a_policy_is_needed_too() -> None:
    with pytest.raises(swarm.UnlabelledDataError, match=r"policy\.toml"):
        swarm.join(bootstrap=["/ip4/127.0.0.1/tcp/1/p2p/x"])


def test_a_policy_that_demands_isolation_is_not_met_by_a_plain_loop(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('version = 2\ndataset = []\nisolation = "network namespace"\n')
    cause = 'demands isolation "network namespace", this machine reaches "none".*tapestry peer --trainer'
    with pytest.raises(swarm.PolicyError, match=cause):
        swarm.join(bootstrap=["/ip4/127.0.0.1/tcp/1/p2p/x"], policy=tmp_path / "policy.toml")


def dataset(label: Label, residency: str) -> Dataset:
    return Dataset(
        name="d",
        files=("*.txt",),
        label=label,
        residency=residency,
        licence="CC0-1.0",
        language="de",
        uses=(Use.SHARED_BASE,),
    )


def test_sovereign_data_stays_in_its_jurisdiction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.node.papers.unix_s", lambda: CREATED_S + 1.0)
    both = [dataset(Label.SOVEREIGN, "FR"), dataset(Label.OPEN, "JP")]
    bound = join_all(restrictions_of(each, "none") for each in both)
    opened = Run(msgspec.structs.replace(charter(), admission=Admission(kind="open")))
    config = NodeConfig(join=(), state=str(tmp_path), jurisdiction="DE", restrictions=bound)
    papers = Papers(config, tmp_path, identity(5), lambda _: None)
    with pytest.raises(swarm.PolicyError, match="sovereign data of FR may not be used by a peer in DE"):
        papers.passport(opened)
