"""The end of `tapestry demo --build`: every region makes its own model, and what left is counted before and after.

By now every process of the shared rounds has ended. What is used is what they have left: state folders, key files, and
the folders of text that members kept.
"""

from collections.abc import Callable, Mapping, Sequence

from peers.demo.builders import Builder, make_models
from peers.demo.ground import Ground, PilotMember
from peers.demo.members import Consortium
from peers.demo.result import LanguageScore
from peers.demo.settings import Settings
from peers.demo.sovereign_result import Model, OwnScore, Sovereign
from peers.demo.watched import Watched
from peers.demo.what_left import PeerFolder, ledger_digests, what_left
from swarm.clock import process_s


def build_all(
    settings: Settings,
    ground: Ground,
    consortium: Consortium,
    peers: Sequence[Watched],
    scores: Mapping[str, LanguageScore],
    say: Callable[[str], None],
) -> Sovereign:
    """Every region's own model, on the state folder of a peer of its own that is left.

    Args:
        scores: the pilot's, for the untrained base.

    Raises:
        TapestryError: a build failed; that the gate has refused a stage is no failure.
    """
    began_s = process_s()
    folders = [PeerFolder(peer.id, peer.command.papers.region, peer.command.state) for peer in peers]
    before = ledger_digests(folders)
    say("every region makes its own model from the Shared Base and the text that it has kept")
    builders = [_builder(settings, consortium, member, peers) for member in ground.members if member.own is not None]
    models = make_models(builders, say)
    return Sovereign(
        state_zero=consortium.charter.model.state_digest,
        bits_per_byte=own_scores(models, {language: score.untrained for language, score in scores.items()}),
        models=models,
        left=what_left(folders, consortium.bootstrap.peer_id, before),
        seconds=process_s() - began_s,
    )


def own_scores(models: Mapping[str, Model], untrained: Mapping[str, float]) -> dict[str, OwnScore]:
    """By language, what the builds have measured beside what the untrained base needs."""
    shared = next(iter(models.values())).stages[0].before
    last = {region: model.accepted[-1].after for region, model in models.items() if model.accepted}
    return {
        language: OwnScore(
            base=base, shared=shared[language], sovereign={region: after[language] for region, after in last.items()}
        )
        for language, base in untrained.items()
    }


def _builder(settings: Settings, consortium: Consortium, member: PilotMember, peers: Sequence[Watched]) -> Builder:
    assert member.own is not None
    # Its newest peer: where one was killed, the one that took its place.
    left = [peer for peer in peers if peer.command.papers.member == member.name and not peer.is_killed][-1]
    return Builder(
        region=member.region.name,
        member=member.name,
        jurisdiction=member.home,
        languages=tuple(member.region.jurisdictions),
        state=left.command.state,
        identity=left.command.papers.identity,
        data=member.own,
        folder=settings.sovereign / member.region.name,
        state0=consortium.state0_path,
    )
