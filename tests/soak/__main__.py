"""`python -m tests.soak --minutes 10`: up to ten real peers, somebody joining or killed every 0.5 to 2 seconds.

    calm       everybody up, nobody disturbed: the goodput to compare with
    churn      joins and SIGKILLs (60/40), identities that come back and fresh ones mixed; in the middle a majority dies
               between two commits
    settling   everybody gets into one round again

Exit status 1 if two peers ever said two states of one round, if no round was committed for 30 s, if a peer ended by
itself, or if memory, file descriptors or directory records of those who lived on grew. The seed fixes what happens to
whom after which pauses; the instants it hits in real processes are not repeatable.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.outcome import Plan, report
from tests.soak.play import Soak

FEWEST_NODES = 5
"""Two elders, and a majority that can die without them."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of churn")
    parser.add_argument("--nodes", type=int, default=10, help="at most, and in the undisturbed run")
    parser.add_argument("--calm-s", type=float, default=60.0, help="of the undisturbed run before it")
    parser.add_argument("--seed", type=int, default=0, help="what happens to whom")
    parser.add_argument("--attribute", action="store_true", help="say by line what the elders' memory grew by")
    parser.add_argument("--keep", type=Path, help="a new folder for the peers' state, kept afterwards")
    given = parser.parse_args()
    if given.nodes < FEWEST_NODES:
        parser.error(f"--nodes: at least {FEWEST_NODES}")
    plan = Plan(given.nodes, given.minutes, given.calm_s, given.seed, given.attribute)
    again = f"python -m tests.soak --minutes {plan.minutes:g} --nodes {plan.nodes} --calm-s {plan.calm_s:g}"
    again += f" --seed {plan.seed}"
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = Path(scratch) if given.keep is None else given.keep
        folder.mkdir(exist_ok=True)
        try:
            outcome = Soak(plan, folder).run()
        except AssertionError as error:
            print(f"failed: {error}\nagain: {again}", flush=True)
            return 1
    print(report(outcome))
    if outcome.growth.grown:
        print(f"again: {again}")
    return 1 if outcome.growth.grown else 0


if __name__ == "__main__":
    sys.exit(main())
