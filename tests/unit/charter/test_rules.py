"""Every rule of a consistent charter, broken once."""

import math

import pytest
from msgspec.structs import replace

from swarm.charter.manifest import (
    AdamW,
    Admission,
    Charter,
    Data,
    Genesis,
    Member,
    Nesterov,
    Quorum,
    Region,
    SecureSum,
    Weights,
)
from swarm.charter.rules import MAX_CONFIG_BYTES, MAX_LICENCES, check_charter
from swarm.errors import CharterError
from swarm.identity.peer_id import PeerId
from tests.unit.charter.samples import ADA, BO, PEERS, STRANGER, charter


def _refused(payload: Charter, cause: str) -> None:
    with pytest.raises(CharterError, match=cause) as caught:
        check_charter(payload)
    assert "\n" not in str(caught.value)


def test_the_sample_is_consistent_in_both_modes_with_either_outer_step() -> None:
    for mode in ("diloco", "gradient"):
        for outer in (Nesterov(), AdamW()):
            base = charter()
            check_charter(replace(base, training=replace(base.training, mode=mode), outer=outer))


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [
        ("run", "name", ""),
        ("run", "name", "x" * 65),
        ("run", "name", "red \x1b[31m"),
        ("run", "name", " padded"),
        ("run", "created", -1),
        ("run", "expires", 10**12),
        ("model", "parameters", 0),
        ("model", "parameters", 10**13),
        ("model", "schema_digest", "A" * 64),
        ("model", "state_digest", "ab"),
        ("model", "config_json", "[1]"),
        ("model", "config_json", "{"),
        ("model", "config_json", '{"a": ' + "[" * 100_000),
        ("model", "config_json", '{"a": "' + "x" * MAX_CONFIG_BYTES + '"}'),
        ("training", "inner_steps", 0),
        ("training", "batch_size", 0),
        ("training", "sequence_length", 10**9),
        ("training", "inner_lr", 0.0),
        ("training", "inner_lr", math.nan),
        ("training", "inner_weight_decay", math.inf),
        ("training", "inner_weight_decay", -0.0),
        ("outer", "lr", -1.0),
        ("outer", "momentum", 1.0),
        ("reduce", "block_elements", 0),
        ("reduce", "chunk_elements", 1000),
        ("reduce", "chunk_elements", 2**30),
        ("reduce", "min_contributors", 0),
        ("weights", "cap_percent", 0),
        ("weights", "cap_percent", 101),
        ("weights", "cap_percent", 33),
        ("deadlines", "floor_s", 0.0),
        ("deadlines", "floor_s", 61.0),
        ("deadlines", "ceiling_s", math.inf),
        ("deadlines", "mad_factor", -1.0),
        ("founders", "keys", ()),
        ("founders", "threshold", 0),
        ("founders", "threshold", 4),
        ("genesis", "peers", ()),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(table: str, field: str, value: object) -> None:
    base = charter()
    _refused(replace(base, **{table: replace(getattr(base, table), **{field: value})}), f"{table}.{field}")


@pytest.mark.parametrize(("field", "value"), [("beta1", 1.0), ("beta2", -0.1), ("eps", 0.0), ("weight_decay", 11.0)])
def test_adamw_values_have_limits(field: str, value: float) -> None:
    _refused(replace(charter(), outer=replace(AdamW(), **{field: value})), f"outer.{field}")


def test_a_run_ends_after_it_begins() -> None:
    base = charter()
    _refused(replace(base, run=replace(base.run, expires=base.run.created)), "not after")


def test_members_times_cap_below_one_is_refused() -> None:
    base = charter()
    check_charter(replace(base, weights=Weights(cap_percent=34)))
    _refused(replace(base, weights=Weights(cap_percent=33)), "below 100 %")


def test_all_volunteers_of_an_open_run_are_one_member() -> None:
    base = replace(charter(), admission=Admission(kind="open"))
    check_charter(replace(base, weights=Weights(cap_percent=25)))
    _refused(replace(base, weights=Weights(cap_percent=24)), "below 100 %")
    check_charter(replace(base, members=()))
    _refused(replace(base, members=(), weights=Weights(cap_percent=99)), "below 100 %")


def test_a_run_without_members_is_refused_unless_open() -> None:
    _refused(replace(charter(), members=()), "below 100 %")


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        ((("Ada", ADA.peer_id), ("Ada", BO.peer_id)), "member name"),
        ((("Ada", ADA.peer_id), ("ADA", BO.peer_id)), "member name"),
        ((("Ada", ADA.peer_id), ("Bo", ADA.peer_id)), "member key"),
        ((("Open", ADA.peer_id),), "no member may be called"),
        ((("Ada", PeerId("12D3KooWnonsense")),), "members.key"),
        ((("Ada", PeerId(ADA.peer_id + "\n")),), "members.key"),
        ((("Ada", PEERS[0].peer_id),), "runs no peer"),
    ],
)
def test_members_are_distinct_and_have_real_keys(members: tuple[tuple[str, PeerId], ...], cause: str) -> None:
    _refused(replace(charter(), members=tuple(Member(name=name, key=key) for name, key in members)), cause)


