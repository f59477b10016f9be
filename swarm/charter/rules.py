"""What makes a charter consistent: `check_charter` and the limit of every number and string in it.

Pure: no clock, no files, no signatures (those are `signing.py`). A charter may come from a stranger, so every
size has a limit, and every text is printable before a terminal shows it. The rules:

 1. every number is finite and in range, every text within its length and free of control characters;
 2. names, keys, peers and jurisdictions occur once; "open" is no member's name;
 3. keys and peers are canonical Ed25519 peer ids; a member's key runs no peer;
 4. members x cap >= 1, where all openly admitted volunteers together are one member;
 5. 1 <= threshold <= founders; at least one genesis peer and one region;
 6. chunks are whole blocks; the deadline's floor is not above its ceiling; the run ends after it begins;
 7. secure sums take three members, uniform weights and a majority, and what is added fits into 16 bits;
 8. quorum kind `available` is for runs that admit anybody, and has no witnesses: nobody waits for their votes;
 9. over several regions a sum holds three members, or is masked across them, or single updates may cross;
10. licences of data are names, each once.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from swarm.charter.manifest import CROSSING_MEMBERS, AdamW, Charter, QualityVotes, SecureSum
from swarm.errors import CharterError
from swarm.identity.peer_id import PeerId, parse_peer_id

OPEN_MEMBER = "open"
"""The member that all openly admitted volunteers belong to together."""

MAX_NAME_CHARACTERS = 64
MAX_CONFIG_BYTES = 262_144
MAX_UNIX_S = 253_402_300_799
"""The last second of the year 9999."""
MAX_PARAMETERS = 1_000_000_000_000
MAX_INNER_STEPS = 1_000_000
MAX_TARGET_TOKENS = 2**40
MAX_BATCH_SEQUENCES = 65_536
MAX_SEQUENCE_BYTES = 1_048_576
MAX_RATE = 10.0
"""Of learning rates and weight decays."""
MAX_BLOCK_ELEMENTS = 65_536
MAX_CHUNK_ELEMENTS = 16_777_216
"""64 MiB of float32: what a peer must be ready to buffer for one chunk."""
MAX_RMS = 2.0**60
"""Far below what may travel at all."""
MAX_CONTRIBUTORS = 10_000
SECURE_MEMBERS = 3
"""Distinct members without which a secure sum hides nothing: of two, each knows the other's update from the sum."""
SECURE_WORD_BITS = 16
"""Of an element on the wire: what masks are added in."""
MAX_SECURE_BITS = 14
"""Three members of weight 1 still fit into a word."""
MAX_KAPPA = 1_000.0
MIN_SECURE_RMS = 1e-30
MAX_DEADLINE_S = 86_400.0
MAX_MAD_FACTOR = 1_000.0
MAX_TOLERANCE_PERCENT = 10_000.0
MAX_DELTA = 1e-3
"""Above it a guarantee says next to nothing."""
MAX_REGIONS = 256
MAX_JURISDICTIONS = 676
"""26 x 26: all two-letter codes there can be."""
MAX_LICENCES = 256
MAX_MEMBERS = 10_000
MAX_FOUNDERS = 256
MAX_GENESIS_PEERS = 4_096

_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
_JURISDICTION = re.compile(r"[A-Z]{2}")


def check_charter(charter: Charter) -> None:
    """Judges the payload alone.

    Raises:
        CharterError: one sentence with the first rule that is broken.
    """
    _check_run_and_model(charter)
    _check_training(charter)
    _check_round(charter)
    _check_people(charter)
    _check_quorum(charter)
    _check_positive("privacy.delta", charter.privacy.delta, MAX_DELTA)
    _check_aggregation(charter)
    _check_licences(charter)
    _check_regions(charter)
    _check_borders(charter)


def is_jurisdiction(text: str) -> bool:
    """Whether the text has the form of an ISO 3166 alpha-2 code."""
    return _JURISDICTION.fullmatch(text) is not None


