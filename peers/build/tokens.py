"""The built-in trainer's tokens as a tokenizer that `transformers` loads by itself: token ids are byte values.

A text is its UTF-8 bytes, nothing is merged, so ids equal what the trainer saw. Five byte values that occur in no UTF-8
text stand for what is not text: padding, the end of an answer, and whose turn it is in a conversation. The vocabulary
of the model therefore stays as it is, and an adapter fits every later Shared Base.
"""

import json
from pathlib import Path

PAD, END = "<|pad|>", "<|end|>"
SPECIAL = {251: "<|system|>", 252: "<|assistant|>", 253: "<|user|>", 254: PAD, 255: END}
"""All of them from 0xF5 up: no UTF-8 text holds such a byte."""
END_ID = 255

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
ROLES = ("system", "user", "assistant")


def write_tokenizer(folder: Path, longest: int) -> None:
    """Writes tokenizer.json and what goes with it; `longest` is how many tokens the model takes."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {SPECIAL.get(byte, stand_in): byte for byte, stand_in in enumerate(_stand_ins())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
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


def is_byte_tokenizer(folder: Path) -> bool:
    """Whether a folder's tokenizer gives every byte its own value."""
    try:
        vocabulary = json.loads((folder / "tokenizer.json").read_bytes())["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return sorted(vocabulary.values()) == list(range(256)) and not (set(SPECIAL.values()) - vocabulary.keys())


def _stand_ins() -> list[str]:
    """The printable character by which byte-level tokenizers write each byte, by its value.

    Printable Latin-1 characters stand for themselves; the others take those from U+0100 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
