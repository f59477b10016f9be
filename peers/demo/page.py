"""Small pieces of HTML: escaped text, tables, figures and the page's style. Knows nothing of the pilot.

The page is one file: style inside, pictures as data, no script, nothing fetched from anywhere.
"""

import base64
from collections.abc import Sequence
from html import escape


class Html(str):
    """Text that is HTML already. Everything else is escaped when it enters a page."""


STYLE = """
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #ffffff; --ink: #1c1f24; --muted: #5d6470; --line: #e3e6ea; --accent: #0b5fa5;
  --good: #0b7a57; --good-soft: #e2f4ed; --bad: #b3261e; --bad-soft: #fbe6e4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #121418; --card: #1a1d22; --ink: #eceef1; --muted: #a0a7b2; --line: #31363e; --accent: #7cbdf0;
    --good: #5fd6ae; --good-soft: #14352b; --bad: #ff9d94; --bad-soft: #43201d;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 46rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 {
  font-size: clamp(1.5rem, 5.2vw, 2.15rem); line-height: 1.2; letter-spacing: -.015em; margin: 0 0 .75rem;
  text-wrap: balance;
}
h2 { font-size: 1.2rem; line-height: 1.3; margin: 2.75rem 0 .35rem; }
p { margin: .35rem 0 .9rem; }
p.kicker { margin: 0 0 .4rem; color: var(--muted); font-size: .9rem; }
p.lead { font-size: 1.06rem; }
p.quiet { color: var(--muted); font-size: .92rem; }
a { color: var(--accent); }
dl.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(13rem, 45%), 1fr)); gap: .75rem;
  margin: 1.5rem 0;
}
dl.tiles > div {
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .7rem .9rem .6rem;
  display: flex; flex-direction: column-reverse; justify-content: flex-end;
}
dl.tiles dt { color: var(--muted); font-size: .82rem; line-height: 1.35; }
dl.tiles dd {
  margin: 0; font-size: 1.5rem; font-weight: 650; line-height: 1.3; font-variant-numeric: tabular-nums;
}
figure, .scroll {
  margin: 1rem 0; background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
}
figure { padding: .6rem; }
figure img { display: block; width: 100%; max-width: 36rem; height: auto; margin: 0 auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .7rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { color: var(--muted); font-weight: 600; font-size: .82rem; vertical-align: bottom; }
tbody tr:last-child > * { border-bottom: 0; }
th[scope=row] { font-weight: 500; }
th.number, td.number { text-align: right; }
td.number { white-space: nowrap; }
tr.total > * { font-weight: 650; }
code { font: .86em/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.good, .bad {
  display: inline-block; border-radius: 1rem; padding: .05rem .6rem; font-size: .82rem; font-weight: 600;
  white-space: nowrap;
}
.good { color: var(--good); background: var(--good-soft); }
.bad { color: var(--bad); background: var(--bad-soft); }
ul.notes { padding-left: 1.1rem; }
ul.notes li { margin: .35rem 0; overflow-wrap: anywhere; }
summary { cursor: pointer; font-weight: 600; }
@media (max-width: 30rem) {
  main { padding-top: 1.25rem; }
  table { font-size: .82rem; }
  thead th { font-size: .76rem; }
  th, td { padding: .4rem .25rem; }
  th:first-child, td:first-child { padding-left: .45rem; }
  th:last-child, td:last-child { padding-right: .45rem; }
  figure { padding: .3rem; }
}
"""


def page(title: str, body: Sequence[Html]) -> str:
    """A whole document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def inline(text: str) -> Html:
    """Text made safe for a page, unless it is HTML already."""
    return text if isinstance(text, Html) else Html(escape(text))


def element(name: str, text: str, css: str = "") -> Html:
    """An element around text."""
    attribute = f' class="{escape(css)}"' if css else ""
    return Html(f"<{name}{attribute}>{inline(text)}</{name}>")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1, total: bool = False) -> Html:
    """A table whose first cells name the rows.

    Args:
        text_columns: how many columns from the left are text; the others are numbers, set to the right.
        total: whether the last row is a sum or an average.
    """

    def cell(name: str, number: int, text: str) -> str:
        scope = ' scope="row"' if name == "td" and number == 0 else ""
        css = ' class="number"' if number >= text_columns else ""
        tag = "th" if scope else name
        return f"<{tag}{scope}{css}>{inline(text)}</{tag}>"

    head = "".join(cell("th", number, column) for number, column in enumerate(columns))
    lines: list[str] = []
    for place, row in enumerate(rows):
        css = ' class="total"' if total and place == len(rows) - 1 else ""
        lines.append(f"<tr{css}>{''.join(cell('td', number, text) for number, text in enumerate(row))}</tr>")
    head = f"<thead><tr>{head}</tr></thead>"
    body = "<tbody>\n" + "\n".join(lines) + "\n</tbody>"
    return Html(f'<div class="scroll"><table>\n{head}\n{body}\n</table></div>')


def tiles(values: Sequence[tuple[str, str]]) -> Html:
    """Figures at a glance: (what it is, its value)."""
    cells = "\n".join(f"<div><dt>{inline(name)}</dt><dd>{inline(value)}</dd></div>" for name, value in values)
    return Html(f'<dl class="tiles">\n{cells}\n</dl>')


def figure(light_png: bytes, dark_png: bytes, description: str) -> Html:
    """A picture in the version that suits the reader's colour scheme, inside the page itself."""
    dark = f'<source media="(prefers-color-scheme: dark)" srcset="{_data(dark_png)}">'
    light = f'<img src="{_data(light_png)}" alt="{escape(description)}">'
    return Html(f"<figure><picture>{dark}{light}</picture></figure>")


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
