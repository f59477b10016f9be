"""Rules that change while real peers run: a file dropped on one admits a member, another one sends its peer home."""

import json
from pathlib import Path

from swarm import events
from swarm.charter import passport as passports
from swarm.charter.documents import write_document
from swarm.charter.epochs import Rules, plus
from swarm.charter.manifest import Member, Region
from swarm.clock import unix_s
from swarm.errors import PassportError
from swarm.identity.key import Identity
from tests.governing import amendment, changed, revocation
from tests.integration.conftest import LOOPBACK, Bootstrap, Crew
from tests.integration.papers import DAY_S, Papers
from tests.integration.processes import tapestry, wait_for
from tests.screens.swarm import Dashboard


def test_a_member_is_admitted_and_its_peer_revoked_while_the_run_goes_on(tmp_path: Path) -> None:
    papers = Papers(tmp_path / "papers")
    bootstrap = Bootstrap(papers, tmp_path / "bootstrap")
    crew = Crew(papers, bootstrap, tmp_path / "crew")
    members, di = list(papers.members.values()), Identity.generate()
    genesis = Rules.genesis(papers.charter)
    try:
        crew.muster()
        with_di = (*papers.charter.members, Member(name="di", key=di.peer_id))
        admits = amendment(genesis, members, members=with_di, reason="di joins the consortium")
        (crew["ada"].state / "governance" / "di joins.json").write_bytes(admits)
        for name in papers.members:
            crew[name].wait_for(events.RulesInForce, lambda event: event.epoch == 1)
        crew["cy"].wait_for_round(crew["cy"].round + 1)

        # Through the bootstrap node, which has the founding charter and was handed the amendment.
        dee, charter = papers.peers["dee"].peer_id, plus(genesis, admits).charter
        of_di = passports.issue(di, charter, dee, "DE", charter.run.expires, unix_s(), run=papers.run_id)
        path = tmp_path / "di.passport"
        write_document(path, passports.encode(of_di), PassportError)
        newcomer = crew.start("dee", "--passport", path)
        newcomer.wait_for(events.RoundCommitted, lambda event: dee in event.contributors)
        assert newcomer.happened(events.NodeStarted)[-1].member == "di"
        shown = Dashboard(bootstrap.start())
        try:
            wait_for("a stranger's page", lambda: (dee, "di") in {(row.peer, row.member) for row in shown.view().peers})
        finally:
            shown.close()

        gone = revocation(papers.run_id, di.peer_id, [di], passport=passports.digest(of_di))
        (crew["bo"].state / "governance" / "stolen.json").write_bytes(gone)
        assert newcomer.end() == 1
        assert "no longer admits this peer (revoked)" in newcomer.stderr and newcomer.stderr.count("\n") <= 2
        front = max(crew[name].round for name in papers.members) + 2
        for name in papers.members:
            crew[name].wait_for_round(front)
        rounds = {name: crew[name].happened(events.RoundCommitted) for name in papers.members}
        assert all(dee not in found[-1].peers for found in rounds.values())
        assert len({event.state_digest for found in rounds.values() for event in found if event.round == front}) == 1
    finally:
        crew.end()
        bootstrap.kill()


def test_a_run_whose_expiry_was_amended_is_examined_and_watched_past_the_first_one(tmp_path: Path) -> None:
    papers = Papers(tmp_path / "papers")
    created = papers.charter.run.created
    papers.charter = changed(papers.charter, run={"expires": created + 5})
    papers.sign(papers.charter, papers.charter_path)
    africa = Region(name="africa", jurisdictions=("KE",))
    amended = {"run": {"expires": created + DAY_S}, "regions": (*papers.charter.regions, africa)}
    extends = amendment(Rules.genesis(papers.charter), list(papers.members.values()), **amended)
    governance = tmp_path / "bootstrap" / "governance"
    governance.mkdir(parents=True)
    (governance / "longer.json").write_bytes(extends)
    bootstrap = Bootstrap(papers, tmp_path / "bootstrap")
    try:
        join = bootstrap.start()
        done = tapestry("doctor", "--join", join, "--listen", LOOPBACK, "--json")
        said = {one["check"]: one["verdict"] for one in json.loads(done.stdout)["findings"]}
        assert said["charter"] == "good"
        shown = Dashboard(join)
        try:
            wait_for("the amended charter", lambda: (run := shown.view().run) is not None and "africa" in run.regions)
            assert not any("the run is over" in remark for remark in shown.view().remarks)
        finally:
            shown.close()
    finally:
        bootstrap.kill()
