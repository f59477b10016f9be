"""`tapestry audit canaries` and `tapestry audit extraction`: what a model remembers of planted secrets."""

from pathlib import Path
from typing import Annotated

import typer

from peers.cli import arguments
from peers.cli.output import JsonFlag, show
from peers.extraction import REFERENCES, THRESHOLD_BITS
from swarm.errors import ModelError


def canaries(
    out: Annotated[Path, typer.Option(help="Where to write the canary file; must not exist yet. Keep it at home.")],
    count: Annotated[int, typer.Option(help="How many.")] = 8,
    json: JsonFlag = False,
) -> None:
    """Make secrets to plant in training text: put each printed line into the text once, and keep the file."""
    import msgspec

    from peers.extraction import new_canaries, write_canaries

    arguments.new_file(out)
    made = new_canaries(count)
    write_canaries(out, made)
    lines = [canary.text for canary in made]
    show({"file": str(out), "canaries": msgspec.to_builtins(lines)}, "\n".join(lines), as_json=json)


def extraction(
    checkpoint: Annotated[Path, typer.Argument(help="A folder that `transformers` loads, such as STATE/shared-base.")],
    canaries: Annotated[Path, typer.Option(help="The canary file whose lines were planted.")],
    references: Annotated[int, typer.Option(min=1, help="Alternatives that each canary is ranked among.")] = REFERENCES,
    threshold_bits: Annotated[
        float, typer.Option(help="From this exposure on a canary counts as extractable.")
    ] = THRESHOLD_BITS,
    json: JsonFlag = False,
) -> None:
    """Rank each planted secret among others of its form by the model's likelihood.

    Exit 1 when one reaches the threshold. A folder without a tokenizer holds a model whose tokens are bytes.
    """
    import msgspec

    from peers import extraction as gate
    from peers.checkpoint_score import score_of

    planted = gate.read_canaries(arguments.existing_file(canaries, "--canaries"))
    score = score_of(arguments.existing_file(checkpoint, "CHECKPOINT"))
    verdict = gate.judge(gate.measure(score, planted, references), references, threshold_bits)
    if json or verdict.passed:
        show(msgspec.to_builtins(verdict), f"canary extraction: {verdict.text}", as_json=json)
    if not verdict.passed:
        raise ModelError(f"canary extraction: {verdict.text}")
