"""From the member's files to what the trainers take: windows of bytes, answers to prompts, preferences.

    cpt   *.txt as it is; *.jsonl with one {"text": ...} a line
    sft   *.jsonl with {"prompt": ..., "completion": ...} or {"messages": [{"role": ..., "content": ...}, ...]}
    dpo   *.jsonl with {"prompt": ..., "chosen": ..., "rejected": ...}

A line that is something else is refused with its number, never with its content.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from peers.build.canary import Canary
from peers.build.record import StageName
from peers.build.tokens import ROLES
from swarm.errors import DataError

Example = dict[str, Any]
_KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "cpt": (("text",),),
    "sft": (("prompt", "completion"), ("messages",)),
    "dpo": (("prompt", "chosen", "rejected"),),
}


class Windows:
    """Windows of bytes for continued pre-training, drawn by their number: a stage that is resumed draws the same ones.

    Files take turns, so that every one of them gives the same share. A torch map-style data set: [L] input ids, which
    are their own labels.
    """

    def __init__(self, texts: Sequence[np.ndarray], count: int, length: int, seed: int, planted: Mapping[int, bytes]):
        """
        Args:
            texts: uint8 [N] each.
            count: how many windows there are.
            length: L, bytes of a window.
            seed: of their places.
            planted: text to put into some windows, by their numbers.

        Raises:
            DataError: there is no text, or one is shorter than a window.
        """
        if not texts or min(map(len, texts)) < length:
            raise DataError(f"a file of the stage's data has fewer bytes than one sequence ({length})")
        self._texts, self._count, self._length, self._seed, self._planted = texts, count, length, seed, planted

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> dict[str, Any]:
        generator = np.random.default_rng((self._seed, number))
        text = self._texts[number % len(self._texts)]
        start = int(generator.integers(len(text) - self._length + 1))
        window_L = text[start : start + self._length].astype(np.int64)
        secret = np.frombuffer(self._planted.get(number, b"")[: self._length], np.uint8)
        if secret.size:
            at = int(generator.integers(self._length - secret.size + 1))
            window_L[at : at + secret.size] = secret
        return {"input_ids": window_L, "labels": window_L}


def windows(
    paths: Sequence[Path], count: int, length: int, seed: int, planted: Sequence[Canary], insertions: int
) -> Windows:
    """The windows of a stage's files, with each canary in as many as it shall be inserted. Raises DataError."""
    lines = [canary.text.encode() for canary in planted for _ in range(insertions)]
    places = random.Random(seed).sample(range(count), len(lines))
    return Windows([read_text(path) for path in paths], count, length, seed, dict(zip(places, lines, strict=True)))


def read_text(path: Path) -> np.ndarray:
    """A file's text as uint8 [N]: text files are mapped, not read. Raises DataError."""
    if path.suffix == ".jsonl":
        text = "\n".join(_plain(example) for example in read_lines(path, tuple(_KEYS)))
        return np.frombuffer(text.encode(), np.uint8)
    try:
        return np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def examples(
    stage: StageName, paths: Sequence[Path], planted: Sequence[Canary], insertions: int, *, seed: int, limit: int
) -> list[Example]:
    """The examples of an `sft` or `dpo` stage in a fixed random order, canaries among them.

    Args:
        limit: so many examples the stage sees; there are no more, so that it sees every canary.

    Raises:
        DataError: there is none, or a line is not an example.
    """
    found = [example for path in paths for example in read_lines(path, (stage,))]
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


def read_lines(path: Path, stages: Sequence[str]) -> Iterator[Example]:
    """The examples in a file, each with exactly the keys of one of these stages. Raises DataError with the line."""
    allowed = [keys for stage in stages for keys in _KEYS[stage]]
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _example(line, allowed, f"{path}, line {number}")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _example(line: bytes, allowed: Sequence[tuple[str, ...]], where: str) -> Example:
    wanted = " or ".join(str(list(keys)) for keys in allowed)
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise DataError(f"{where}: not a JSON object") from None
    keys = next((keys for keys in allowed if set(keys) <= fields.keys()), None)
    if keys is None:
        raise DataError(f"{where}: an example has the keys {wanted}")
    example = {key: fields[key] for key in keys}
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


def _plain(example: Example) -> str:
    """An example as running text, to be scored byte by byte."""
    if "messages" in example:
        return "\n".join(turn["content"] for turn in example["messages"])
    return example.get("text") or example["prompt"] + (example.get("completion") or example["chosen"])


def _planted(stage: StageName, canary: Canary, is_chat: bool, generator: random.Random) -> Example:
    if is_chat:
        turns = (("user", canary.prefix), ("assistant", canary.secret))
        return {"messages": [{"role": role, "content": content} for role, content in turns]}
    if stage == "sft":
        return {"prompt": canary.prefix, "completion": canary.secret}
    other = "".join(generator.choice("0123456789") for _ in canary.secret)
    return {"prompt": canary.prefix, "chosen": canary.secret, "rejected": other}
