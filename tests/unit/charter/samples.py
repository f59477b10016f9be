"""A small valid charter and its people, which the charter tests bend in one place each."""

from swarm.charter.manifest import Charter, Founders, Genesis, Member, Model, Reduce, Region, Run
from swarm.charter.signing import SignedCharter, sign_charter
from swarm.identity.key import Identity

CREATED_S = 1_750_000_000
EXPIRES_S = CREATED_S + 86_400
NOW_S = float(CREATED_S + 60)


def identity(number: int) -> Identity:
    """The same key for the same number, in every test."""
    return Identity.from_seed(number.to_bytes(32, "big"))


ADA, BO, CY = identity(1), identity(2), identity(3)
FOUNDERS = (identity(11), identity(12), identity(13))
PEERS = (identity(21), identity(22), identity(23))
STRANGER = identity(99)


def charter() -> Charter:
    """Three members in two regions; two of three founders must sign."""
    return Charter(
        run=Run(name="spring", created=CREATED_S, expires=EXPIRES_S),
        model=Model(
            config_json='{"model_type": "llama"}',
            parameters=1000,
            schema_digest="a" * 64,
            state_digest="b" * 64,
        ),
        reduce=Reduce(min_contributors=1, single_update_may_cross=True),
        regions=(
            Region(name="eu", jurisdictions=("DE", "FR")),
            Region(name="east-asia", jurisdictions=("JP", "KR")),
        ),
        members=(
            Member(name="Ada", key=ADA.peer_id),
            Member(name="Bo", key=BO.peer_id),
            Member(name="Cy", key=CY.peer_id),
        ),
        founders=Founders(keys=tuple(founder.peer_id for founder in FOUNDERS), threshold=2),
        genesis=Genesis(peers=tuple(peer.peer_id for peer in PEERS)),
    )


def signed_charter(payload: Charter, *signers: Identity) -> SignedCharter:
    signed = SignedCharter(charter=payload)
    for signer in signers:
        signed = sign_charter(signed, signer)
    return signed
