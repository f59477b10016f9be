"""`tapestry charter`: makes, signs, checks and prints the document that fixes a run."""

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
import typer

from peers.cli import amend, arguments, charter_text, restart
from peers.cli.governing import DocumentsOption, Governed, governed
from peers.cli.output import JsonFlag, show
from swarm.charter import files, manifest
from swarm.charter.revocation import revocation_digest, scope
from swarm.charter.signing import (
    SignedCharter,
    check_charter,
    check_not_expired,
    run_id,
    sign_charter,
    valid_signers,
    verify_charter,
)
from swarm.clock import unix_s
from swarm.errors import CharterError, UsageError
from swarm.identity.key import Identity

app = typer.Typer(help="Make, sign, check and print the charter of a run.")
app.add_typer(amend.app, name="amend")
app.add_typer(restart.app, name="restart")

File = Annotated[Path, typer.Argument(help="A charter file.")]
MIN_MEMBERS_FOR_A_CAP = 3
"""With fewer, a cap of 50 % leaves nobody any choice."""


@app.command("new")
def new(
    out: Annotated[Path, typer.Argument(help="Where to write the charter (TOML); must not exist yet.")],
    name: Annotated[str, typer.Option(help="Name of the run, for people.")],
    region: Annotated[list[str], typer.Option(help="NAME=CC,CC: a region and its jurisdictions. Repeat for each.")],
    founder: Annotated[list[str], typer.Option(help="Key id of a founder, who signs the charter. Repeat for each.")],
    genesis: Annotated[list[str], typer.Option(help="MEMBER=PEERID of a peer that votes in round 1. Repeat.")],
    config: Annotated[Path | None, typer.Option(help="A transformers config (JSON) of any causal LM.")] = None,
    adopt: Annotated[
        Path | None,
        typer.Option(
            help="Instead of --config: a folder of open weights with their tokenizer, as transformers writes it; or "
            "one safetensors file of a model that members bring themselves."
        ),
    ] = None,
    member: Annotated[list[str] | None, typer.Option(help="NAME=KEYID of a member. Repeat for each.")] = None,
    threshold: Annotated[
        int | None, typer.Option(min=1, help="Founder signatures needed; more than two thirds if left out.")
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(help="Peer id that votes but never reduces, such as a bootstrap node's."),
    ] = None,
    mode: Annotated[
        Literal["diloco", "gradient"], typer.Option(help="Average pseudo-gradients (diloco) or gradients.")
    ] = "diloco",
    inner_steps: Annotated[int, typer.Option(min=1, help="Inner steps between two rounds.")] = 10,
    target_tokens: Annotated[
        int,
        typer.Option(
            min=0, help="End rounds once the swarm has trained on so many tokens, not after --inner-steps; 0: never."
        ),
    ] = 0,
    late: Annotated[
        Literal["carry", "drop"], typer.Option(help="What becomes of an update that its round did not wait for.")
    ] = "carry",
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences per inner step.")] = 4,
    sequence_length: Annotated[
        int, typer.Option(min=1, help="Bytes per sequence; tokens, with an adopted tokenizer.")
    ] = 256,
    inner_lr: Annotated[float, typer.Option(help="Learning rate of the inner AdamW.")] = 2e-3,
    outer: Annotated[
        Literal["nesterov", "adamw"],
        typer.Option(help="Optimiser that every peer applies to the shared base."),
    ] = "nesterov",
    outer_lr: Annotated[
        float | None,
        typer.Option(help="Its learning rate; 0.7 for nesterov and 0.001 for adamw if left out."),
    ] = None,
    outer_momentum: Annotated[float, typer.Option(help="Momentum of the nesterov step; adamw has none.")] = 0.9,
    codec: Annotated[manifest.Codec, typer.Option(help="How updates travel.")] = "int8",
    levels: Annotated[
        int, typer.Option(min=1, max=2, help="2: regions reduce among themselves first; 1: all peers are one group.")
    ] = 2,
    max_rms: Annotated[
        float, typer.Option(help="Root mean square that no chunk of an update may exceed; more is not counted.")
    ] = 10.0,
    chunk_elements: Annotated[int, typer.Option(min=1, help="Elements that one owner reduces at a time.")] = 262_144,
    min_contributors: Annotated[
        int,
        typer.Option(min=1, help="Members an aggregate must hold to cross a border; below 3 see the next option."),
    ] = 3,
    single_update_may_cross: Annotated[
        bool,
        typer.Option(
            "--single-update-may-cross",
            help="Let sums of fewer members cross borders as well, single updates too: not advised.",
        ),
    ] = False,
    aggregation: Annotated[
        Literal["mean", "secure_sum"],
        typer.Option(
            help="secure_sum: updates travel masked, and nobody sees less than the sum of a region's members."
        ),
    ] = "mean",
    mask_across_regions: Annotated[
        bool, typer.Option("--mask-across-regions", help="With secure_sum: all members mask together, not by region.")
    ] = False,
    initial_rms: Annotated[
        float, typer.Option(help="With secure_sum: root mean square that the first round expects of updates.")
    ] = manifest.SecureSum().initial_rms,
    quality: Annotated[
        Literal["none", "votes"],
        typer.Option(help="votes: members score every new base on held-out data, and most of them can reject it."),
    ] = "none",
    quality_tolerance: Annotated[
        float, typer.Option(help="Per cent that a new base's loss may be higher before a member votes against it.")
    ] = manifest.QualityVotes().tolerance_percent,
    quality_silence: Annotated[
        Literal["accept", "reject"], typer.Option(help="What a member that gives no quality vote counts as.")
    ] = "accept",
    privacy_delta: Annotated[
        float, typer.Option(help="Delta of differential privacy, for members whose data is trained on under it.")
    ] = 1e-6,
    data_licence: Annotated[
        list[str] | None,
        typer.Option(help="Licence that data may be under, as policies name it; any if left out. Repeat for more."),
    ] = None,
    weights: Annotated[
        Literal["uniform", "tokens"], typer.Option(help="What a peer's share in a round follows.")
    ] = "uniform",
    cap_percent: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Largest share of one member; 100 below three members, else 50."),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Admit volunteers without a member's passport.")] = False,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Admit members' peers and volunteers, who are one member together.")
    ] = False,
    amend_threshold: Annotated[
        int, typer.Option(min=0, help="Members that must sign an amendment; 0: more than two thirds of those in force.")
    ] = 0,
    quorum: Annotated[
        Literal["majority", "available"] | None,
        typer.Option(
            help="Who commits: more than half of the last round's peers, or whoever is there (data labelled open only; "
            "what an open run without witnesses does if this is left out)."
        ),
    ] = None,
    island: Annotated[
        bool, typer.Option("--island/--no-island", help="Train on locally while cut off from the quorum.")
    ] = True,
    valid_days: Annotated[int, typer.Option(min=1, max=36_500, help="Days until the charter expires.")] = 90,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the untrained model's weights.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Write an unsigned charter and, beside it, the state that the run begins from."""
    state_file = arguments.new_file(arguments.new_file(out).with_name(f"{out.stem}.state0.safetensors"))
    members = tuple(_member(text) for text in member or [])
    founders = tuple(arguments.peer_id(text, "--founder") for text in founder)
    electors = [arguments.elector(text, "--genesis") for text in genesis]
    if cap_percent is None:
        cap_percent = 100 if len(members) + (open_ or mixed) < MIN_MEMBERS_FOR_A_CAP else 50
    created = int(unix_s())
    outer_step = _outer(outer, outer_lr, outer_momentum)
    reduce = manifest.Reduce(
        codec=codec,
        block_elements=manifest.BLOCK_ELEMENTS.get(codec, manifest.Reduce().block_elements),
        chunk_elements=chunk_elements,
        levels=cast(Literal[1, 2], levels),
        max_rms=max_rms,
        min_contributors=min_contributors,
        single_update_may_cross=single_update_may_cross,
    )
    draft = manifest.Charter(
        run=manifest.Run(name=name, created=created, expires=created + valid_days * arguments.DAY_S),
        model=manifest.Model(
            config_json=_config(config, adopt), parameters=1, schema_digest="0" * 64, state_digest="0" * 64
        ),
        training=manifest.Training(
            mode=mode,
            inner_steps=inner_steps,
            target_tokens=target_tokens,
            late=late,
            batch_size=batch_size,
            sequence_length=sequence_length,
            inner_lr=inner_lr,
        ),
        outer=outer_step,
        reduce=reduce,
        aggregation=manifest.Mean()
        if aggregation == "mean"
        else manifest.SecureSum(across_regions=mask_across_regions, initial_rms=initial_rms),
        weights=manifest.Weights(policy=weights, cap_percent=cap_percent),
        quorum=manifest.Quorum(
            kind=quorum or ("available" if open_ and not witness else "majority"),
            island=island,
        ),
        quality=manifest.NoFloor()
        if quality == "none"
        else manifest.QualityVotes(tolerance_percent=quality_tolerance, silence=quality_silence),
        admission=manifest.Admission(kind="open" if open_ else "mixed" if mixed else "member"),
        governance=manifest.Governance(amend_threshold=amend_threshold),
        privacy=manifest.Privacy(delta=privacy_delta),
        data=manifest.Data(licences=tuple(data_licence or ())),
        regions=tuple(_region(text) for text in region),
        members=members,
        founders=manifest.Founders(keys=founders, threshold=threshold or 2 * len(founders) // 3 + 1),
        genesis=manifest.Genesis(
            peers=tuple(peer for _, peer in electors),
            members=tuple(name for name, _ in electors) if any(name for name, _ in electors) else (),
            witnesses=tuple(arguments.peer_id(text, "--witness") for text in witness or []),
        ),
    )
    check_charter(draft)  # before the model is made: a mistyped rule should not cost a minute
    charter = _with_state(draft, state_file, adopt, seed)
    try:
        files.write(out, SignedCharter(charter=charter))
    except CharterError:
        state_file.unlink()  # alone it is of no use, and would block the next attempt
        raise
    show(
        {"file": str(out), "state_file": str(state_file), "run_id": run_id(charter)}
        | {"parameters": charter.model.parameters, "state_digest": charter.model.state_digest},
        f"run {run_id(charter)}\ncharter in {out}, state 0 in {state_file} "
        f"({charter.model.parameters:,} parameters)\n"
        f"next: {charter.founders.threshold} of {len(founders)} founders run "
        f"`tapestry charter sign {out} --identity KEY`",
        as_json=json,
    )


@app.command("sign")
def sign(
    file: File,
    identity: Annotated[Path, typer.Option(help="Key file of a founder.")],
    json: JsonFlag = False,
) -> None:
    """Add a founder's signature to a charter file."""
    signed = sign_charter(files.read(file), Identity.load(identity))
    files.write(file, signed)
    valid, needed = len(valid_signers(signed)), signed.charter.founders.threshold
    show(
        {"run_id": run_id(signed.charter), "signatures": valid, "threshold": needed},
        f"signed: {valid} valid signatures, {needed} needed",
        as_json=json,
    )


@app.command("verify")
def verify(file: File, json: JsonFlag = False) -> None:
    """Print the run id of a valid charter; exit 1 with the cause of an invalid one."""
    signed = files.read(file)
    charter = verify_charter(signed)
    check_not_expired(charter, unix_s())
    show(
        {
            "valid": True,
            "run_id": run_id(charter),
            "name": charter.run.name,
            "signatures": len(valid_signers(signed)),
            "threshold": charter.founders.threshold,
            "expires": charter.run.expires,
        },
        run_id(charter),
        as_json=json,
    )


@app.command("show")
def show_charter(file: File, documents: DocumentsOption = None, json: JsonFlag = False) -> None:
    """Print a charter as a table: what it fixes, who takes part, and what to be aware of.

    With --documents it is the charter that these amendments and revocations leave.
    """
    if documents:
        _show_governed(governed(file, documents, unix_s()), as_json=json)
        return
    signed = files.read(file)
    check_charter(signed.charter)
    cause = _cause_of_invalidity(signed)
    if json:
        charter: dict[str, Any] = msgspec.to_builtins(signed.charter)
        document = {
            "run_id": run_id(signed.charter),
            "valid": cause is None,
            "cause": cause,
            "charter": charter,
        }
        show(document | {"warnings": charter_text.warnings(signed.charter)}, "", as_json=True)
    else:
        charter_text.print_charter(signed, cause)


def _show_governed(found: Governed, *, as_json: bool) -> None:
    rules = found.rules
    revocations = [msgspec.to_builtins(entry) for entry in sorted(rules.revoked.entries, key=revocation_digest)]
    if as_json:
        document = {
            "run_id": rules.run_id,
            "epoch": rules.epoch,
            "epoch_digest": rules.digest,
            "revocation_list": rules.in_force.revocations.hex(),
            "revocations": revocations,
            "charter": msgspec.to_builtins(rules.charter),
        }
        show(document | {"warnings": charter_text.warnings(rules.charter)}, "", as_json=True)
        return
    print(f"epoch {rules.epoch} ({rules.digest}) of run {rules.run_id}")
    print(f"{len(revocations)} revocations, list {rules.in_force.revocations.hex() or 'empty'}")
    for entry in rules.revoked.entries:
        print(f"  {scope(entry)} withdrawn: {entry.reason}")
    charter_text.print_charter(SignedCharter(charter=rules.charter), None, rules.run_id)


def _cause_of_invalidity(signed: SignedCharter) -> str | None:
    try:
        check_not_expired(verify_charter(signed), unix_s())
    except CharterError as error:
        return str(error)
    return None


def _with_state(draft: manifest.Charter, state_file: Path, adopt: Path | None, seed: int) -> manifest.Charter:
    """The charter with the digests of state 0, which is written beside it."""
    from peers import model  # imports torch
    from peers.lineage.verify import require_shareable

    if adopt is not None:
        require_shareable(adopt)
    checkpoint = None
    if adopt is not None and adopt.is_dir():
        from peers.ecosystem.checkpoint import adopt as adopt_folder

        checkpoint = adopt_folder(adopt, draft.outer, draft.reduce)
        state = checkpoint.state
    elif adopt is not None:
        state = model.adopted_state(adopt, draft.outer, draft.reduce)
    else:
        state = model.initial_state(draft.model.config_json, seed, draft.outer, draft.reduce)
    charter = msgspec.structs.replace(
        draft,
        model=manifest.Model(
            config_json=draft.model.config_json if checkpoint is None else checkpoint.config_json,
            parameters=state.parameters,
            schema_digest=state.schema_digest,
            state_digest=state.state_digest,
            checkpoint_digest="" if checkpoint is None else checkpoint.digest,
            tokenizer_digest="" if checkpoint is None else checkpoint.tokenizer_digest,
        ),
    )
    check_charter(charter)
    model.write_state0(state_file, state.base)
    return charter


def _config(config: Path | None, adopt: Path | None) -> str:
    if (config is None) == (adopt is None):
        raise UsageError("give either --config or --adopt")
    if adopt is not None:
        arguments.existing_file(adopt, "--adopt")
        return ""
    assert config is not None
    return arguments.compact_json(config, "--config")


def _outer(kind: Literal["nesterov", "adamw"], lr: float | None, momentum: float) -> manifest.Outer:
    if kind == "nesterov":
        return manifest.Nesterov(lr=0.7 if lr is None else lr, momentum=momentum)
    return manifest.AdamW(lr=1e-3 if lr is None else lr)


def _member(text: str) -> manifest.Member:
    name, key = arguments.named(text, "--member")
    return manifest.Member(name=name, key=arguments.peer_id(key, "--member"))


def _region(text: str) -> manifest.Region:
    name, codes = arguments.named(text, "--region")
    return manifest.Region(name=name, jurisdictions=tuple(code.strip().upper() for code in codes.split(",")))
