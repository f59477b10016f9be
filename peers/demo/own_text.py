"""What a member keeps for its own model: text that no shared round sees, and examples made from it, under a policy.

    FOLDER/private/<language>.txt            for continued pre-training
    FOLDER/instructions/<language>.jsonl     how a paragraph begins, and how it goes on
    FOLDER/preferences/<language>.jsonl      the same, and how a paragraph in another of the member's languages goes on
    FOLDER/held-out/<language>.txt           in every language of the pilot, to score with
    FOLDER/policy.toml

All but the held-out text is labelled `private`, for a Sovereign Build alone, and bound to where the member stands. The
peers of the shared rounds are given another folder. Examples are real text, cut; nobody has written them as answers.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import tomli_w

from peers.corpus.regions import PilotRegion
from peers.corpus.store import Corpus
from peers.demo.terms import HELD_OUT_BYTES
from swarm.errors import PolicyError
from swarm.isolation.levels import LADDER
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import Restrictions
from swarm.sovereignty.policy import POLICY_NAME, POLICY_VERSION, DpRules
from swarm.sovereignty.uses import Privacy, Use

KEPT = 4
"""One part of so many of each language's text is kept for the member's own model."""
PROMPT_BYTES, ANSWER_BYTES = 64, 160
"""With the mark at its end, an example fits into a sequence of 256 tokens."""
_MOST_EXAMPLES = 1000
"""Of one language."""

Example = dict[str, str]


@dataclass(frozen=True)
class OwnText:
    """What binds a member's own text, and the text it scores with."""

    home: str
    """The jurisdiction where the member stands."""
    bound: Mapping[str, Restrictions]
    """By language, what binds all text that its texts are made from."""
    dp: DpRules | None


def set_apart(corpus: Corpus, folder: Path) -> tuple[Corpus, Corpus]:
    """The corpus without the last part of each language's training text, and with that part alone: no line is in both.

    Args:
        folder: where both are written; made if absent.
    """
    parts: tuple[dict[str, Path], dict[str, Path]] = {}, {}
    for name, train in zip(("shared", "kept"), parts, strict=True):
        (folder / name).mkdir(parents=True)
        train.update({language: folder / name / f"{language}.txt" for language in corpus.train})
    for language, path in corpus.train.items():
        lines = path.read_bytes().splitlines(keepends=True)
        cut = len(lines) - len(lines) // KEPT
        parts[0][language].write_bytes(b"".join(lines[:cut]))
        parts[1][language].write_bytes(b"".join(lines[cut:]))
    return replace(corpus, train=parts[0]), replace(corpus, train=parts[1])


def require_readable_everywhere(bound: Mapping[str, Restrictions]) -> None:
    """Raises PolicyError where a region's held-out text may not be read by the others, who score their models on it."""
    for region, binding in bound.items():
        if binding.residency is not None:
            where = ", ".join(sorted(binding.residency)) or "no place"
            raise PolicyError(
                f"--build scores every region's own model on the held-out text of all of them; that of {region} is "
                f"{binding.label}, and bound to {where}"
            )


def write_own_folder(kept: Corpus, region: PilotRegion, own: OwnText, folder: Path, seed: int) -> None:
    """Lays out the folder of a member's own build; nothing in it is bound less than what it is made from."""
    lines = {language: kept.train[language].read_text("utf-8").splitlines() for language in region.jurisdictions}
    datasets: list[dict[str, object]] = []
    for language, text in lines.items():
        others = [line for other, theirs in lines.items() if other != language for line in theirs]
        draw = random.Random(f"{seed} {language}")
        instructions = list(instructions_of(text, draw))
        _write(folder / "private" / f"{language}.txt", "".join(f"{line}\n" for line in text).encode())
        _write(folder / "instructions" / f"{language}.jsonl", _lines(instructions))
        _write(folder / "preferences" / f"{language}.jsonl", _lines(preferences_of(instructions, others, draw)))
        for what, file in (("private", "txt"), ("instructions", "jsonl"), ("preferences", "jsonl")):
            datasets.append(_dataset(kept, own, language, what, file, Label.PRIVATE, Use.SOVEREIGN_BUILD))
    for language, path in kept.held_out.items():
        _write(folder / "held-out" / f"{language}.txt", path.read_bytes()[:HELD_OUT_BYTES])
        label = own.bound[language].label
        datasets.append(_dataset(kept, own, language, "held-out", "txt", label, Use.EVALUATION))
    isolation = max((each.isolation for each in own.bound.values()), key=LADDER.index)
    policy: dict[str, object] = {"version": POLICY_VERSION, "isolation": isolation, "dataset": datasets}
    if own.dp is not None:
        policy["dp"] = msgspec.to_builtins(own.dp)
    (folder / POLICY_NAME).write_text(tomli_w.dumps(policy), encoding="utf-8")


def name_of(what: str, language: str) -> str:
    """What a data set is called in the policy."""
    return f"{what} text, {language}" if what in ("private", "held-out") else f"{what}, {language}"


def instructions_of(paragraphs: Sequence[str], draw: random.Random) -> Iterator[Example]:
    """Real paragraphs, each cut in two: how it begins, and how it goes on. In random order."""
    chosen = [text for text in paragraphs if len(text.encode()) > 2 * PROMPT_BYTES]
    draw.shuffle(chosen)
    for text in chosen[:_MOST_EXAMPLES]:
        prompt = beginning(text, PROMPT_BYTES)
        answer = beginning(text[len(prompt) :], ANSWER_BYTES)
        if prompt and answer.strip():
            yield {"prompt": prompt, "completion": answer}


def preferences_of(instructions: Sequence[Example], others: Sequence[str], draw: random.Random) -> Iterator[Example]:
    """Which of two answers is better: the real one, or text in another language; or its own words in disorder."""
    for example in instructions:
        answer = example["completion"]
        wrong = beginning(draw.choice(others), len(answer.encode())) if others else _disordered(answer, draw)
        if wrong.strip() and wrong != answer:
            yield {"prompt": example["prompt"], "chosen": answer, "rejected": wrong}


def beginning(text: str, limit_bytes: int) -> str:
    """As much of a text as fits, up to a space if one is in the second half of that."""
    if len(text.encode()) <= limit_bytes:
        return text
    cut = text.encode()[:limit_bytes].decode("utf-8", "ignore")
    space = cut.rfind(" ")
    return cut[:space] if space > len(cut) // 2 else cut


def _disordered(text: str, draw: random.Random) -> str:
    joint = " " if " " in text.strip() else ""
    parts = text.split() if joint else list(text)
    draw.shuffle(parts)
    return joint.join(parts)


def _dataset(
    corpus: Corpus, own: OwnText, language: str, what: str, suffix: str, label: Label, use: Use
) -> dict[str, object]:
    bound = own.bound[language]
    return {
        "name": name_of(what, language),
        "files": [f"{what}/{language}.{suffix}"],
        "label": label.value,
        "residency": own.home,
        "licence": " AND ".join(sorted(bound.licences)) or corpus.licences[language],
        "language": language,
        "uses": [use.value],
        "privacy": next(iter(bound.privacy), Privacy.LICENCE).value,
    }


def _lines(examples: Iterable[Example]) -> bytes:
    return b"".join(msgspec.json.encode(example) + b"\n" for example in examples)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
