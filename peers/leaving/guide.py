"""HOW_TO_RESTORE.md: what is in a bundle and how it is used again, for somebody who has never seen this program."""

from peers.ecosystem.tokenizer import TOKENIZER_FOLDER
from peers.leaving.manifest import Leaving
from peers.lineage.code import DISTRIBUTION
from swarm.charter.manifest import Model

_TEXT = """# How to use this bundle

Somebody who took part in training one shared model together with others has left, and this is what they took along.
It is complete: nothing has to be fetched from anybody. It was made by `tapestry exit` of {distribution} {version}.

- Run: {name}, run id `{run_id}`
- Peer: `{peer}`
- Shared Base: round {round}, state digest `{state}`
- {key}

**Keep it private.** `state/trained.jsonl` and the policies name the data sets that were trained on, and builds may be
made from private data.

## What is in it

| path | what |
| --- | --- |
| `manifest.dsse.json` | every file with its size and digests, signed by the peer (in-toto statement, DSSE envelope) |
| `keys.json` | public keys of the run, and what each is: founder, member, peer; a peer id contains its key |
| `state/charter.toml`, `state/governance/` | the rules, signed by the founders, and the members' amendments |
| `state/records/` | what each round decided, with the votes; each follows from the one before it, or the charter |
| `state/snapshots/` | the Shared Base and the outer optimiser's state (safetensors, float32: `base`, `outer.0`, ...) |
| `state/results/` | means of rounds, from which later states are made again |
| `state/shared-base/` | the Shared Base as a model folder with its signed statement |
{tokenizer_row}| `builds/` | the member's own models, each with its signed statement and its policies |
| `state/ledger.jsonl`, `state/heads.jsonl` | every byte that left this peer, and the heads it signed over that ledger |
| `state/receipts/`, `state/witness/` | what others countersigned for this peer and the heads it holds of others |
| `state/trained.jsonl` | what this peer trained on, session by session |
| `state/policies/` | the policies that labelled the data, each by the digest that `trained.jsonl` names it by |
| `passport.json` | the passport, if it was given |

The file is a plain tar: `tar xf BUNDLE` unpacks it without any program of ours, and the models load with `transformers`
or any reader of safetensors.

## Check it

On any machine with `pip install {distribution}`, without network:

    tapestry exit verify BUNDLE --run-id {run_id}

Get the run id from somebody you trust, not from this file. What is checked: the charter has that id and its founders'
signatures; every record follows from it by the votes of its quorum; the state is the one they signed; the ledger is the
one its heads were signed over; each policy is the one that its digest names; every file is the one in the manifest.

## Go on with it

    tapestry exit restore BUNDLE --run-id {run_id} --out FOLDER

checks it all and unpacks it. Then, as the same peer:

    tapestry peer --join MULTIADDR --state FOLDER/state --identity KEY --passport PASSPORT --data DATA{adopt}

MULTIADDR is the address of any peer or bootstrap node of the run. KEY is the peer's key file{key_hint}.
Never start one peer in two places: if the original has gone on since this bundle was made, take a new key, a new
passport and a copy of FOLDER/state without `acceptor`, `ledger.jsonl`, `ledger.tree`, `heads.jsonl`, `receipts`,
`trained.jsonl` and `identity.key`.

Or leave the run behind: `state/shared-base/` and `builds/` are models like any other.
"""
_TOKENIZER_ROW = f"| `state/{TOKENIZER_FOLDER}/` | the tokenizer of the checkpoint that the run began from |\n"


def guide(leaving: Leaving, model: Model) -> bytes:
    """The text for one bundle; `model` as the charter has it."""
    has_tokenizer = bool(model.tokenizer_digest)
    has_key = leaving.has_private_key
    return _TEXT.format(
        distribution=DISTRIBUTION,
        version=leaving.code.version,
        name=leaving.base.run_name,
        run_id=leaving.base.run_id,
        peer=leaving.peer,
        round=leaving.base.round,
        state=leaving.base.state,
        tokenizer_row=_TOKENIZER_ROW if has_tokenizer else "",
        adopt=f" --adopt FOLDER/state/{TOKENIZER_FOLDER}" if has_tokenizer else "",
        key="It holds the peer's private key (`state/identity.key`): whoever has this file can act as that peer."
        if has_key
        else "It holds no private key.",
        key_hint=" (here `FOLDER/state/identity.key`, found by itself)" if has_key else ", which is not in this bundle",
    ).encode()
