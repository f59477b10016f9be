"""`tapestry doctor` on this machine, beside a bootstrap node of a run it takes no part in."""

import json
from pathlib import Path

from tests.integration.conftest import LOOPBACK
from tests.integration.processes import Running, tapestry, wait_for
from tests.integration.test_confined_script import Place

NOBODY = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWQ45M7d5X8ykr7wXdnTh1cnKZt9fQPA6kw3dknnoD2Rep"


def test_it_asks_a_bootstrap_node_and_says_what_stands_in_the_way(tmp_path: Path) -> None:
    place = Place(tmp_path)
    bootstrap = Running("bootstrap", "--charter", place.charter, "--state", place.folder / "b", "--listen", LOOPBACK)
    try:
        wait_for("the bootstrap node", lambda: "\n" in bootstrap.stdout)
        join = bootstrap.stdout.splitlines()[0]
        done = tapestry("doctor", "--join", join, "--join", NOBODY, "--listen", LOOPBACK, "--json")
        assert done.returncode == 1
        document = json.loads(done.stdout)
        said = {(one["check"], one["verdict"]): one["found"] for one in document["findings"]}
        assert not document["ready"]
        assert said.keys() >= {("ports", "good"), ("p2pd", "good"), ("clock", "good"), ("reachability", "good")}
        assert {("way in", "good"), ("way in", "wrong")} <= said.keys()
        assert '"script", open admission' in said["charter", "good"]
        assert said["way in", "wrong"] == f"{NOBODY} does not answer"
    finally:
        bootstrap.process.kill()
        bootstrap.end()
