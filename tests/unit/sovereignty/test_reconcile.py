"""Two ends of the same frames: what agrees, what only one side says, and what is a contradiction."""

from pathlib import Path

import pytest

from swarm.errors import ProtocolError, StateError
from swarm.sovereignty import statements
from swarm.sovereignty.inbox import MAX_WAITING_FRAMES, Inbox
from swarm.sovereignty.receipts import MAX_AT_ONCE, MAX_UNSENT_PEERS, Receipts
from swarm.sovereignty.reconcile import reconcile
from swarm.sovereignty.signed import MAX_RECEIPT_FRAMES, Receipt
from tests.simulation import peer_identity
from tests.unit.sovereignty.ledgers import ADA, BO, CY, RUN_ID, Machine


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Machine, Machine]:
    ada, bo = Machine(tmp_path / "ada", ADA), Machine(tmp_path / "bo", BO)
    ada.send("directory", 2)
    return ada, bo


def test_what_arrived_whatever_the_order_agrees(pair: tuple[Machine, Machine]) -> None:
    ada, bo = pair
    there, back = ada.send(BO.peer_id, 6), bo.send(ADA.peer_id, 3)
    for receipt in (*bo.countersign(ADA.peer_id, there[:4][::-1]), *bo.countersign(ADA.peer_id, there[4:])):
        ada.receipts.keep(receipt, 100)
    ada.countersign(BO.peer_id, back)
    ada.sign()
    bo.sign()
    found = reconcile(ada.path, bo.path)
    assert found.agrees and not found.faults
    one, other = found.directions
    assert (one.sender, one.receiver, one.agreed_frames, one.receipts) == (ADA.peer_id, BO.peer_id, 6, 2)
    assert one.agreed_bytes == sum(map(len, there)) and other.agreed_frames == 3


def test_a_cut_stream_is_a_difference_that_is_named_and_no_contradiction(pair: tuple[Machine, Machine]) -> None:
    ada, bo = pair
    sent = ada.send(BO.peer_id, 6)
    bo.countersign(ADA.peer_id, sent[:2] + sent[3:5])
    bo.send("directory", 1)
    ada.sign()
    bo.sign()
    found = reconcile(ada.path, bo.path)
    there = found.directions[0]
    assert not found.agrees and not found.faults
    assert (there.sent_only_frames, there.sent_only_entries) == (2, (4, 7))
    assert there.sent_only_bytes == len(sent[2]) + len(sent[5])
    assert there.sent_only_by_kind == {"update": 2}
    assert "sent and not countersigned: 2 frames" in found.text and "entries 4, 7" in found.text


def test_a_frame_that_the_senders_ledger_hides_is_a_contradiction(pair: tuple[Machine, Machine]) -> None:
    ada, bo = pair
    sent = ada.send(BO.peer_id, 3)
    bo.countersign(ADA.peer_id, [*sent, b"off the record"])
    bo.send("directory", 1)
    ada.sign()
    bo.sign()
    found = reconcile(ada.path, bo.path)
    assert found.directions[0].received_only_frames == 1
    assert "countersigned 1 frames (receipt 1)" in found.faults[0] and not found.agrees
    assert reconcile(bo.path, ada.path).faults == found.faults


def test_one_copy_of_a_receipt_is_enough_and_two_must_be_the_same(pair: tuple[Machine, Machine]) -> None:
    ada, bo = pair
    sent = ada.send(BO.peer_id, 3)
    (receipt,) = bo.countersign(ADA.peer_id, sent)
    bo.send("directory", 1)
    ada.receipts.keep(receipt, 3)
    ada.sign()
    bo.sign()
    given = bo.folder / "receipts" / "given" / f"{ADA.peer_id}.jsonl"
    statements.replace(given, [])
    assert reconcile(ada.path, bo.path).directions[0].agreed_frames == 3
    other = Receipt(RUN_ID, ADA.peer_id, 1, len(sent[0]), Receipt.read(receipt).digests[:32], 0.0).sign(BO)
    statements.replace(given, [other])
    assert "two different receipts with number 1" in reconcile(ada.path, bo.path).faults[0]


