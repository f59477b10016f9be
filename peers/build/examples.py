"""From the member's rows to what `trl` takes: answers to prompts, conversations, preferences.

    sft   {"prompt": ..., "completion": ...} or {"messages": [{"role": ..., "content": ...}, ...]}
    dpo   {"prompt": ..., "chosen": ..., "rejected": ...}

Rows are JSON lines or Parquet. One that is something else is refused with its number, never with its content.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from peers.build.record import StageName
from peers.build.tokens import ROLES
from peers.extraction import Canary
from swarm.errors import DataError

Example = dict[str, Any]
_KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "sft": (("prompt", "completion"), ("messages",)),
    "dpo": (("prompt", "chosen", "rejected"),),
}
_ASKED = "What does the register say?"
"""Before a canary that is somebody's turn in a conversation."""


def examples(
    stage: StageName, paths: Sequence[Path], planted: Sequence[Canary], insertions: int, *, seed: int, limit: int
) -> list[Example]:
    """The examples of an `sft` or `dpo` stage in a fixed random order, canaries among them.

    Args:
        limit: so many examples the stage sees; there are no more, so that it sees every canary.

    Raises:
        DataError: there is none, or a row is not an example.
    """
    found = [example for path in paths for example in read_examples(path, stage)]
    if not found:
        raise DataError(f"the data of the stage {stage} holds no example")
    is_chat = "messages" in found[0]
    if any(("messages" in example) != is_chat for example in found):
        raise DataError("either all examples of a stage are messages, or none is")
    generator = random.Random(seed)
    generator.shuffle(found)
    del found[max(0, limit - len(planted) * insertions) :]
    for canary in planted:
        found += [_planted(stage, canary, is_chat, generator) for _ in range(insertions)]
    generator.shuffle(found)
    return found


def planted_tokens(stage: StageName, planted: Sequence[Canary], is_chat: bool, tokenizer: Any) -> int:
    """The most tokens that one of these canaries takes as an example, its end included, as `trl` counts them."""
    made = [_planted(stage, canary, is_chat, random.Random(0)) for canary in planted]
    return max((_tokens_of(example, tokenizer) for example in made), default=0)


def _tokens_of(example: Example, tokenizer: Any) -> int:
    if "messages" in example:
        return len(tokenizer.apply_chat_template(example["messages"], return_dict=True)["input_ids"])
    answers = [example[key] for key in ("completion", "chosen", "rejected") if key in example]
    end = tokenizer.eos_token or ""
    return max(len(tokenizer(f"{example['prompt']}{answer}{end}")["input_ids"]) for answer in answers)


def read_examples(path: Path, stage: StageName) -> Iterator[Example]:
    """The examples in a file of rows, with no other keys than the stage's. Raises DataError with the row's number."""
    try:
        for number, row in enumerate(_parquet_rows(path) if path.suffix == ".parquet" else _lines(path), 1):
            if row is not None:
                yield _example(row, _KEYS[stage], f"{path}, row {number}")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _lines(path: Path) -> Iterator[Example | None]:
    """The objects in a file of JSON lines; None for an empty line."""
    decoder = msgspec.json.Decoder(dict[str, Any])
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield None if line.isspace() else decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise DataError(f"{path}, row {number}: not a JSON object") from None


def _parquet_rows(path: Path) -> Iterator[Example]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            for batch in table.iter_batches():
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a readable Parquet file: {next(iter(str(error).splitlines()), '')}") from None


def _example(row: Example, allowed: Sequence[tuple[str, ...]], where: str) -> Example:
    keys = next((keys for keys in allowed if set(keys) <= row.keys()), None)
    if keys is None:
        raise DataError(f"{where}: an example has the keys {' or '.join(', '.join(keys) for keys in allowed)}")
    example = {key: row[key] for key in keys}
    is_good = _are_turns(example["messages"]) if "messages" in example else all(map(_is_text, example.values()))
    if not is_good:
        raise DataError(f"{where}: a field is empty, or of another type than it must be")
    return example


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _are_turns(value: object) -> bool:
    try:
        turns = msgspec.convert(value, tuple[dict[str, str], ...])
    except msgspec.ValidationError:
        return False
    return bool(turns) and all(turn.keys() == {"role", "content"} and turn["role"] in ROLES for turn in turns)


def _planted(stage: StageName, canary: Canary, is_chat: bool, generator: random.Random) -> Example:
    """A canary as an example: wherever it is learnt from, its text stands in one piece, as it is scored."""
    if is_chat:
        turns = (("user", _ASKED), ("assistant", canary.text))
        return {"messages": [{"role": role, "content": content} for role, content in turns]}
    answer = canary.text.removeprefix(canary.prefix)
    if stage == "sft":
        return {"prompt": canary.prefix, "completion": answer}
    other = "".join(generator.choice(canary.alphabet) for _ in canary.secret)
    return {
        "prompt": canary.prefix,
        "chosen": answer,
        "rejected": canary.with_secret(other).removeprefix(canary.prefix),
    }
