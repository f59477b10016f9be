"""Pure functions on paragraphs: clean, judge the language, drop repeats and copies of held-out text.

A paragraph is one line of text in Unicode NFC without surrounding space. Nothing here touches a file.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

_HAN_OR_KANA = "\u3000-\u30ff\u3400-\u9fff\uff00-\uffef"
_SPACE_INSIDE_JAPANESE = re.compile(rf"(?<=[{_HAN_OR_KANA}]) (?=[{_HAN_OR_KANA}])")
_NOT_UTF8 = "\ufffd"
_WORD = re.compile(r"[^\W\d_]+")

_SCRIPT = {"ja": re.compile("[\u3040-\u30ff]"), "ko": re.compile("[\uac00-\ud7a3]")}
_SCRIPT_SHARE = 0.25
"""Smallest share of a paragraph's letters that must be in the language's own script."""

_TENTH_OF_A_BYTE = 26

_COMMON_WORDS = {
    "en": "the of to and a this that for be with you are it not or if as by on from can will which when",
    "de": "der die das und ist nicht von mit den dem ein eine wird werden für auf zu sich oder sie im als",
    "fr": "le la les de des du et est pas un une pour dans que qui sur par avec ou ce sont vous en au aux il",
    "vi": "là và của các có không được cho này một những trong để với khi bạn nếu hoặc từ đã sẽ thì",
    "id": "yang dan di untuk dengan ini tidak dari pada atau anda adalah ke dapat akan dalam jika sebuah itu",
}
_COMMON = {language: frozenset(words.split()) for language, words in _COMMON_WORDS.items()}


def clean(text: str) -> str:
    """Text as a paragraph: NFC, single spaces, and none inside Japanese, where none belongs."""
    spaced = " ".join(unicodedata.normalize("NFC", text).split())
    return _SPACE_INSIDE_JAPANESE.sub("", spaced)


def is_in(language: str, paragraph: str) -> bool:
    """Whether a paragraph is in the language rather than left in English, as translated manuals often are.

    Japanese and Korean are told by their script, the others by counting common words against English ones. A
    language without a word list is believed.
    """
    if script := _SCRIPT.get(language):
        letters = sum(map(str.isalpha, paragraph))
        return letters > 0 and len(script.findall(paragraph)) >= _SCRIPT_SHARE * letters
    if language not in _COMMON or language == "en":
        return True
    words = _WORD.findall(paragraph.lower())
    own = sum(word in _COMMON[language] for word in words)
    english = sum(word in _COMMON["en"] for word in words)
    return own > english


def shared_run_chars(language: str) -> int:
    """How long a run of characters two texts must share to count as copied: a sentence or so."""
    return 25 if language in _SCRIPT else 50


def select(raw: Iterable[str], *, min_chars: int) -> list[str]:
    """Clean paragraphs of at least `min_chars` characters, each once, in the order they came.

    Text that was not UTF-8, told by the replacement character, is left out.
    """
    once = dict.fromkeys(clean(text) for text in raw if _NOT_UTF8 not in text)
    return [text for text in once if len(text) >= min_chars]


def without_copies(paragraphs: Sequence[str], held_out: Iterable[str], run_chars: int) -> list[str]:
    """Paragraphs that share no run of `run_chars` characters with one held-out paragraph, and equal none.

    Every window of `width` characters of the held-out text is compared with every `stride`-th window here.
    With width + stride <= run_chars + 1 a shared run of that length always covers a compared window; shorter
    runs may be caught too.
    """
    stride = max(1, run_chars // 5)
    width = run_chars + 1 - stride
    windows: set[str] = set()
    for text in held_out:
        windows.add(text)
        windows.update(text[at : at + width] for at in range(len(text) - width + 1))

    def copied(text: str) -> bool:
        return text in windows or any(
            text[at : at + width] in windows for at in range(0, len(text) - width + 1, stride)
        )

    return [text for text in paragraphs if not copied(text)]


def capped(paragraphs: Iterable[str], limit_bytes: int) -> list[str]:
    """The first paragraphs whose UTF-8 lines, newlines counted, fit the limit together."""
    kept: list[str] = []
    used_bytes = 0
    for text in paragraphs:
        used_bytes += len(text.encode()) + 1
        if used_bytes > limit_bytes:
            break
        kept.append(text)
    return kept


def in_held_out_tenth(key: str) -> bool:
    """Whether what goes by this key is held out where no separate text is: one in ten, by the key's hash."""
    return hashlib.sha256(key.encode()).digest()[0] < _TENTH_OF_A_BYTE
