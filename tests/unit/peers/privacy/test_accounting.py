"""Epsilon against dp-accounting, and the account that outlives kills and restores."""

import subprocess
import sys
from pathlib import Path

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.rdp import RdpAccountant

from peers.privacy.account import ACCOUNT, Account
from peers.privacy.accounting import Charge, epsilon_of
from swarm.errors import StateError

DELTA = 1e-6


@pytest.mark.parametrize(
    ("noise", "rate", "steps"),
    [(1.0, 0.015625, 18), (0.7, 0.02, 3000), (1.1, 0.004, 20_000), (4.0, 1.0, 30), (8.0, 0.001, 5), (2.0, 0.25, 400)],
)
def test_epsilon_is_that_of_dp_accounting_within_one_per_cent(noise: float, rate: float, steps: int) -> None:
    theirs = RdpAccountant()
    theirs.compose(SelfComposedDpEvent(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)), steps))
    assert epsilon_of([Charge(noise, rate, steps)], DELTA) == pytest.approx(theirs.get_epsilon(DELTA), rel=0.01)


def test_charges_of_different_kinds_compose_and_are_not_added_up_as_epsilons() -> None:
    first, second = Charge(1.0, 0.01, 500), Charge(2.0, 0.02, 700)
    theirs = RdpAccountant()
    for charge in (first, second):
        event = PoissonSampledDpEvent(charge.sample_rate, GaussianDpEvent(charge.noise_multiplier))
        theirs.compose(SelfComposedDpEvent(event, charge.steps))
    both = epsilon_of([first, second], DELTA)
    assert both == pytest.approx(theirs.get_epsilon(DELTA), rel=0.01)
    assert max(epsilon_of([first], DELTA), epsilon_of([second], DELTA)) < both
    assert both < epsilon_of([first], DELTA) + epsilon_of([second], DELTA)


def test_nothing_spent_is_zero() -> None:
    assert epsilon_of([], DELTA) == 0


def test_an_account_outlives_its_process_and_only_grows(tmp_path: Path) -> None:
    path = tmp_path / ACCOUNT
    account = Account(path)
    for _ in range(3):
        account.charge(1.0, 0.1)
    account.charge(1.0, 0.2)
    again = Account(path)
    assert again.charges == account.charges == (Charge(1.0, 0.1, 3), Charge(1.0, 0.2, 1))
    assert again.steps == 4
    again.charge(1.0, 0.1)
    assert Account(path).steps == 5


def test_asking_what_a_step_would_cost_spends_nothing(tmp_path: Path) -> None:
    account = Account(tmp_path / ACCOUNT)
    assert account.with_step(1.0, 0.1) == (Charge(1.0, 0.1, 1),)
    assert account.steps == 0 and not (tmp_path / ACCOUNT).exists()


KILLED_BEFORE_USE = """
import os, signal, sys
from pathlib import Path
from peers.privacy.account import Account

account = Account(Path(sys.argv[1]))
account.charge(1.0, 0.1)
account.charge(1.0, 0.1)
os.kill(os.getpid(), signal.SIGKILL)  # the second step's noise is never drawn
"""


def test_a_step_that_was_killed_before_its_noise_is_charged(tmp_path: Path) -> None:
    path = tmp_path / ACCOUNT
    assert subprocess.run([sys.executable, "-c", KILLED_BEFORE_USE, path], check=False).returncode == -9
    assert Account(path).steps == 2


def test_a_kill_in_the_middle_of_writing_leaves_the_old_account(tmp_path: Path) -> None:
    path = tmp_path / ACCOUNT
    Account(path).charge(1.0, 0.1)
    (tmp_path / f"{ACCOUNT}.7.new").write_bytes(b'{"version":1,"char')
    assert Account(path).steps == 1
    assert [each.name for each in tmp_path.iterdir()] == [ACCOUNT]


@pytest.mark.parametrize("data", [b"", b"{}", b'{"version":2,"charges":[]}', b'{"version":1,"charges":[[1,1,1]]}'])
def test_an_account_that_cannot_be_read_allows_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / ACCOUNT
    path.write_bytes(data)
    with pytest.raises(StateError, match="privacy account"):
        Account(path)
    assert path.read_bytes() == data


def test_a_charge_of_negative_steps_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ACCOUNT
    path.write_text('{"version":1,"charges":[{"noise_multiplier":1.0,"sample_rate":0.1,"steps":-5}]}')
    with pytest.raises(StateError, match="changed"):
        Account(path)


def test_a_disk_that_refuses_leaves_the_step_uncharged_and_unmade(tmp_path: Path) -> None:
    account = Account(tmp_path / "missing" / ACCOUNT)
    with pytest.raises(StateError):
        account.charge(1.0, 0.1)
    assert account.steps == 0
