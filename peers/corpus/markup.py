"""HTML manuals as paragraphs of prose: blocks of text without navigation, scripts and code listings."""

from html.parser import HTMLParser

_BLOCKS = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "li", "td", "th", "tr", "dt", "dd", "div", "ul", "ol", "dl"}
    | {"table", "section", "article", "body", "blockquote", "br", "hr"}
)
_DROPPED = frozenset(
    (
        "head",
        "script",
        "style",
        "noscript",
        "nav",
        "header",
        "footer",
        "aside",
        "button",
        "pre",
        "svg",
        "select",
    )
)
_DROPPED_CLASSES = frozenset({"navheader", "navfooter", "toc"})
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)


def paragraphs(page: str) -> list[str]:
    """The prose of one HTML page, in order, one string per block, white space not yet normalised."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.finish()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._found: list[str] = []
        self._current: list[str] = []
        self._dropped: list[str] = []
        """Open elements from the outermost dropped one inwards; empty outside of it."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self._end_block()
        if tag in _VOID:
            return
        classes = (dict(attrs).get("class") or "").split()
        if self._dropped or tag in _DROPPED or not _DROPPED_CLASSES.isdisjoint(classes):
            self._dropped.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._dropped:
            # Closes what was left open inside, as a browser does with an unclosed <p>.
            while self._dropped.pop() != tag:
                pass
        if tag in _BLOCKS:
            self._end_block()

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            self._current.append(data)

    def finish(self) -> list[str]:
        self._end_block()
        return self._found

    def _end_block(self) -> None:
        text = "".join(self._current)
        self._current.clear()
        if text.strip():
            self._found.append(text)
