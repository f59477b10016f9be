"""gettext .po files as pairs of message id and translation, without fuzzy, obsolete and empty ones."""

import re
from collections.abc import Iterator

_FIELD = re.compile(r'(msgctxt|msgid|msgid_plural|msgstr(?:\[\d+\])?)\s+"(.*)"\s*$')
_CONTINUED = re.compile(r'"(.*)"\s*$')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


def messages(text: str) -> Iterator[tuple[str, str]]:
    """(message id, translation) in the file's order, one per plural form."""
    fields: dict[str, str] = {}
    current = ""
    fuzzy = False
    # The empty line at the end closes the last entry.
    for line in [*text.splitlines(), ""]:
        if field := _FIELD.match(line):
            current = field[1]
            fields[current] = field[2]
        elif current and (more := _CONTINUED.match(line)):
            fields[current] += more[1]
        elif line.startswith("#,") and "fuzzy" in line:
            fuzzy = True
        elif not line.strip():
            if not fuzzy:
                yield from _translations(fields)
            fields, current, fuzzy = {}, "", False


def _translations(fields: dict[str, str]) -> Iterator[tuple[str, str]]:
    message_id = _unescape(fields.get("msgid", ""))
    if not message_id:  # the header
        return
    for name, value in fields.items():
        if name.startswith("msgstr") and value:
            yield message_id, _unescape(value)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text)
