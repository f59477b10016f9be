"""Members are counted, never peers: any two quorums meet, and passports that a member mints gain it nothing."""

from collections import Counter
from collections.abc import Collection, Mapping
from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from swarm.identity.peer_id import PeerId
from swarm.state.electorate import Electorate
from swarm.state.voices import Voices, voices

sizes = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "open"]), st.integers(1, 7), min_size=1)
"""Members and how many peers each has."""


def peers_of(members: Mapping[str, int]) -> dict[PeerId, str]:
    return {PeerId(f"{member}{number}"): member for member, size in members.items() for number in range(size)}


def made(members: Mapping[str, int], witnesses: int, alone: int = 0) -> tuple[Voices, list[PeerId]]:
    """The voices of some members' peers, witnesses, and peers of unknown members; and all who have one."""
    known = peers_of(members)
    unknown = [PeerId(f"unknown{number}") for number in range(alone)]
    watching = [PeerId(f"witness{number}") for number in range(witnesses)]
    return voices([*known, *unknown], watching, known), [*known, *unknown, *watching]


@given(sizes, st.integers(0, 3), st.integers(0, 3), st.data())
def test_any_two_quorums_have_a_voter_in_common(
    members: dict[str, int], witnesses: int, alone: int, data: st.DataObject
) -> None:
    counted, everybody = made(members, witnesses, alone)
    one = data.draw(st.sets(st.sampled_from(everybody)))
    assert not (counted.is_majority(one) and counted.is_majority(set(everybody) - one))
    assert counted.is_majority(everybody)
    assert counted.count(everybody) == counted.all


@given(sizes.filter(lambda members: len(members) > 1), st.integers(0, 2), st.data())
def test_minted_passports_gain_nothing(members: dict[str, int], witnesses: int, data: st.DataObject) -> None:
    """However many peers a member adds, what it has with all of them is the one voice it had with one."""
    member = data.draw(st.sampled_from(sorted(members)))
    minted = {**members, member: members[member] + data.draw(st.integers(1, 50))}
    before, after = made(members, witnesses)[0], made(minted, witnesses)[0]
    mine_before = [peer for peer in peers_of(members) if peer.startswith(member)]
    mine_after = [peer for peer in peers_of(minted) if peer.startswith(member)]
    assert before.all == after.all
    assert before.count(mine_before) == after.count(mine_after) == 1
    for others in _subsets([peer for peer in peers_of(members) if not peer.startswith(member)]):
        assert before.is_majority([*others, *mine_before]) == after.is_majority([*others, *mine_after])
        assert before.is_majority(others) == after.is_majority(others), "nor can they block more than before"


def _subsets(peers: Collection[PeerId]) -> list[list[PeerId]]:
    ordered = sorted(peers)
    return [ordered[:cut] for cut in range(len(ordered) + 1)]


@given(sizes, st.integers(0, 3), st.data())
def test_a_quorum_is_what_counting_slowly_says(members: dict[str, int], witnesses: int, data: st.DataObject) -> None:
    counted, everybody = made(members, witnesses)
    some = data.draw(st.sets(st.sampled_from(everybody)))
    if len(members) == 1:
        assert counted.is_majority(some) == (2 * len(some) > len(everybody))
        return
    here = Counter(peers_of(members).get(peer, peer) for peer in some)
    total = sum((Fraction(count, members.get(name, 1)) for name, count in here.items()), Fraction(0))
    assert counted.count(some) == total
    assert counted.is_majority(some) == (2 * total > len(members) + witnesses)


@given(sizes, st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_certificate_is_the_shortest_beginning_that_is_a_quorum(
    members: dict[str, int], witnesses: int, random: Random
) -> None:
    known = peers_of(members)
    watching = frozenset(PeerId(f"witness{number}") for number in range(witnesses))
    electorate = Electorate(frozenset(known), watching, members=frozenset(known.items()))
    order = [PeerId("a stranger"), *sorted(electorate.voters)]
    random.shuffle(order)
    found = electorate.first_quorum(order)
    assert electorate.has_quorum(found) and not electorate.has_quorum(found[:-1])
    assert set(found) <= electorate.voters
    assert found == [peer for peer in order if peer in found]


@given(st.integers(1, 9), st.integers(0, 3), st.data())
def test_a_single_members_one_voice_is_split_evenly_and_no_witness_is_needed(
    peers: int, witnesses: int, data: st.DataObject
) -> None:
    counted, everybody = made({"a": peers}, witnesses)
    some = data.draw(st.sets(st.sampled_from(everybody)))
    assert counted.all == 1
    assert counted.count(some) == Fraction(len(some), peers + witnesses)
    watching = {peer for peer in everybody if peer.startswith("witness")}
    assert counted.is_majority(set(everybody) - watching) == (peers > witnesses)


def test_one_dead_peer_of_a_two_peer_member_costs_half_a_voice() -> None:
    counted, everybody = made({"a": 2, "b": 1, "c": 1}, 0)
    assert counted.count([peer for peer in everybody if peer != "a0"]) == Fraction(5, 2)
    assert not counted.is_majority([PeerId("a0"), PeerId("b0")])
    assert counted.is_majority([PeerId("a0"), PeerId("a1"), PeerId("b0")])


def test_which_electorates_survive_no_death() -> None:
    def thin(members: dict[str, int], witnesses: int = 0) -> bool:
        known = peers_of(members)
        watching = frozenset(PeerId(f"witness{number}") for number in range(witnesses))
        return Electorate(frozenset(known), watching, members=frozenset(known.items())).is_thin

    assert thin({"a": 1}) and thin({"a": 2}) and thin({"a": 1, "b": 1}) and thin({"a": 5, "b": 1})
    assert not (thin({"a": 3}) or thin({"a": 1, "b": 1}, 1) or thin({"a": 2, "b": 2}) or thin({"a": 2}, 1))