def test_receipts_that_lie_about_bytes_or_signer_are_faults(pair: tuple[Machine, Machine]) -> None:
    ada, bo = pair
    sent = ada.send(BO.peer_id, 2)
    (receipt,) = bo.countersign(ADA.peer_id, sent)
    bo.send("directory", 1)
    ada.sign()
    bo.sign()
    given = bo.folder / "receipts" / "given" / f"{ADA.peer_id}.jsonl"
    inside = Receipt.read(receipt)
    short = Receipt(RUN_ID, ADA.peer_id, 1, inside.bytes - 1, inside.digests, inside.at)
    statements.replace(given, [short.sign(BO)])
    assert "for the same frames" in reconcile(ada.path, bo.path).faults[0]
    statements.replace(given, [inside.sign(CY)])
    assert "a receipt by" in reconcile(ada.path, bo.path).faults[0]
    statements.replace(given, [type(receipt)(BO.peer_id, receipt.payload, bytes(64))])
    assert "not its author's" in reconcile(ada.path, bo.path).faults[0]


def test_it_takes_two_and_folders_that_say_whose_they_are(pair: tuple[Machine, Machine]) -> None:
    ada, bo = pair
    ada.sign()
    with pytest.raises(StateError, match="same peer"):
        reconcile(ada.path, ada.path)
    bo.send("directory", 1)
    with pytest.raises(StateError, match="whose ledger"):
        reconcile(ada.path, bo.path)


def test_a_receipt_is_kept_once_and_never_for_more_than_was_sent(pair: tuple[Machine, Machine]) -> None:
    ada, bo = pair
    sent = ada.send(BO.peer_id, 3)
    (first,) = bo.countersign(ADA.peer_id, sent[:2])
    (second,) = bo.countersign(ADA.peer_id, sent[2:])
    for receipt in (first, first, second, first):
        ada.receipts.keep(receipt, 3)
    got = ada.folder / "receipts" / "got" / f"{BO.peer_id}.jsonl"
    assert list(statements.read(got)) == [first, second]
    (third,) = bo.countersign(ADA.peer_id, sent)
    fresh = Receipts(ada.folder, ADA, RUN_ID)
    with pytest.raises(ProtocolError, match="more frames than were sent"):
        fresh.keep(third, 5)
    with pytest.raises(ProtocolError, match="another peer"):
        Receipts(ada.folder, CY, RUN_ID).keep(third, 100)
    assert Receipt.read(Machine(bo.folder, BO).countersign(ADA.peer_id, sent)[0]).number == 4


def test_receipts_wait_until_they_are_taken_and_are_bounded(pair: tuple[Machine, Machine]) -> None:
    _, bo = pair
    inbox = Inbox()
    for number in range(MAX_RECEIPT_FRAMES + 1):
        inbox.note(ADA.peer_id, b"%d" % number)
    made = bo.receipts.countersign(inbox, ADA.peer_id, 0.0)
    assert [len(Receipt.read(each).frames) for each in made] == [MAX_RECEIPT_FRAMES, 1]
    assert bo.receipts.countersign(inbox, ADA.peer_id, 1.0) == made and not inbox.senders
    bo.receipts.taken(ADA.peer_id)
    assert bo.receipts.countersign(inbox, ADA.peer_id, 1.0) == ()
    for number in range(MAX_UNSENT_PEERS + 2):
        inbox.note(peer_identity(number).peer_id, b"word")
        bo.receipts.countersign(inbox, peer_identity(number).peer_id, 2.0)
    kept = [bo.receipts.countersign(inbox, peer_identity(number).peer_id, 3.0) for number in range(4)]
    assert [len(each) for each in kept] == [0, 0, 1, 1], "who never takes them is forgotten, the files have them"
    for _ in range(MAX_WAITING_FRAMES + 5):
        inbox.note(ADA.peer_id, b"")
    taken = [inbox.take(ADA.peer_id) for _ in range(MAX_AT_ONCE + 1)]
    assert [len(each) for each in taken] == [MAX_RECEIPT_FRAMES] * MAX_AT_ONCE + [0]