def _check_run_and_model(charter: Charter) -> None:
    _check_name("run.name", charter.run.name)
    _check_number("run.created", charter.run.created, 0, MAX_UNIX_S)
    _check_number("run.expires", charter.run.expires, 0, MAX_UNIX_S)
    if charter.run.expires <= charter.run.created:
        raise CharterError("run.expires is not after run.created")
    _check_number("model.parameters", charter.model.parameters, 1, MAX_PARAMETERS)
    for key, digest in (
        ("model.schema_digest", charter.model.schema_digest),
        ("model.state_digest", charter.model.state_digest),
    ):
        if _HEX_DIGEST.fullmatch(digest) is None:
            raise CharterError(f"{key} must be 64 lowercase hexadecimal digits")
    for key, digest in (
        ("model.checkpoint_digest", charter.model.checkpoint_digest),
        ("model.tokenizer_digest", charter.model.tokenizer_digest),
    ):
        if digest and _HEX_DIGEST.fullmatch(digest) is None:
            raise CharterError(f"{key} must be empty or 64 lowercase hexadecimal digits")
    if charter.model.config_json:
        _check_config(charter.model.config_json)


def _check_config(config_json: str) -> None:
    if len(config_json.encode()) > MAX_CONFIG_BYTES:
        raise CharterError(f"model.config_json is longer than {MAX_CONFIG_BYTES} bytes")
    try:
        msgspec.json.decode(config_json, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        raise CharterError("model.config_json is not a JSON object") from None


def _check_training(charter: Charter) -> None:
    training, outer = charter.training, charter.outer
    _check_number("training.inner_steps", training.inner_steps, 1, MAX_INNER_STEPS)
    _check_number("training.target_tokens", training.target_tokens, 0, MAX_TARGET_TOKENS)
    _check_number("training.batch_size", training.batch_size, 1, MAX_BATCH_SEQUENCES)
    _check_number("training.sequence_length", training.sequence_length, 1, MAX_SEQUENCE_BYTES)
    _check_positive("training.inner_lr", training.inner_lr, MAX_RATE)
    _check_number("training.inner_weight_decay", training.inner_weight_decay, 0.0, MAX_RATE)
    _check_positive("outer.lr", outer.lr, MAX_RATE)
    if isinstance(outer, AdamW):
        _check_fraction("outer.beta1", outer.beta1)
        _check_fraction("outer.beta2", outer.beta2)
        _check_positive("outer.eps", outer.eps, 1.0)
        _check_number("outer.weight_decay", outer.weight_decay, 0.0, MAX_RATE)
    else:
        _check_fraction("outer.momentum", outer.momentum)


def _check_round(charter: Charter) -> None:
    reduce, deadlines = charter.reduce, charter.deadlines
    _check_number("reduce.block_elements", reduce.block_elements, 1, MAX_BLOCK_ELEMENTS)
    _check_number("reduce.chunk_elements", reduce.chunk_elements, 1, MAX_CHUNK_ELEMENTS)
    if reduce.chunk_elements % reduce.block_elements:
        raise CharterError(
            f"reduce.chunk_elements ({reduce.chunk_elements}) is not a multiple of "
            f"reduce.block_elements ({reduce.block_elements})"
        )
    _check_positive("reduce.max_rms", reduce.max_rms, MAX_RMS)
    _check_number("reduce.min_contributors", reduce.min_contributors, 1, MAX_CONTRIBUTORS)
    _check_positive("deadlines.floor_s", deadlines.floor_s, MAX_DEADLINE_S)
    _check_positive("deadlines.ceiling_s", deadlines.ceiling_s, MAX_DEADLINE_S)
    if deadlines.floor_s > deadlines.ceiling_s:
        raise CharterError("deadlines.floor_s is above deadlines.ceiling_s")
    _check_number("deadlines.mad_factor", deadlines.mad_factor, 0.0, MAX_MAD_FACTOR)
    _check_number("weights.cap_percent", charter.weights.cap_percent, 1, 100)
    if isinstance(charter.quality, QualityVotes):
        _check_number("quality.tolerance_percent", charter.quality.tolerance_percent, 0.0, MAX_TOLERANCE_PERCENT)
    _check_count("members", len(charter.members), 0, MAX_MEMBERS)
    members = len(charter.members) + charter.admits_volunteers
    if members * charter.weights.cap < 1:
        raise CharterError(
            f"{members} members x cap of {charter.weights.cap_percent} % is below 100 %: "
            "raise weights.cap_percent or add members"
        )


def _check_people(charter: Charter) -> None:
    for member in charter.members:
        _check_name("members.name", member.name)
        if _folded(member.name) == OPEN_MEMBER:
            raise CharterError(f'no member may be called "{OPEN_MEMBER}": volunteers of an open run go by it')
        _check_peer_id("members.key", member.key)
    _check_once("member name", (_folded(member.name) for member in charter.members))
    _check_once("member key", (member.key for member in charter.members))
    _check_number("governance.amend_threshold", charter.governance.amend_threshold, 0, len(charter.members))

    founders = charter.founders
    _check_count("founders.keys", len(founders.keys), 1, MAX_FOUNDERS)
    for key in founders.keys:
        _check_peer_id("founders.keys", key)
    _check_once("founder key", founders.keys)
    _check_number("founders.threshold", founders.threshold, 1, len(founders.keys))

    genesis = charter.genesis
    _check_count("genesis.peers", len(genesis.peers), 1, MAX_GENESIS_PEERS)
    _check_count("genesis.witnesses", len(genesis.witnesses), 0, MAX_GENESIS_PEERS)
    electorate = (*genesis.peers, *genesis.witnesses)
    for peer in electorate:
        _check_peer_id("genesis", peer)
    _check_once("genesis peer or witness", electorate)
    check_electors_members("genesis", genesis.peers, genesis.members, charter)
    for member in charter.members:
        if member.key in electorate:
            raise CharterError(
                f"the key of member {member.name} is also a genesis peer: a member's key signs passports "
                "and runs no peer, so make a second key"
            )


def check_electors_names(what: str, peers: Sequence[PeerId], members: Sequence[str]) -> None:
    """Refuses names of electors' members that are none, or not one each. Raises CharterError."""
    if members and len(members) != len(peers):
        raise CharterError(f"{what} names {len(members)} members for {len(peers)} peers: one each, or none at all")
    for name in filter(None, members):
        _check_name(f"{what}: a member's name", name)


def check_electors_members(what: str, peers: Sequence[PeerId], members: Sequence[str], charter: Charter) -> None:
    """Refuses names of electors' members that no passport under a charter could have. Raises CharterError."""
    check_electors_names(what, peers, members)
    known = {"", *(member.name for member in charter.members)}
    if charter.admits_volunteers:
        known.add(OPEN_MEMBER)
    for name in members:
        if name not in known:
            raise CharterError(f"{what} counts a peer as {name[:MAX_NAME_CHARACTERS]!r}'s, which is no member")


def _check_quorum(charter: Charter) -> None:
    if charter.quorum.kind != "available":
        return
    if charter.admission.kind != "open":
        raise CharterError('quorum.kind "available" is for runs with admission "open": members\' runs need a majority')
    if charter.genesis.witnesses:
        raise CharterError('quorum.kind "available" has no witnesses: whoever is there goes on without votes of others')


def _check_aggregation(charter: Charter) -> None:
    rule = charter.aggregation
    if not isinstance(rule, SecureSum):
        return
    _check_number("aggregation.bits", rule.bits, 2, MAX_SECURE_BITS)
    _check_number("aggregation.block_elements", rule.block_elements, 1, MAX_BLOCK_ELEMENTS)
    if rule.block_elements & (rule.block_elements - 1):
        raise CharterError(f"aggregation.block_elements ({rule.block_elements}) is not a power of two")
    if charter.reduce.chunk_elements % rule.block_elements:
        raise CharterError("reduce.chunk_elements is not a multiple of aggregation.block_elements")
    _check_positive("aggregation.initial_rms", rule.initial_rms, MAX_RMS)
    _check_positive("aggregation.floor_rms", rule.floor_rms, MAX_RMS)
    if not MIN_SECURE_RMS <= rule.floor_rms <= rule.initial_rms:
        raise CharterError(f"aggregation.floor_rms is below {MIN_SECURE_RMS:g} or above aggregation.initial_rms")
    _check_number("aggregation.kappa", rule.kappa, 1.0, MAX_KAPPA)
    members = len(charter.members) + (charter.admission.kind != "member")
    if members < SECURE_MEMBERS:
        raise CharterError(f"a secure sum of {members} members hides nothing: it takes {SECURE_MEMBERS}")
    if charter.quorum.kind == "available":
        raise CharterError('a secure sum needs quorum.kind "majority": on two chains one update would be in two sums')
    if charter.weights.policy != "uniform":
        raise CharterError('a secure sum needs weights.policy "uniform": token counts do not fit into 16 bits')
    if charter.reduce.levels == 1 and len(charter.regions) > 1 and not rule.across_regions:
        raise CharterError("one level over several regions masks across them: set aggregation.across_regions")


def _check_licences(charter: Charter) -> None:
    licences = charter.data.licences
    _check_count("data.licences", len(licences), 0, MAX_LICENCES)
    for licence in licences:
        _check_name("data.licences", licence)
    _check_once("licence", licences)


def _check_regions(charter: Charter) -> None:
    _check_count("regions", len(charter.regions), 1, MAX_REGIONS)
    for region in charter.regions:
        _check_name("regions.name", region.name)
        _check_count(f"jurisdictions of region {region.name}", len(region.jurisdictions), 1, MAX_JURISDICTIONS)
        for code in region.jurisdictions:
            if not is_jurisdiction(code):
                raise CharterError(
                    f"{code[:16]!r} in region {region.name} is not a two-letter ISO 3166 code such as DE"
                )
    _check_once("region name", (_folded(region.name) for region in charter.regions))
    _check_once("jurisdiction", (code for region in charter.regions for code in region.jurisdictions))


def _check_borders(charter: Charter) -> None:
    reduce, rule = charter.reduce, charter.aggregation
    is_masked = isinstance(rule, SecureSum) and rule.across_regions
    if len(charter.regions) == 1 or is_masked or reduce.single_update_may_cross:
        return
    if reduce.min_contributors < CROSSING_MEMBERS:
        raise CharterError(
            f"reduce.min_contributors is {reduce.min_contributors}, and over several regions a sum of fewer than "
            f"{CROSSING_MEMBERS} members tells single updates: set single_update_may_cross as well, or "
            f"min_contributors to {CROSSING_MEMBERS} or more, or mask across regions"
        )
    if reduce.levels == 1:
        raise CharterError(
            "reduce.levels is 1, and in one group over several regions single updates cross borders: set levels to 2, "
            "or single_update_may_cross"
        )


def _check_name(key: str, text: str) -> None:
    if not 1 <= len(text) <= MAX_NAME_CHARACTERS:
        raise CharterError(f"{key} must have 1 to {MAX_NAME_CHARACTERS} characters")
    if not text.isprintable() or text != text.strip():
        raise CharterError(f"{key} {text!r} has control characters, or spaces at its ends")


def _check_peer_id(key: str, text: str) -> None:
    try:
        parse_peer_id(text)
    except ValueError as error:
        raise CharterError(f"{key}: {error}") from None


def _check_once(what: str, values: Iterable[str]) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise CharterError(f"{what} {value} occurs {count} times")


def _check_count(key: str, count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        raise CharterError(f"{key}: {count} entries, expected {least} to {most}")


def _check_number(key: str, value: float, least: float, most: float) -> None:
    # A negative zero compares equal to zero, hashes to the same run id, and can give other bits: refused with
    # the rest.
    if not (math.isfinite(value) and least <= value <= most) or math.copysign(1.0, value) < 0:
        raise CharterError(f"{key} is {value}, expected {least} to {most}")


def _check_positive(key: str, value: float, most: float) -> None:
    _check_number(key, value, 0.0, most)
    if value == 0:
        raise CharterError(f"{key} must be above 0")


def _check_fraction(key: str, value: float) -> None:
    _check_number(key, value, 0.0, 1.0)
    if value == 1:
        raise CharterError(f"{key} must be below 1")


def _folded(name: str) -> str:
    """The form in which two names are the same name to a reader."""
    return unicodedata.normalize("NFKC", name).casefold()
