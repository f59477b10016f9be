"""The tokens of a build: those of the checkpoint its run began from, or bytes.

Bytes get a tokenizer that `transformers` loads by itself: a text is its UTF-8 bytes, nothing is merged, so ids equal
what the built-in trainer saw. Five byte values that occur in no UTF-8 text stand for what is not text: padding, the end
of an answer, and whose turn it is in a conversation. The vocabulary of the model therefore stays as it is, and an
adapter fits every later Shared Base.
"""

import json
from pathlib import Path
from typing import Any

from peers.build.windows import Encode
from peers.ecosystem.reading import Reading
from peers.ecosystem.tokens import boundary_of, read_tokenizer

PAD, END = "<|pad|>", "<|end|>"
SPECIAL = {251: "<|system|>", 252: "<|assistant|>", 253: "<|user|>", 254: PAD, 255: END}
"""All of them from 0xF5 up: no UTF-8 text holds such a byte."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
ROLES = ("system", "user", "assistant")


def write_tokenizer(folder: Path, longest: int) -> None:
    """Writes tokenizer.json and what goes with it; `longest` is how many tokens the model takes."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(vocab=_vocabulary(), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL.values()])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=longest,
        chat_template=CHAT_TEMPLATE,
    )
    wrapped.save_pretrained(folder)


def reading_of(folder: Path, config: Any) -> Reading:
    """How the model in a folder, with this config of `transformers`, reads text. Raises ModelError."""
    if _is_ours(folder):
        return Reading(None, None, 0)
    return Reading(folder, read_tokenizer(folder), boundary_of(config))


def encoder(reading: Reading) -> Encode:
    """From text to tokens; what is no UTF-8 is left out where tokens are not bytes."""
    words = reading.words
    if words is None:
        return list
    return lambda text: words.encode(text.decode("utf-8", "ignore"))


def _is_ours(folder: Path) -> bool:
    """Whether a folder's tokenizer is the one that `write_tokenizer` writes."""
    try:
        vocabulary = json.loads((folder / "tokenizer.json").read_bytes())["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return vocabulary == _vocabulary()


def _vocabulary() -> dict[str, int]:
    return {SPECIAL.get(byte, stand_in): byte for byte, stand_in in enumerate(_stand_ins())}


def _stand_ins() -> list[str]:
    """The printable character by which byte-level tokenizers write each byte, by its value.

    Printable Latin-1 characters stand for themselves; the others take those from U+0100 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
