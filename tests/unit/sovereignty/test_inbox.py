"""Frames that wait for receipts: in order, and bounded for each sender and for all together."""

import pytest
from blake3 import blake3

from swarm.sovereignty import inbox as inboxes
from swarm.sovereignty.inbox import Inbox
from swarm.sovereignty.signed import MAX_RECEIPT_FRAMES
from tests.simulation import peer_identity

ADA, BO, CY = (peer_identity(number).peer_id for number in range(3))


def test_frames_come_back_in_order_with_their_sizes_and_wait_no_longer() -> None:
    inbox = Inbox()
    frames = [b"x" * (number % 7) + b"%d" % number for number in range(MAX_RECEIPT_FRAMES + 3)]
    for frame in frames:
        inbox.note(ADA, memoryview(frame))
    inbox.note(BO, b"")
    taken = inbox.take(ADA) + inbox.take(ADA)
    assert taken == [(blake3(frame).digest(), len(frame)) for frame in frames]
    assert inbox.take(ADA) == [] and inbox.senders == [BO]
    inbox.note(ADA, b"more")
    assert inbox.take(ADA) == [(blake3(b"more").digest(), 4)]


def test_who_was_heard_least_lately_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "MAX_WAITING_IN_ALL", 10)
    inbox = Inbox()
    for sender in (ADA, BO, CY, ADA):
        for _ in range(3):
            inbox.note(sender, b"frame")
    assert inbox.senders == [CY, ADA], "bo was silent longest when there were too many"
    assert [len(inbox.take(sender)) for sender in (ADA, BO, CY)] == [6, 0, 3]
    monkeypatch.setattr(inboxes, "MAX_SENDERS", 2)
    for sender in (ADA, BO, CY):
        inbox.note(sender, b"frame")
    assert inbox.senders == [BO, CY]
