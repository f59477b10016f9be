"""A charter as a table for people, with the sentences about what it allows that a reader may not expect."""

from datetime import UTC, datetime

from swarm.charter.manifest import Charter, Nesterov
from swarm.charter.signing import SignedCharter, run_id, valid_signers


def warnings(charter: Charter) -> list[str]:
    """What every reader should know before signing or joining."""
    found: list[str] = []
    if charter.reduce.min_contributors == 1:
        found.append("min_contributors is 1: updates of single peers may cross borders")
    if charter.admission.kind == "open":
        found.append("admission is open: anybody may take part without a member's passport")
    if charter.quorum.kind == "available":
        found.append("whoever is there goes on: after a partition the rounds of the lighter side are lost")
    electors = len(charter.genesis.peers) + len(charter.genesis.witnesses)
    if electors == 2 and charter.quorum.kind == "majority":
        found.append("two electors survive no death: add a witness or a third genesis peer")
    return found


def print_charter(signed: SignedCharter, cause: str | None) -> None:
    """Prints the table on stdout; `cause` says why the charter is not valid, if it is not."""
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
    console.print(Text(f"run id {run_id(signed.charter)}"))  # outside the table: whole, to be copied
    for sentence in warnings(signed.charter):
        console.print(Text(f"Note: {sentence}.", style="yellow"))


def _rows(signed: SignedCharter, cause: str | None) -> list[tuple[str, str]]:
    charter = signed.charter
    training, outer, reduce, deadlines = charter.training, charter.outer, charter.reduce, charter.deadlines
    if isinstance(outer, Nesterov):
        step = f"Nesterov, lr {outer.lr:g}, momentum {outer.momentum:g}"
    else:
        step = f"AdamW, lr {outer.lr:g}, betas {outer.beta1:g} {outer.beta2:g}, decay {outer.weight_decay:g}"
    crossing = "single updates may cross borders" if reduce.min_contributors == 1 else "to cross a border"
    return [
        ("valid", "yes" if cause is None else f"no: {cause}"),
        ("created", _day(charter.run.created)),
        ("expires", _day(charter.run.expires)),
        ("model", f"{charter.model.parameters:,} parameters, state {charter.model.state_digest[:16]}..."),
        (
            "training",
            f"{training.mode}, {training.inner_steps} inner steps of {training.batch_size} x "
            f"{training.sequence_length} bytes, lr {training.inner_lr:g}",
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
        ("weights", f"{charter.weights.policy}, at most {charter.weights.cap_percent} % per member"),
        ("deadlines", f"{deadlines.floor_s:g} s to {deadlines.ceiling_s:g} s"),
        ("quorum", f"{charter.quorum.kind}, {'trains on' if charter.quorum.island else 'waits'} while cut off"),
        ("admission", charter.admission.kind),
        *((f"region {region.name}", ", ".join(region.jurisdictions)) for region in charter.regions),
        *((f"member {member.name}", member.key) for member in charter.members),
        *(("genesis peer", peer) for peer in charter.genesis.peers),
        *(("witness", peer) for peer in charter.genesis.witnesses),
        *((f"founder{_mark(signed, key)}", key) for key in charter.founders.keys),
        ("signatures", f"{len(valid_signers(signed))} valid, {charter.founders.threshold} needed"),
    ]


def _round_rule(charter: Charter) -> str:
    training = charter.training
    fate = "goes into the next round" if training.late == "carry" else "is dropped"
    end = f"at {training.target_tokens:,} tokens of the swarm" if training.target_tokens else "after the inner steps"
    return f"ends {end}; a late update {fate}"


def _mark(signed: SignedCharter, key: str) -> str:
    return " (signed)" if key in valid_signers(signed) else ""


def _day(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
