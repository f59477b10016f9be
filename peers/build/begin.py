"""Begins a build: verifies the Shared Base, reads the policy, and makes the folder with its record."""

import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from peers.build.base import Verified, verify_base, write_base
from peers.build.folder import make_folder
from peers.build.record import BASE_FOLDER, Base, BuildRecord, write_record
from peers.build.sources import read_ground
from swarm.clock import unix_s
from swarm.errors import StateError
from swarm.state.policies import keep_policy

DISTRIBUTION = "tapestry-swarm"


@dataclass(frozen=True)
class Beginning:
    """What a person says of a new build."""

    source: Path
    """State folder of a peer."""
    round: int | None
    """After which the base is taken; None for the last on record."""
    data: Path
    policy: Path
    member: str = ""
    jurisdiction: str = ""


def begin(build: Path, beginning: Beginning) -> BuildRecord:
    """Makes the folder `build`.

    Raises:
        UsageError: it is there already, or a path does not exist.
        TapestryError: the base, the policy or the place is refused.
    """
    ground = read_ground(beginning.data, beginning.policy)
    verified = verify_base(beginning.source, beginning.round)
    make_folder(build, beginning.data)
    try:
        keep_policy(build, ground.policy)
        record = BuildRecord(
            code=version(DISTRIBUTION),
            created=unix_s(),
            base=put_base(verified, build),
            member=beginning.member,
            jurisdiction=beginning.jurisdiction,
            data_folder=str(beginning.data.absolute()),
            policy=str(beginning.policy.absolute()),
            policy_digest=ground.policy.digest,
        )
        write_record(build, record)
    except BaseException:
        shutil.rmtree(build)  # made a moment ago; half a build is none
        raise
    return record


def put_base(verified: Verified, build: Path) -> Base:
    """Writes a verified base into a build folder. Raises ModelError or StateError."""
    try:
        weights = write_base(verified, build / BASE_FOLDER)
    except OSError as error:
        raise StateError(f"cannot write {build / BASE_FOLDER}: {error.strerror or error}") from None
    return Base(
        run_id=verified.run.id,
        round=verified.mark.round,
        record=verified.mark.digest.hex(),
        state=verified.mark.state_digest.hex(),
        checkpoint=str(verified.state.absolute()),
        weights=weights,
    )
