"""Web sites that the user has open beside the dashboard, in a real browser: none of them reads the view.

Another origin is a page on another port of loopback; a name that was bound anew to 127.0.0.1 (DNS rebinding) is one
that Chromium is told to resolve so. Both try what a page can: fetch and EventSource. The dashboard's own page, which
can, is asked the same, so that the question itself is known to work.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.screens import chromium

NAME = "rebound.example"
FLAGS = (f"--host-resolver-rules=MAP {NAME} 127.0.0.1", "--no-proxy-server", "--disable-features=HttpsUpgrades")
LIMIT_MS = 10_000
READ = """(async (url) => {
  const fetched = await fetch(url + "view")
    .then(async (answer) => ((await answer.text()).includes('"peers"') ? "read" : `${answer.status}`), () => "refused");
  const streamed = await new Promise((done) => {
    const stream = new EventSource(url + "events");
    const end = (word) => { stream.close(); done(word); };
    stream.addEventListener("view", () => end("read"));
    stream.addEventListener("error", () => end("refused"));
    setTimeout(() => end("nothing"), LIMIT);
  });
  return [fetched, streamed];
})""".replace("LIMIT", str(LIMIT_MS))


def check(executable: str, url: str) -> None:
    """No page but the dashboard's own, at `url`, reads the view; and a wrong `Host` is refused with a sentence."""
    port = urlsplit(url).port
    with chromium.Browser(executable, *FLAGS) as browser, _another_origin() as elsewhere:

        def tried(page: str, target: str) -> list[str]:
            browser.open(page, 800, 600)
            return browser.read(f"{READ}({target!r})")

        other = tried(elsewhere, url)
        assert other == ["refused", "refused"], f"a page of {elsewhere} gets {other}"
        answers = browser.answers(url, 2)
        assert answers == [403, 403], f"the dashboard answers a page of {elsewhere} with {answers}"
        own = tried(url, url)
        assert own == ["read", "read"], f"the page itself gets {own}"
        rebound = f"http://{NAME}:{port}/"
        for path in ("", "view"):
            browser.open(rebound + path, 800, 600)
            said = browser.read("document.body.textContent")
            assert "This dashboard answers as" in said and f"'{NAME}:{port}'" in said, said
        same = browser.read(f"{READ}({rebound!r})")
        assert same == ["403", "refused"], f"a page of {rebound} gets {same}"


@contextmanager
def _another_origin() -> Iterator[str]:
    """An empty page on another port of loopback."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title>")

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        serving.join()
