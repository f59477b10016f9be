"""What a metrics service outside the run is told of a committed round: these figures and no others.

A fold of the peer's own events. Nothing in it says what the data is, where files lie, or who else takes part; who
leaves the loss out is the gate's word (`Gate.may_tell_loss_outside`). Does not send.
"""

from dataclasses import dataclass
from math import isfinite

import msgspec

from swarm import events


class Figures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One committed round of one peer. What is not known is left out."""

    round: int
    at: float
    """Unix seconds of the commit on this machine."""
    seconds: float
    """From this peer's update to its new base."""
    peers: int
    counted: int
    """Peers whose update is in it."""
    loss: float | None = None
    tokens: int = 0
    """Trained on for this round."""
    tokens_per_s: float = 0.0
    sent_bytes: int = 0
    """Since the node started; likewise the next two."""
    inside_bytes: int = 0
    across_bytes: int = 0
    epsilon: float | None = None
    """Spent so far, where the data is under differential privacy."""


@dataclass
class Tally:
    """What is known for the next round's figures; give `see` every event."""

    update: events.UpdateReady | None = None
    tokens_per_s: float = 0.0
    sent: events.BytesOut | None = None
    epsilon: float | None = None

    def see(self, at: float, event: events.AnyEvent, *, with_loss: bool) -> Figures | None:
        """Takes one event; a round's figures when it was its commit. `at` in Unix seconds."""
        match event:
            case events.TrainingProgress():
                self.tokens_per_s = event.tokens_per_s
            case events.UpdateReady():
                self.update = event
            case events.PrivacySpent():
                self.epsilon = event.epsilon
            case events.BytesOut():
                self.sent = event
            case events.RoundCommitted():
                return self._of(at, event, with_loss=with_loss)
            case _:
                pass
        return None

    def _of(self, at: float, event: events.RoundCommitted, *, with_loss: bool) -> Figures:
        sent = self.sent
        update = self.update if self.update is not None and self.update.round == event.round else None
        knows_loss = with_loss and update is not None and isfinite(update.loss)
        return Figures(
            round=event.round,
            at=at,
            seconds=event.seconds,
            peers=len(event.peers),
            counted=len(event.contributors),
            loss=update.loss if knows_loss and update is not None else None,
            tokens=0 if update is None else update.tokens,
            tokens_per_s=self.tokens_per_s,
            sent_bytes=0 if sent is None else sum(sent.by_kind.values()),
            inside_bytes=0 if sent is None else sent.inside_bytes,
            across_bytes=0 if sent is None else sent.across_bytes,
            epsilon=self.epsilon,
        )
