"""Who may talk to the dashboard: this machine's own pages. Everybody else is refused with a sentence.

A page on loopback can be reached by any web site the user has open: by DNS rebinding (a name of the attacker's that
resolves to 127.0.0.1, so `Host` is checked against the addresses served here) and by plain requests from elsewhere
(`Origin` and `Sec-Fetch-Site` are checked). There are no cookies, nothing can be written, and the page may load nothing
but itself.
"""

from collections.abc import Mapping

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_OWN_SITES = ("", "same-origin", "none")
"""What `Sec-Fetch-Site` may say: nothing (no browser, or an old one), this page, or the user's own typing."""


def hosts_of(port: int) -> frozenset[str]:
    """The values of `Host` that mean this server."""
    names = ("127.0.0.1", "localhost", "[::1]")
    plain = names if port == 80 else ()  # browsers leave the standard port out
    return frozenset((*(f"{name}:{port}" for name in names), *plain))


def refusal(headers: Mapping[str, str], hosts: frozenset[str]) -> str | None:
    """Why a request is refused, in a sentence; None if it may be answered. Header names are in lower case."""
    host = headers.get("host", "").lower()
    if host not in hosts:
        return f"This dashboard answers as {_listed(hosts)} only, and this request is for {_quoted(host)}."
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in {f"http://{each}" for each in hosts}:
        return f"This dashboard answers its own page only, and this request comes from {_quoted(origin)}."
    site = headers.get("sec-fetch-site", "")
    if site not in _OWN_SITES:
        return f"This dashboard answers its own page only, and this request is {_quoted(site)}."
    return None


def _listed(hosts: frozenset[str]) -> str:
    return ", ".join(sorted(hosts))


def _quoted(text: str) -> str:
    """A stranger's words, short and printable."""
    return repr("".join(char if char.isprintable() and char not in "<>&" else "?" for char in text[:80]))
