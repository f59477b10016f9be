"""What decides the weights of a stage, kept beside its checkpoints, to tell whether it is the one asked for again."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from peers.build.confined import remove, work_folder
from peers.build.recipe import Asked
from peers.build.record import Canaries, Method, Settings, Stage, StageName
from peers.extraction import Canary, new_canaries
from swarm.clock import unix_s
from swarm.sovereignty.artefacts import DataUsed
from swarm.state.disk import read_file, replace_file

_NAME = "plan.json"
_OWNER_ONLY = 0o600


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: StageName
    method: Method
    settings: Settings
    canaries: Canaries
    data: tuple[tuple[str, str], ...]
    """Names and digests."""
    parent: str
    """Digest of the model it begins with."""
    planted: tuple[Canary, ...] = ()
    started: float = 0.0

    def is_like(self, other: "Plan") -> bool:
        """The same but for the canaries that were drawn, and when."""
        return msgspec.structs.replace(self, planted=other.planted, started=other.started) == other


def plan_of(asked: Asked, used: Sequence[DataUsed], parent: str) -> Plan:
    """Of a stage that is asked for on this content, without canaries yet."""
    return Plan(
        name=asked.name,
        method=asked.method,
        settings=asked.settings,
        canaries=asked.canaries,
        data=_data_of(used),
        parent=parent,
    )


def plan_behind(stage: Stage) -> Plan:
    """Of a stage on record, without its canaries."""
    return Plan(
        name=stage.name,
        method=stage.method,
        settings=stage.settings,
        canaries=stage.canaries,
        data=_data_of(stage.data),
        parent=stage.parent,
    )


def begin_or_resume(work: Path, wanted: Plan) -> Plan:
    """The plan that lies in `work` if it is like the wanted one; else a new one, and what lies there goes.

    Raises:
        StateError: the disk refuses.
    """
    data = read_file(work / _NAME)
    try:
        kept = None if data is None else msgspec.json.decode(data, type=Plan)
    except msgspec.DecodeError:
        kept = None
    if kept is not None and wanted.is_like(kept):
        return kept
    remove(work)
    plan = msgspec.structs.replace(wanted, planted=new_canaries(wanted.canaries.count), started=unix_s())
    work_folder(work)
    replace_file(work / _NAME, [msgspec.json.encode(plan)], mode=_OWNER_ONLY)
    return plan


def _data_of(used: Sequence[DataUsed]) -> tuple[tuple[str, str], ...]:
    return tuple((each.name, each.digest) for each in used)
