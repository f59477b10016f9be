"""`python -m tests.scale`: a large swarm under churn, in virtual time; prints the distribution over rounds.

Exit status 1 if fewer than 99.9 % of those present were counted, if any round has two states, or if anything died of an
error.
"""

import argparse
import sys

from tests.scale.measure import Round, total_share
from tests.scale.play import play, report

_WANTED_SHARE = 0.999


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--peers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--regions", type=int, default=4, choices=range(1, 5))
    parser.add_argument("--churn-percent", type=float, default=5.0, help="of the peers, per minute")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()

    def say(each: Round) -> None:
        print(
            f"round {each.number}: {each.counted} of {each.present} counted, {each.catching_up} catching up, "
            f"attempt {each.attempt}, formed in {each.form_s:.2f} s, {each.round_s:.2f} s",
            file=sys.stderr,
            flush=True,
        )

    outcome = play(
        peers=given.peers,
        rounds=given.rounds,
        regions=given.regions,
        churn_percent=given.churn_percent,
        seed=given.seed,
        say=say,
    )
    print(report(outcome))
    for error in outcome.errors[:5]:
        print(f"error: {error!r}", file=sys.stderr)
    is_one = all(len(digests) == 1 for digests in outcome.measure.digests.values())
    is_good = total_share(outcome.measure.rounds) >= _WANTED_SHARE and is_one and not outcome.errors
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