def test_founders_are_distinct() -> None:
    base = charter()
    keys = (*base.founders.keys, base.founders.keys[0])
    _refused(replace(base, founders=replace(base.founders, keys=keys)), "founder key")


def test_a_peer_is_in_the_electorate_once() -> None:
    peer = PEERS[0].peer_id
    _refused(replace(charter(), genesis=Genesis(peers=(peer, peer))), "genesis peer")
    _refused(replace(charter(), genesis=Genesis(peers=(peer,), witnesses=(peer,))), "genesis peer")
    check_charter(replace(charter(), genesis=Genesis(peers=(peer,), witnesses=(STRANGER.peer_id,))))


@pytest.mark.parametrize(
    ("regions", "cause"),
    [
        ((), "regions: 0"),
        ((("eu", ()),), "jurisdictions of region eu"),
        ((("eu", ("DE",)), ("asia", ("JP", "DE"))), "jurisdiction DE"),
        ((("eu", ("DE",)), ("eu", ("JP",))), "region name"),
        ((("eu", ("de",)),), "two-letter"),
        ((("eu", ("DEU",)),), "two-letter"),
        ((("eu", ("DE\n",)),), "two-letter"),
        ((("e\x00u", ("DE",)),), "control characters"),
    ],
)
def test_a_jurisdiction_lies_in_one_region(regions: tuple[tuple[str, tuple[str, ...]], ...], cause: str) -> None:
    _refused(
        replace(charter(), regions=tuple(Region(name=name, jurisdictions=codes) for name, codes in regions)),
        cause,
    )


@pytest.mark.parametrize("least", [1, 2])
def test_a_sum_of_fewer_than_three_crosses_a_border_only_masked_or_if_the_charter_says_so(least: int) -> None:
    made = charter()
    few = replace(made, reduce=replace(made.reduce, min_contributors=least, single_update_may_cross=False))
    assert few.reduce.least_members == 3, "whatever a charter says that nobody checked"
    _refused(few, f"min_contributors is {least}, and over several regions")
    check_charter(replace(few, regions=few.regions[:1]))
    check_charter(replace(few, reduce=replace(few.reduce, single_update_may_cross=True)))
    check_charter(replace(few, reduce=replace(few.reduce, min_contributors=3)))
    masked = _secure(SecureSum(across_regions=True))
    check_charter(replace(masked, reduce=few.reduce))
    _refused(replace(_secure(SecureSum()), reduce=few.reduce), "over several regions")


def test_one_level_over_several_regions_lets_single_updates_cross() -> None:
    flat = replace(charter().reduce, levels=1, min_contributors=3, single_update_may_cross=False)
    _refused(replace(charter(), reduce=flat), "set levels to 2")
    check_charter(replace(charter(), reduce=flat, regions=charter().regions[:1]))
    check_charter(replace(charter(), reduce=replace(flat, single_update_may_cross=True)))


def _secure(rule: SecureSum, members: int = 3) -> Charter:
    named = tuple(Member(name=f"m{n}", key=key.peer_id) for n, key in enumerate((ADA, BO, STRANGER)[:members]))
    return replace(charter(), members=named, admission=Admission(kind="member"), aggregation=rule)


def test_secure_sums_take_three_members_a_majority_and_uniform_weights() -> None:
    check_charter(_secure(SecureSum()))
    check_charter(replace(_secure(SecureSum(), members=2), admission=Admission(kind="mixed")))
    _refused(_secure(SecureSum(), members=2), "hides nothing: it takes 3")
    _refused(replace(_secure(SecureSum()), weights=Weights(policy="tokens")), "do not fit into 16 bits")
    open_run = replace(_secure(SecureSum()), admission=Admission(kind="open"), quorum=Quorum(kind="available"))
    _refused(open_run, 'quorum.kind "majority"')
    one_level = replace(_secure(SecureSum()), reduce=replace(charter().reduce, levels=1))
    _refused(one_level, "set aggregation.across_regions")
    check_charter(replace(one_level, aggregation=SecureSum(across_regions=True)))


@pytest.mark.parametrize(
    ("licences", "cause"),
    [
        (("",), "1 to 64 characters"),
        (("CC0\n",), "control characters"),
        (("CC0-1.0", "CC0-1.0"), "licence CC0-1.0 occurs 2 times"),
        (tuple(f"l{number}" for number in range(MAX_LICENCES + 1)), "257 entries"),
    ],
)
def test_licences_of_data_are_names_and_each_is_named_once(licences: tuple[str, ...], cause: str) -> None:
    check_charter(replace(charter(), data=Data(licences=("CC0-1.0", "GPL-2.0"))))
    _refused(replace(charter(), data=Data(licences=licences)), cause)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bits", 1),
        ("bits", 15),
        ("block_elements", 48),
        ("block_elements", 2**17),
        ("initial_rms", 0.0),
        ("initial_rms", math.nan),
        ("floor_rms", 0.0),
        ("floor_rms", 1.0),
        ("kappa", 0.5),
        ("kappa", math.inf),
    ],
)
def test_numbers_of_secure_sums_are_in_range(field: str, value: float) -> None:
    _refused(_secure(replace(SecureSum(), **{field: value})), f"aggregation.{field}|{field}")
