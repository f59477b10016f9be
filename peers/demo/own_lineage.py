"""What the pilot takes from `tapestry lineage show --json` and `lineage verify --json` for its own document. Pure.

Only the fields that are shown are typed here; the statement's own types, and its checks, are in `peers.lineage`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from peers.demo.sovereign_result import LineageStage, OwnLineage


class _Base(msgspec.Struct, frozen=True):
    run_id: str
    round: int
    state: str


class _Seat(msgspec.Struct, frozen=True):
    member: str
    region: str
    rounds: int


class _Span(msgspec.Struct, frozen=True):
    roster: tuple[_Seat, ...]


class _Source(msgspec.Struct, frozen=True):
    artifact_id: str
    visibility: str


class _Stage(msgspec.Struct, frozen=True):
    name: str
    method: str
    result: str
    data: tuple[str, ...]


class _Predicate(msgspec.Struct, frozen=True):
    base: _Base
    rounds: tuple[_Span, ...]
    data: tuple[_Source, ...]
    stages: tuple[_Stage, ...]


class _Statement(msgspec.Struct, frozen=True):
    predicate: _Predicate


class _Shown(msgspec.Struct, frozen=True):
    signer: str
    statement: _Statement


class _Coverage(msgspec.Struct, frozen=True):
    records: int
    means: int
    weights: bool


class _Verified(msgspec.Struct, frozen=True):
    signer_is: str
    coverage: _Coverage


def lineage_of(shown: Mapping[str, Any], verified: Mapping[str, Any]) -> OwnLineage:
    """One model's lineage, from the two commands' documents."""
    said, checked = msgspec.convert(shown, _Shown), msgspec.convert(verified, _Verified)
    lineage = said.statement.predicate
    seats = [seat for span in lineage.rounds for seat in span.roster]
    regions = dict.fromkeys(seat.region for seat in seats)
    labels = {source.artifact_id: source.visibility for source in lineage.data}
    return OwnLineage(
        signer=said.signer,
        signer_is=checked.signer_is,
        run_id=lineage.base.run_id,
        round=lineage.base.round,
        state=lineage.base.state,
        contributed={name: sum(seat.rounds for seat in seats if seat.region == name) for name in regions},
        members={name: tuple(dict.fromkeys(seat.member for seat in seats if seat.region == name)) for name in regions},
        stages=tuple(
            LineageStage(
                name=stage.name,
                method=stage.method,
                result=stage.result,
                labels=tuple(labels[each] for each in stage.data),
            )
            for stage in lineage.stages
        ),
        records=checked.coverage.records,
        means=checked.coverage.means,
        is_base=checked.coverage.weights,
    )
