"""Rules that change while real peers run: a file dropped on one admits a member, another one sends its peer home."""

from pathlib import Path

from swarm import events
from swarm.charter import passport as passports
from swarm.charter.documents import write_document
from swarm.charter.epochs import Rules, plus
from swarm.charter.manifest import Member
from swarm.clock import unix_s
from swarm.errors import PassportError
from swarm.identity.key import Identity
from tests.governing import amendment, revocation
from tests.integration.conftest import Bootstrap, Crew
from tests.integration.papers import Papers


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
