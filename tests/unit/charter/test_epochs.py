"""Amendments and revocations, judged one after the other: who may sign, what may change, gaps, forks, and the list."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.charter import epochs, holdings
from swarm.charter import passport as passports
from swarm.charter.admission import Admitted, Reason, Refused
from swarm.charter.amendment import Amendment, SignedAmendment
from swarm.charter.epochs import Rules
from swarm.charter.manifest import Admission, Data, Genesis, Member, Region, Training
from swarm.charter.passport import SignedPassport, issue, volunteer
from swarm.errors import CharterError
from tests.governing import amendment, changed, revocation, signed_amendment
from tests.unit.charter.samples import ADA, BO, CY, EXPIRES_S, NOW_S, PEERS, STRANGER, charter, identity

CHARTER = charter()
GENESIS = Rules.genesis(CHARTER)
ALL = (ADA, BO, CY)
DI = identity(4)
MEMBERS_WITH_DI = (*CHARTER.members, Member(name="Di", key=DI.peer_id))


def refused(rules: Rules, data: bytes) -> str:
    with pytest.raises(CharterError) as caught:
        epochs.plus(rules, data)
    return str(caught.value)


def payload_of(data: bytes) -> Amendment:
    document = epochs.decode(data)
    assert isinstance(document, SignedAmendment)
    return document.amendment


def passport(signer: int = 0, peer: int = 0, **options: float) -> SignedPassport:
    return issue(ALL[signer], CHARTER, PEERS[peer].peer_id, "DE", options.get("expires_s", EXPIRES_S), NOW_S)


def verdict(rules: Rules, signed: SignedPassport) -> Admitted | Refused:
    return rules.admit(signed, signed.payload.peer_id, NOW_S)


# --- amendments -------------------------------------------------------------------------------------------------------


def test_an_amendment_of_enough_members_is_the_next_epoch_of_the_same_run() -> None:
    one = epochs.plus(GENESIS, amendment(GENESIS, ALL, members=MEMBERS_WITH_DI))
    assert (one.epoch, one.run_id, one.charter.members) == (1, GENESIS.run_id, MEMBERS_WITH_DI)
    two = epochs.plus(one, amendment(one, [ADA, BO, DI], run={"expires": EXPIRES_S + 5}))
    assert (two.epoch, two.run_id, two.charter.run.expires) == (2, GENESIS.run_id, EXPIRES_S + 5)
    assert len({GENESIS.digest, one.digest, two.digest}) == 3


def test_too_few_or_forged_or_foreign_signatures_are_none() -> None:
    assert "3 of 3 members in force and has 2" in refused(GENESIS, amendment(GENESIS, [ADA, BO], reason="x"))
    assert "has 2" in refused(GENESIS, amendment(GENESIS, [ADA, BO, STRANGER]))
    good = epochs.decode(amendment(GENESIS, ALL))
    assert isinstance(good, SignedAmendment)
    other = msgspec.structs.replace(good.amendment, reason="something else that nobody signed")
    assert "has 0" in refused(GENESIS, epochs.encode(SignedAmendment(amendment=other, signatures=good.signatures)))
    twice = SignedAmendment(amendment=good.amendment, signatures=(good.signatures[0],) * 3)
    assert "has 1" in refused(GENESIS, epochs.encode(twice))
    one = epochs.plus(GENESIS, amendment(GENESIS, ALL, members=MEMBERS_WITH_DI))
    assert "has 2" in refused(one, amendment(one, [ADA, BO, STRANGER])), "of four, three must sign"
    without_cy = epochs.plus(GENESIS, amendment(GENESIS, ALL, members=CHARTER.members[:2], weights={"cap_percent": 50}))
    assert "has 1" in refused(without_cy, amendment(without_cy, [ADA, CY])), "who is no member any more signs nothing"


def test_the_charter_may_set_the_threshold() -> None:
    rules = Rules.genesis(changed(CHARTER, governance={"amend_threshold": 2}))
    assert epochs.plus(rules, amendment(rules, [ADA, BO])).epoch == 1
    assert "2 of 3" in refused(rules, amendment(rules, [ADA]))
    with pytest.raises(CharterError, match="amend_threshold"):
        epochs.plus(rules, amendment(rules, [ADA, BO], governance={"amend_threshold": 4}))


def test_gaps_and_other_histories_are_refused() -> None:
    one = epochs.plus(GENESIS, amendment(GENESIS, ALL))
    third = msgspec.structs.replace(payload_of(amendment(one, ALL)), epoch=3)
    assert "those between are missing" in refused(one, signed_amendment(third, ALL))
    assert "has its amendment" in refused(one, amendment(GENESIS, ALL))
    sibling = epochs.plus(GENESIS, amendment(GENESIS, ALL, reason="another one"))
    assert "follows another epoch 1" in refused(one, amendment(sibling, ALL))
    foreign = msgspec.structs.replace(payload_of(amendment(GENESIS, ALL)), run_id="d" * 64)
    assert "another run" in refused(GENESIS, signed_amendment(foreign, ALL))


@pytest.mark.parametrize(
    ("tables", "named"),
    [
        ({"model": {"parameters": 999}}, "model"),
        ({"model": {"state_digest": "c" * 64}}, "model"),
        ({"founders": {"threshold": 1}}, "founders"),
        ({"genesis": Genesis(peers=CHARTER.genesis.peers[:2])}, "genesis"),
        ({"run": {"name": "autumn"}}, "run.name"),
        ({"run": {"created": 1}}, "run.created"),
        ({"reduce": {"chunk_elements": 1280}}, "reduce.chunk_elements"),
        ({"reduce": {"codec": "float32"}}, "reduce.codec"),
        ({"training": Training(mode="gradient")}, "training"),
        ({"quorum": {"kind": "available"}}, "quorum.kind|runs with admission"),
        ({"regions": CHARTER.regions[:1]}, "region east-asia"),
        ({"regions": (Region(name="eu", jurisdictions=("DE", "FR", "US")), CHARTER.regions[1])}, "region eu"),
    ],
)
def test_what_training_and_members_rest_on_is_the_same_in_every_epoch(tables: dict[str, object], named: str) -> None:
    with pytest.raises(CharterError, match=named):
        epochs.plus(GENESIS, amendment(GENESIS, ALL, **tables))


def test_a_region_may_be_added_and_every_rule_of_a_charter_holds_for_an_amended_one() -> None:
    more = (*CHARTER.regions, Region(name="south", jurisdictions=("BR",)))
    assert epochs.plus(GENESIS, amendment(GENESIS, ALL, regions=more)).charter.region_of("BR") == "south"
    assert "occurs 2 times" in refused(GENESIS, amendment(GENESIS, ALL, members=CHARTER.members * 2))
    assert "reason" in refused(GENESIS, amendment(GENESIS, ALL, reason="\x1b[2J"))
    assert "from round 0" in refused(GENESIS, amendment(GENESIS, ALL, from_round=0))


def test_the_licences_of_data_may_be_amended_and_the_document_keeps_its_one_spelling() -> None:
    named = amendment(GENESIS, ALL, data=Data(licences=("CC0-1.0", "GPL-2.0")))
    assert epochs.plus(GENESIS, named).charter.data.licences == ("CC0-1.0", "GPL-2.0")
    for document in (named, amendment(GENESIS, ALL)):
        assert epochs.encode(epochs.decode(document)) == document
        assert (b'"licences"' in document) == (document is named)


def test_a_table_that_charters_gain_later_is_fixed_until_it_is_listed() -> None:
    from swarm.charter.amendment import MAY_CHANGE
    from swarm.charter.manifest import Charter

    fixed = set(Charter.__struct_fields__) - set(MAY_CHANGE)
    assert {"version", "model", "training", "outer", "aggregation", "privacy", "founders", "genesis"} <= fixed


# --- revocations ------------------------------------------------------------------------------------------------------


def test_a_member_withdraws_what_it_signed_and_nothing_else() -> None:
    good = passport()
    by_peer = revocation(GENESIS.run_id, ADA.peer_id, [ADA], peer=PEERS[0].peer_id)
    by_digest = revocation(GENESIS.run_id, ADA.peer_id, [ADA], passport=passports.digest(good))
    for data in (by_peer, by_digest):
        rules = epochs.plus(GENESIS, data)
        assert verdict(rules, good) == Refused(Reason.REVOKED)
        assert isinstance(verdict(rules, passport(1, 0)), Admitted), "the same peer under another member's passport"
        assert isinstance(verdict(rules, passport(0, 1)), Admitted), "another peer of the member"
        assert rules.in_force.revocations and rules.epoch == 0
    renewed = passport(expires_s=EXPIRES_S - 1)
    assert isinstance(verdict(epochs.plus(GENESIS, by_digest), renewed), Admitted)
    assert verdict(epochs.plus(GENESIS, by_peer), renewed) == Refused(Reason.REVOKED)
    for signer in (BO, STRANGER):
        data = revocation(GENESIS.run_id, ADA.peer_id, [signer], peer=PEERS[0].peer_id)
        assert "did not sign as a member in force" in refused(GENESIS, data)
    assert "did not sign" in refused(GENESIS, revocation(GENESIS.run_id, STRANGER.peer_id, [STRANGER]))


def test_members_together_revoke_a_member_which_then_signs_nothing_any_more() -> None:
    rules = Rules.genesis(changed(CHARTER, governance={"amend_threshold": 2}))
    gone = epochs.plus(rules, revocation(rules.run_id, CY.peer_id, [ADA, BO]))
    theirs = issue(CY, rules.charter, PEERS[2].peer_id, "DE", EXPIRES_S, NOW_S)
    assert verdict(gone, theirs) == Refused(Reason.REVOKED)
    assert "has 1" in refused(gone, amendment(gone, [ADA, CY]))
    assert "did not sign" in refused(gone, revocation(rules.run_id, CY.peer_id, [CY], peer=PEERS[2].peer_id))
    assert "in force already" in refused(gone, revocation(rules.run_id, CY.peer_id, [BO, ADA]))
    dropped = epochs.plus(gone, amendment(gone, [ADA, BO], members=CHARTER.members[:2], weights={"cap_percent": 50}))
    back = amendment(dropped, [ADA, BO], members=CHARTER.members)
    assert "under a key that is revoked" in refused(dropped, back)


def test_the_digest_of_a_list_is_of_its_entries_in_no_order() -> None:
    entries = [revocation(GENESIS.run_id, key.peer_id, [key], peer=peer.peer_id) for key in ALL for peer in PEERS]
    one, other = GENESIS, GENESIS
    for data, again in zip(entries, reversed(entries), strict=True):
        one, other = epochs.plus(one, data), epochs.plus(other, again)
    assert one == other and one.in_force.revocations == other.in_force.revocations != b""
    assert GENESIS.in_force.revocations == b""


def test_what_is_in_no_canonical_form_or_too_long_is_no_document() -> None:
    good = amendment(GENESIS, ALL)
    for bad in (b"", b"{}", good[:-1], good.replace(b'"epoch":1', b'"epoch": 1'), b"\xff" * 99, b"[" * 100_000):
        assert isinstance(holdings.judge(GENESIS, (), bad), holdings.Rejected)
    assert "longer than" in refused(GENESIS, b" " * (epochs.MAX_DOCUMENT_BYTES + 1))


# --- what is held -----------------------------------------------------------------------------------------------------


def test_an_amendment_waits_for_its_round_and_a_revocation_does_not() -> None:
    held = (
        amendment(GENESIS, ALL, from_round=7),
        revocation(GENESIS.run_id, ADA.peer_id, [ADA], peer=PEERS[0].peer_id),
    )
    six, used = holdings.in_force_for(GENESIS, held, 6)
    assert (six.epoch, len(six.revoked.entries), used) == (0, 1, held[1:])
    seven, used = holdings.in_force_for(GENESIS, held, 7)
    assert (seven.epoch, set(used)) == (1, set(held))
    assert epochs.followed(GENESIS, used, 7) == epochs.followed(GENESIS, used, 7)
    with pytest.raises(CharterError, match="counts from round 7"):
        epochs.followed(GENESIS, used, 6)
    with pytest.raises(CharterError, match="in force already"):
        epochs.followed(GENESIS, (held[1], held[1]), 7)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)))
def test_what_is_in_force_depends_on_the_set_of_documents_and_not_on_their_order(order: list[int]) -> None:
    one = amendment(GENESIS, ALL, members=MEMBERS_WITH_DI)
    first = epochs.plus(GENESIS, one)
    documents = [
        one,
        amendment(first, [ADA, BO, DI], deadlines={"floor_s": 0.5}),
        revocation(GENESIS.run_id, ADA.peer_id, [ADA], peer=PEERS[0].peer_id),
        revocation(GENESIS.run_id, DI.peer_id, [DI], peer=PEERS[1].peer_id),
        revocation(GENESIS.run_id, BO.peer_id, [BO], peer=PEERS[2].peer_id),
    ]
    found, used = holdings.in_force_for(GENESIS, [documents[number] for number in order], 1)
    expected, _ = holdings.in_force_for(GENESIS, documents, 1)
    assert found == expected and found.epoch == 2 and len(found.revoked.entries) == 3
    assert epochs.followed(GENESIS, used, 1).in_force == found.in_force


def test_a_second_amendment_of_an_epoch_is_equivocation_and_a_gap_is_a_gap() -> None:
    first, second = amendment(GENESIS, ALL), amendment(GENESIS, ALL, reason="another one")
    assert holdings.judge(GENESIS, (), first) == holdings.Taken(first)
    assert holdings.judge(GENESIS, (first,), first) == holdings.Known()
    found = holdings.judge(GENESIS, (first,), second)
    assert isinstance(found, holdings.Equivocation) and found.both == {key.peer_id for key in ALL}
    on_record = epochs.followed(GENESIS, (first,), 3)
    assert isinstance(holdings.judge(on_record, (first,), second), holdings.Equivocation)
    two = amendment(epochs.plus(GENESIS, first), ALL)
    late = holdings.judge(GENESIS, (), two)
    assert isinstance(late, holdings.Rejected) and late.code == "gap"
    forged = holdings.judge(GENESIS, (first,), amendment(GENESIS, [ADA], reason="alone"))
    assert isinstance(forged, holdings.Rejected), "a forgery proves nothing against anybody"


# --- admission --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["member", "mixed", "open"])
def test_who_signs_its_own_passport_is_admitted_where_volunteers_are(kind: str) -> None:
    rules = Rules.genesis(changed(CHARTER, admission=Admission(kind=kind)))
    wide = changed(CHARTER, admission=Admission(kind="open"))
    own = volunteer(STRANGER, wide, "DE", EXPIRES_S, NOW_S, run=rules.run_id)
    members = issue(ADA, rules.charter, PEERS[0].peer_id, "DE", EXPIRES_S, NOW_S)
    assert isinstance(verdict(rules, members), Admitted)
    found = verdict(rules, own)
    if kind == "member":
        assert found == Refused(Reason.SELF_SIGNED)
    else:
        assert isinstance(found, Admitted) and found.passport.member == "open"


def test_members_of_a_mixed_run_withdraw_a_volunteer() -> None:
    rules = Rules.genesis(changed(CHARTER, admission=Admission(kind="mixed")))
    own = volunteer(STRANGER, rules.charter, "DE", EXPIRES_S, NOW_S)
    gone = epochs.plus(rules, revocation(rules.run_id, STRANGER.peer_id, ALL))
    assert verdict(gone, own) == Refused(Reason.REVOKED)


def test_admission_may_be_narrowed_by_an_amendment_and_follows_the_new_charter() -> None:
    rules = Rules.genesis(changed(CHARTER, admission=Admission(kind="mixed")))
    own = volunteer(STRANGER, rules.charter, "DE", EXPIRES_S, NOW_S)
    narrowed = epochs.plus(rules, amendment(rules, ALL, admission=Admission(kind="member")))
    assert isinstance(verdict(rules, own), Admitted)
    assert verdict(narrowed, own) == Refused(Reason.SELF_SIGNED)
    with_di = epochs.plus(GENESIS, amendment(GENESIS, ALL, members=MEMBERS_WITH_DI))
    theirs = issue(DI, with_di.charter, PEERS[1].peer_id, "DE", EXPIRES_S, NOW_S, run=with_di.run_id)
    assert isinstance(verdict(with_di, theirs), Admitted)
    assert verdict(GENESIS, theirs) == Refused(Reason.UNKNOWN_MEMBER)
