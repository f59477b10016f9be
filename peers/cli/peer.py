"""`tapestry peer`: takes part in a run with this machine."""

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from peers.cli.output import JsonFlag, show


def peer(
    join: Annotated[
        list[str],
        typer.Option(help="Multiaddr of a bootstrap node or of any peer, ending in /p2p/<peer id>. Repeat for more."),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Folder of .txt, .jsonl or .parquet files with a policy.toml.")
    ] = None,
    jurisdiction: Annotated[
        str | None,
        typer.Option(help="ISO 3166 code whose law applies to the data; open runs only (else the passport's)."),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Policy file that labels the data, instead of the folder's.")
    ] = None,
    passport: Annotated[Path | None, typer.Option(help="Passport that a member issued to this peer.")] = None,
    identity: Annotated[Path | None, typer.Option(help="Key file; made in the state folder if left out.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="State folder, one per peer; ~/.local/state/tapestry/default if left out.")
    ] = None,
    listen: Annotated[
        list[str] | None, typer.Option(help="Multiaddr to listen on; any free TCP port if left out.")
    ] = None,
    max_rounds: Annotated[
        int | None, typer.Option(min=1, help="Stop when the Shared Base has reached this round.")
    ] = None,
    adopt: Annotated[
        Path | None,
        typer.Option(help="Folder with the tokenizer of the checkpoint that the run began from; kept in --state."),
    ] = None,
    checkpoints: Annotated[
        int, typer.Option(min=1, help="States of past rounds kept on disk: one to go on from, and those before it.")
    ] = 2,
    archive: Annotated[
        bool, typer.Option("--archive", help="Keep all rounds' means and state 0, so that the run can be replayed.")
    ] = False,
    restart: Annotated[
        Path | None,
        typer.Option(help="Founders' restart to take and to hand to others (see `tapestry charter restart`)."),
    ] = None,
    run_id: Annotated[str | None, typer.Option(help="Refuse any other run than this one.")] = None,
    trainer: Annotated[
        str | None,
        typer.Option(
            help="Command of your own training script, which calls swarm.join(); confined like the built-in one."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order in which data is drawn.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the trainer.")] = 1,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="What the trainer computes on; CUDA where there is any.")
    ] = "auto",
    metrics: Annotated[
        str | None, typer.Option(help="Serve this peer's figures for Prometheus, such as 127.0.0.1:9100.")
    ] = None,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            help="wandb:PROJECT or trackio:PROJECT: tell a metrics service this peer's own figures of each round, if "
            "the policy's figures_to names its address. Repeat for more."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Take part in a run: train on local data, average with the others, and keep the Shared Base.

    The charter and the Shared Base are fetched from the swarm and verified. Ctrl+C leaves cleanly.
    """
    from rich.console import Console

    from peers.fingerprint import data_used
    from peers.live import LiveView
    from peers.sinks import parse_sink
    from peers.supervisor import Peer, Training, script_words
    from peers.watch.metrics import Metrics, parse_endpoint
    from swarm import events
    from swarm.charter.documents import read_document
    from swarm.charter.restart import MAX_RESTART_BYTES
    from swarm.charter.restart import decode as read_restart_file
    from swarm.clock import process_began_s, unix_s
    from swarm.errors import CharterError, PolicyError, UnlabelledDataError, UsageError
    from swarm.identity.key import Identity
    from swarm.net.addresses import parse_join_address, parse_listen_address
    from swarm.node.config import ANY_PORT, NodeConfig
    from swarm.node.paths import default_state
    from swarm.sovereignty.attestation import Refused, attest
    from swarm.sovereignty.lattice import join_all, restrictions_of
    from swarm.sovereignty.policy import files_for, find_policy, is_held_out, is_silent, label_folder, read_policy
    from swarm.sovereignty.reasons import Reason
    from swarm.sovereignty.uses import Privacy, Use
    from swarm.state.policies import keep_policy

    endpoint = None if metrics is None else parse_endpoint(metrics)
    for text in join:
        parse_join_address(text)
    for text in listen or ():
        parse_listen_address(text)
    if identity is not None:
        Identity.load(identity)  # said now rather than in seconds
    if passport is not None and not passport.exists():
        raise UsageError(f"{passport} does not exist")
    if restart is not None:
        read_restart_file(read_document(restart, MAX_RESTART_BYTES, CharterError))
    if data is None:
        raise UnlabelledDataError(
            "give --data a folder of text with a policy.toml in it: a peer trains on its own data"
        )
    if not data.exists():
        raise UsageError(f"data folder {data} does not exist")
    if adopt is not None and not adopt.is_dir():
        raise UsageError(f"--adopt: {adopt} is not a folder, or does not exist")
    rules = read_policy(find_policy(data, policy))
    services = tuple(parse_sink(text, rules.figures_to) for text in sink or ())
    # A script of one's own sees the whole folder, so all of it must be for training.
    every = label_folder(data, rules)
    labelled = files_for(every, Use.SHARED_BASE, all_of_them=trainer is not None)
    held_out = [file for file in every if is_held_out(file.dataset)]
    folder = state or default_state()
    bound = join_all(restrictions_of(file.dataset, rules.isolation) for file in labelled)
    if Privacy.ENCLAVE in bound.privacy and isinstance(answer := attest(None, None, unix_s()), Refused):
        raise PolicyError(answer.reason, Reason.PRIVACY_MISSING)
    # A script of one's own makes no receipts for differential privacy, so its data must not demand it.
    dp = rules.dp if Privacy.DP in bound.privacy and trainer is None else None
    keep_policy(folder, rules)
    settings = NodeConfig(
        join=tuple(join),
        state=str(folder.absolute()),
        identity=_absolute(identity),
        passport=_absolute(passport),
        jurisdiction=jurisdiction,
        policy=rules.digest,
        restrictions=bound,
        held_out=join_all(restrictions_of(file.dataset, rules.isolation) for file in held_out) if held_out else None,
        dp=dp,
        data=data_used(data, labelled, folder),
        services=services,
        figures_to=rules.figures_to,
        restart=_absolute(restart),
        run_id=run_id,
        began_s=process_began_s(),
        max_rounds=max_rounds,
        checkpoints=checkpoints,
        archive=archive,
        listen=tuple(listen) if listen else ANY_PORT,
    )
    console = Console(stderr=as_json)
    for name in sorted({file.dataset.name for file in every if is_silent(file.dataset)}):
        console.print(f"no quality votes rest on {name}: it is private or under a privacy tier", markup=False)
    last: dict[str, Any] = {
        "peer_id": None,
        "run_id": None,
        "rounds_committed": 0,
        "base_digest": None,
        "bytes_sent": {},
    }

    def take(stamped: events.Stamped) -> None:
        match stamped.event:
            case events.NodeStarted() as event:
                last.update(peer_id=event.peer, run_id=event.run_id)
            case events.Reachable() as event:
                last.update(reachable=event.how, relays=list(event.relays))
            case events.StateReady() as event:
                last.update(rounds_committed=event.round, base_digest=event.digest)
            case events.RoundCommitted() | events.RoundRejected() as event:
                last.update(rounds_committed=event.round, base_digest=event.state_digest)
            case events.BytesOut() as event:
                last.update(bytes_sent=event.by_kind)
            case _:
                pass
        view.show(stamped)
        if figures is not None:
            figures.see(stamped)

    training = Training(
        files=[file.path.absolute() for file in labelled],
        held_out=[file.path.absolute() for file in held_out],
        seed=seed,
        threads=threads,
        device=device,
        fields={str(file.path.absolute()): file.dataset.field for file in (*labelled, *held_out)},
        adopted=None if adopt is None else adopt.absolute(),
        data=data.absolute(),
        required=rules.isolation,
        dp=dp,
        command=script_words(trainer),
    )
    running = Peer(settings, training, take)

    def stop(number: int, frame: object) -> None:
        running.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with ExitStack() as stack:
        figures = stack.enter_context(Metrics(endpoint)) if endpoint is not None else None
        view = stack.enter_context(LiveView(console))
        running.run()
    last["shared_base"] = None if running.exported is None else str(running.exported)
    where = running.exported or f"in {folder}, not exported for transformers"
    text = f"Shared Base of round {last['rounds_committed']}: {where}"
    show(last, text, as_json=as_json)
    sys.stdout.flush()


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
