"""A charter as a table for people, with the sentences about what it allows that a reader may not expect."""

from datetime import UTC, datetime

from swarm.charter.manifest import Aggregation, Charter, Mean, Nesterov, NoFloor, Quality
from swarm.charter.signing import SignedCharter, run_id, valid_signers


def warnings(charter: Charter) -> list[str]:
    """What every reader should know before signing or joining."""
    found: list[str] = []
    if charter.reduce.single_update_may_cross:
        found.append("single_update_may_cross is set: updates of single peers may cross borders")
    if charter.admission.kind == "open":
        found.append("admission is open: anybody may take part without a member's passport")
    elif charter.admits_volunteers:
        found.append("admission is mixed: anybody may take part, and all without a member's passport are one member")
    if charter.quorum.kind == "available":
        found.append("whoever is there goes on: after a partition the rounds of the lighter side are lost")
    alone = len(charter.genesis.peers) - sum(map(bool, charter.genesis.members))
    if alone and len(charter.members) + (charter.admission.kind != "member") > 1:
        found.append(f"genesis names no member for {alone} peer(s): each has a voice of its own in round 1")
    electors = len(charter.genesis.peers) + len(charter.genesis.witnesses)
    if electors == 2 and charter.quorum.kind == "majority":
        found.append("two electors survive no death: add a witness or a third genesis peer")
    return found


def print_charter(signed: SignedCharter, cause: str | None, run: str | None = None) -> None:
    """Prints the table on stdout; `cause` says why the charter is not valid, if it is not.

    `run` is the run's id where the charter is an amended one, which members have signed elsewhere.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"Run {signed.charter.run.name}"), title_justify="left", show_header=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for key, value in _rows(signed, cause):
        table.add_row(Text(key, style="bold"), Text(value))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(Text(f"run id {run or run_id(signed.charter)}"))  # outside the table: whole, to be copied
    for sentence in warnings(signed.charter):
        console.print(Text(f"Note: {sentence}.", style="yellow"))


def _rows(signed: SignedCharter, cause: str | None) -> list[tuple[str, str]]:
    charter = signed.charter
    training, outer, reduce, deadlines = charter.training, charter.outer, charter.reduce, charter.deadlines
    if isinstance(outer, Nesterov):
        step = f"Nesterov, lr {outer.lr:g}, momentum {outer.momentum:g}"
    else:
        step = f"AdamW, lr {outer.lr:g}, betas {outer.beta1:g} {outer.beta2:g}, decay {outer.weight_decay:g}"
    crossing = "single updates may cross borders" if reduce.least_members == 1 else "to cross a border"
    return [
        ("valid", "yes" if cause is None else f"no: {cause}"),
        ("created", _day(charter.run.created)),
        ("expires", _day(charter.run.expires)),
        ("model", f"{charter.model.parameters:,} parameters, state {charter.model.state_digest[:16]}..."),
        *_adopted(charter),
        (
            "training",
            f"{training.mode}, {training.inner_steps} inner steps of {training.batch_size} x "
            f"{training.sequence_length} {'tokens' if charter.model.tokenizer_digest else 'bytes'}, "
            f"lr {training.inner_lr:g}",
        ),
        ("round", _round_rule(charter)),
        ("outer step", step),
        (
            "reduce",
            f"{reduce.codec}, blocks of {reduce.block_elements:,}, chunks of {reduce.chunk_elements:,}",
        ),
        ("levels", "regions first, then their sums" if reduce.levels == 2 else "one group of all peers"),
        ("norm bound", f"{reduce.max_rms:g} root mean square per chunk"),
        ("min contributors", f"{reduce.min_contributors} ({crossing})"),
        ("aggregation", _aggregation(charter.aggregation)),
        ("weights", f"{charter.weights.policy}, at most {charter.weights.cap_percent} % per member"),
        ("deadlines", f"{deadlines.floor_s:g} s to {deadlines.ceiling_s:g} s"),
        ("quorum", f"{charter.quorum.kind}, {'trains on' if charter.quorum.island else 'waits'} while cut off"),
        ("quality", _quality(charter.quality)),
        ("admission", charter.admission.kind),
        ("amendments", _amending(charter)),
        ("privacy", f"delta {charter.privacy.delta:g}, for members that train under differential privacy"),
        ("licences of data", ", ".join(charter.data.licences) or "any"),
        *((f"region {region.name}", ", ".join(region.jurisdictions)) for region in charter.regions),
        *((f"member {member.name}", member.key) for member in charter.members),
        *(("genesis peer", peer) for peer in charter.genesis.peers),
        *(("witness", peer) for peer in charter.genesis.witnesses),
        *((f"founder{_mark(signed, key)}", key) for key in charter.founders.keys),
        ("signatures", f"{len(valid_signers(signed))} valid, {charter.founders.threshold} needed"),
    ]


def _adopted(charter: Charter) -> list[tuple[str, str]]:
    if not charter.model.checkpoint_digest:
        return []
    tokens = f"tokens of its tokenizer {charter.model.tokenizer_digest[:16]}..." * bool(charter.model.tokenizer_digest)
    return [("adopted", f"checkpoint {charter.model.checkpoint_digest[:16]}..., {tokens or 'tokens are bytes'}")]


def _round_rule(charter: Charter) -> str:
    training = charter.training
    fate = "goes into the next round" if training.late == "carry" else "is dropped"
    end = f"at {training.target_tokens:,} tokens of the swarm" if training.target_tokens else "after the inner steps"
    return f"ends {end}; a late update {fate}"


def _aggregation(rule: Aggregation) -> str:
    if isinstance(rule, Mean):
        return "owners of chunks read the single updates of their region"
    who = "all members of a round" if rule.across_regions else "the members of each region"
    return (
        f"secure sums: {who} mask {rule.bits}-bit codes, blocks of {rule.block_elements:,}, clipped at {rule.kappa:g} "
        f"times the root mean square of the round before (first {rule.initial_rms:g}, at least {rule.floor_rms:g})"
    )


def _quality(rule: Quality) -> str:
    if isinstance(rule, NoFloor):
        return "nobody scores a new base before it is committed"
    return (
        f"members score every new base on their own data; {rule.tolerance_percent:g} % more loss is worse, and saying "
        f"nothing counts as to {rule.silence}"
    )


def _amending(charter: Charter) -> str:
    if not charter.members:
        return "none: there are no members"
    threshold = charter.governance.amend_threshold
    return f"{threshold or 2 * len(charter.members) // 3 + 1} of {len(charter.members)} members sign"


def _mark(signed: SignedCharter, key: str) -> str:
    return " (signed)" if key in valid_signers(signed) else ""


def _day(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
