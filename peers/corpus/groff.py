"""Manual pages (groff's man macros) as paragraphs of prose.

Not a typesetter: tables, examples and set-off code are left out, as are conditionals and macro definitions.
Pages in the other dialect, mdoc, give nothing, because its inline macros cannot be told from text without a
full interpreter.
"""

import re

_MDOC = re.compile(r"^\.Sh ", re.MULTILINE)
_TEXT_MACROS = frozenset({"B", "I", "SM", "SB"})
_JOINED_TEXT_MACROS = frozenset({"BR", "RB", "IR", "RI", "BI", "IB"})
_BREAKS = frozenset(
    {"SH", "SS", "PP", "P", "LP", "TP", "TQ", "IP", "HP", "RS", "RE", "sp", "br", "TH", "in", "ti", "Sp"}
)
_SKIPPED_UNTIL = {"TS": "TE", "EX": "EE", "nf": "fi", "Vb": "Ve", "de": ".", "am": ".", "ig": "."}
_SECTIONS = frozenset({"SH", "SS"})

_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|(\S+)')
_ESCAPE = re.compile(
    r"""\\(?:
      f(?:\(..|\[[^\]]*\]|.)              # font
    | \*(?:\(..|\[[^\]]*\]|.)             # string register
    | [nkgmMFY](?:\(..|\[[^\]]*\]|.)      # number register, colour, family
    | s(?:[-+]?\d+|\[[^\]]*\]|\([-+]?..)  # size
    | [hvlLDbowxSHRNZ]'[^']*'             # motion, line, drawing, name of a character by number
    | \((?P<two>..)
    | \[(?P<long>[^\]]*)\]
    | (?P<one>.)
    | $
    )""",
    re.VERBOSE,
)
_ONE = {"-": "-", "e": "\\", "\\": "\\", "~": " ", " ": " ", "0": " ", "'": "'", "`": "`", ".": "."}

# Names of characters, and the characters, in the same order.
_NAMES = """
    aq dq lq rq oq cq Bq bq Fo Fc fo fc em en hy mi bu co rg tm ha ti rs ga at sh Do sl or ba lB rB lC rC <=
    >= != -> <- mu di +- de sc ss :a :o :u :A :O :U 'e 'E `e `a `u ^e ^a ^i ^o ^u ,c
"""
_CHARACTERS = """
    ' " “ ” ‘ ’ „ ‚ « » ‹ › — – - - • © ® ™ ^ ~ \\ ` @ # $ / | | [ ] { } ≤ ≥ ≠ → ←
    × ÷ ± ° § ß ä ö ü Ä Ö Ü é É è à ù ê â î ô û ç
"""  # noqa: RUF001
_NAMED: dict[str, str] = dict(zip(_NAMES.split(), _CHARACTERS.split(), strict=True))


def paragraphs(page: str) -> list[str]:
    """The prose of one manual page, in order, one string per paragraph, white space not yet normalised."""
    if _MDOC.search(page):
        return []
    found: list[str] = []
    current: list[str] = []
    skip_until: str | None = None
    open_braces = 0

    def end_paragraph() -> None:
        if current:
            found.append(" ".join(current))
            current.clear()

    for line in page.splitlines():
        macro, rest = _macro(line)
        if open_braces:
            open_braces = max(0, open_braces + line.count(r"\{") - line.count(r"\}"))
        elif skip_until is not None:
            # A forgotten end of an example must not swallow the rest of the page.
            if macro == skip_until or (macro in _SECTIONS and skip_until != "."):
                skip_until = None
        elif macro is None:
            if line.strip():
                current.append(_plain(line))
            else:
                end_paragraph()
        elif macro in {"if", "ie", "el", "while"}:
            open_braces = max(0, rest.count(r"\{") - rest.count(r"\}"))
        elif macro in _SKIPPED_UNTIL:
            end_paragraph()
            skip_until = _SKIPPED_UNTIL[macro]
        elif macro in _TEXT_MACROS:
            current.append(" ".join(_arguments(rest)))
        elif macro in _JOINED_TEXT_MACROS:
            current.append("".join(_arguments(rest)))
        elif macro in _BREAKS:
            end_paragraph()
    end_paragraph()
    return found


def _macro(line: str) -> tuple[str | None, str]:
    """The name of the macro a line calls and what follows it; None and the line when it is text."""
    if not line.startswith((".", "'")):
        return None, line
    body = line[1:].lstrip()
    if body.startswith("."):
        return ".", ""
    name = re.match(r"[A-Za-z]+", body)
    # A comment or an empty request is a macro without effect.
    return (name.group(), body[name.end() :].strip()) if name else ("", "")


def _arguments(rest: str) -> list[str]:
    return [_plain(quoted.replace('""', '"') or bare) for quoted, bare in _ARGUMENT.findall(rest)]


def _plain(text: str) -> str:
    """Text without escapes; a comment at the end of the line is cut off."""
    return _ESCAPE.sub(_escape, re.split(r'\\["#]', text, maxsplit=1)[0])


def _escape(match: re.Match[str]) -> str:
    if (one := match["one"]) is not None:
        return _ONE.get(one, "")
    name = match["two"] or match["long"] or ""
    if re.fullmatch(r"u[0-9A-F]{4,5}", name):
        return chr(int(name[1:], 16))
    return _NAMED.get(name, "")
