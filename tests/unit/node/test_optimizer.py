"""The optimizer of library use against a node played by a thread: both modes, and all that a loop does to it."""

import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn

from swarm.charter.manifest import AdamW, Training
from swarm.errors import NetworkError
from swarm.node import optimizer as optimizers
from swarm.node.messages import (
    Abandon,
    Base,
    Finish,
    GoOn,
    Score,
    Scored,
    TrainBeside,
    TrainerHello,
    UpdateMade,
    Yielded,
)
from swarm.sovereignty.privacy import Receipt, Spent
from swarm.vector.flatten import named_parameters, scatter, schema, schema_digest
from swarm.vector.outer import AdamWRule
from tests.unit.node.fake_node import FakeNode, Script, rounds, vector_of

SPENT = Spent("sequence", 1.0, 1e-6, 1.0, 1.0, 3, "made up")
DILOCO = Training(mode="diloco", inner_steps=3)
GRADIENT = Training(mode="gradient", inner_steps=3)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


@pytest.fixture
def node(model: nn.Module):
    node = FakeNode(vector_of(model).size)
    yield node
    node.close()


def adamw(model: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=0.05)


def loss_of(model: nn.Module, step: int) -> torch.Tensor:
    """The loss on a batch that depends on the step's number only."""
    points = torch.Generator().manual_seed(step)
    return model(torch.randn(6, 4, generator=points)).square().mean()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        loss_of(model, step).backward()
        optimizer.step()
        optimizer.zero_grad()


def halve(base_N: np.ndarray, update_N: np.ndarray, round_number: int) -> np.ndarray:
    """An outer step that is easy to follow: half way."""
    return (base_N - 0.5 * update_N).astype(np.float32)


def test_diloco_gives_base_minus_weights_and_goes_on_from_the_new_base(model: nn.Module, node: FakeNode) -> None:
    alone = copy.deepcopy(model)
    base_N = np.full(node.shared.base_N.size, 0.1, np.float32)
    updates: list[np.ndarray] = []
    with Script(lambda: updates.extend(rounds(node, base_N, 2, halve))):
        optimizer = node.wrap(model, adamw(model), DILOCO)
        np.testing.assert_array_equal(vector_of(model), base_N)
        assert optimizer.round == 1
        train(model, optimizer, 6)
    assert optimizer.is_finished and optimizer.final_round == 2

    oracle = adamw(alone)  # one AdamW that is moved twice: its moments live on
    for number in range(2):
        scatter(base_N, named_parameters(alone))
        for step in range(3):
            loss_of(alone, 3 * number + step).backward()
            oracle.step()
            oracle.zero_grad()
        expected_N = base_N - vector_of(alone)
        np.testing.assert_array_equal(updates[number], expected_N)
        base_N = halve(base_N, expected_N, number)
    np.testing.assert_array_equal(vector_of(model), base_N)
    hello, first, _ = node.heard
    assert isinstance(hello, TrainerHello)
    assert hello.schema_digest == schema_digest(schema(named_parameters(model).items()))
    assert isinstance(first, UpdateMade)
    assert (first.round, first.steps, first.tokens) == (1, 3, 3)


def test_gradient_mode_with_outer_adamw_is_adamw_on_mean_gradients(model: nn.Module, node: FakeNode) -> None:
    outer = AdamW(lr=0.02, weight_decay=0.1)
    rule = AdamWRule(lr=outer.lr, beta1=outer.beta1, beta2=outer.beta2, eps=outer.eps, weight_decay=outer.weight_decay)
    base_N = vector_of(model)
    moments = (np.zeros_like(base_N), np.zeros_like(base_N))

    def step(base_N: np.ndarray, update_N: np.ndarray, round_number: int) -> np.ndarray:
        moved_N = base_N.copy()
        rule.step(moved_N, moments, update_N, round_number)
        return moved_N

    alone = copy.deepcopy(model)
    with Script(lambda: rounds(node, base_N, 4, step)):
        optimizer = node.wrap(model, torch.optim.SGD(model.parameters(), lr=123.0), GRADIENT)
        train(model, optimizer, 12)

    oracle = torch.optim.AdamW(
        alone.parameters(),
        lr=outer.lr,
        betas=(outer.beta1, outer.beta2),
        eps=outer.eps,
        weight_decay=outer.weight_decay,
    )
    for number in range(4):
        torch.stack([loss_of(alone, 3 * number + step) for step in range(3)]).mean().backward()
        oracle.step()
        oracle.zero_grad()
    np.testing.assert_allclose(vector_of(model), vector_of(alone), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("steps_before", [0, 1, 2, 3])
@pytest.mark.parametrize("training", [DILOCO, GRADIENT], ids=["diloco", "gradient"])
def test_an_abandon_at_any_moment_leads_to_the_next_base(
    model: nn.Module, node: FakeNode, training: Training, steps_before: int
) -> None:
    old_N, new_N = np.full((2, node.shared.base_N.size), [[0.1], [0.2]], np.float32)
    updates: list[np.ndarray] = []
    is_so_far, is_sent = threading.Event(), threading.Event()

    def script() -> None:
        node.hear()
        node.give_base(1, old_N)
        if steps_before == 3:
            node.hear()  # the update was on its way already: the abandon crosses it
            node.send(Abandon(1))
        else:
            assert is_so_far.wait(60)
            node.send(Abandon(1))
            is_sent.set()
            assert node.hear() == Yielded(1)
        node.give_base(2, new_N)
        updates.append(node.hear_update())
        node.stop(new_N, 2)

    with Script(script):
        optimizer = node.wrap(model, adamw(model), training)
        step = 0
        while not optimizer.is_finished:
            if step == steps_before < 3:
                is_so_far.set()
                assert is_sent.wait(60)
            loss_of(model, step).backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
    (last,) = [message for message in node.heard if isinstance(message, UpdateMade)][-1:]
    assert (last.round, last.steps) == (2, 3)
    assert (updates[0] != 0).any()
    np.testing.assert_array_equal(vector_of(model), new_N)


def test_a_stop_between_steps_leaves_the_shared_base(model: nn.Module, node: FakeNode) -> None:
    final_N = np.full(node.shared.base_N.size, 0.3, np.float32)

    def script() -> None:
        node.hear()
        node.give_base(5, np.zeros_like(final_N))
        node.send(Abandon(5))
        assert node.hear() == Yielded(5)
        node.stop(final_N, 4)

    with Script(script):
        optimizer = node.wrap(model, adamw(model), DILOCO)
        train(model, optimizer, 1)
    assert (optimizer.is_finished, optimizer.final_round) == (True, 4)
    np.testing.assert_array_equal(vector_of(model), final_N)


@pytest.mark.parametrize("moment", ["handshake", "step", "update"])
def test_a_dead_node_is_a_network_error_with_a_sentence(model: nn.Module, node: FakeNode, moment: str) -> None:
    def script() -> None:
        node.hear()
        if moment != "handshake":
            node.give_base(1, np.zeros_like(node.shared.base_N))
        if moment == "update":
            node.hear()
        node.die()

    with pytest.raises(NetworkError, match="the node process has ended"), Script(script):
        optimizer = node.wrap(model, adamw(model), DILOCO)
        train(model, optimizer, 1000)


def test_a_scheduler_changes_the_inner_rate(model: nn.Module, node: FakeNode) -> None:
    with Script(lambda: rounds(node, vector_of(model), 2, halve)):
        inner = adamw(model)
        optimizer = node.wrap(model, inner, DILOCO)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        for step in range(6):
            loss_of(model, step).backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    assert inner.param_groups[0]["lr"] == pytest.approx(0.05 * 0.5**6)
    assert scheduler.get_last_lr() == [inner.param_groups[0]["lr"]]


def test_a_grad_scaler_unscales_and_skips_overflowing_steps(model: nn.Module, node: FakeNode) -> None:
    alone = copy.deepcopy(model)
    updates: list[np.ndarray] = []
    with Script(lambda: updates.extend(rounds(node, vector_of(model), 1, halve))):
        optimizer = node.wrap(model, adamw(model), DILOCO)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for step in (0, 1, 1, 2):
            loss = loss_of(model, step)
            overflows = step == 1 and scaler.get_scale() == 1024.0
            scaler.scale(loss * float("inf") if overflows else loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    assert scaler.get_scale() == 512.0
    base_N = vector_of(alone)
    train(alone, adamw(alone), 3)
    np.testing.assert_allclose(updates[0], base_N - vector_of(alone), rtol=1e-4, atol=1e-6)


def test_a_state_dict_goes_there_and_back(model: nn.Module, node: FakeNode) -> None:
    with Script(lambda: rounds(node, vector_of(model), 1, halve)):
        inner = adamw(model)
        optimizer = node.wrap(model, inner, DILOCO)
        train(model, optimizer, 2)
        saved = copy.deepcopy(optimizer.state_dict())
        assert saved["state"][0]["step"] == 2
        saved["param_groups"][0]["lr"] = 0.01
        optimizer.load_state_dict(saved)
        assert optimizer.param_groups is inner.param_groups and optimizer.state is inner.state
        assert inner.param_groups[0]["lr"] == 0.01
        loss_of(model, 2).backward()
        optimizer.step()
    assert inner.state_dict()["state"][0]["step"] == 3


@pytest.mark.parametrize("training", [DILOCO, GRADIENT], ids=["diloco", "gradient"])
def test_a_closure_is_called_and_its_loss_returned(model: nn.Module, node: FakeNode, training: Training) -> None:
    updates: list[np.ndarray] = []
    with Script(lambda: updates.extend(rounds(node, vector_of(model), 1, halve))):
        optimizer = node.wrap(model, adamw(model), training)

        def closure() -> float:
            optimizer.zero_grad()
            loss = loss_of(model, 0)
            loss.backward()
            return loss.item()

        losses = [optimizer.step(closure) for _ in range(3)]
    assert all(isinstance(loss, float) for loss in losses)
    assert (losses[2] < losses[0]) == (training is DILOCO)  # gradient mode does not move between rounds
    assert np.abs(updates[0]).max() > 0


def test_zero_grad_and_parameters_that_got_no_gradient(model: nn.Module, node: FakeNode) -> None:
    updates: list[np.ndarray] = []
    with Script(lambda: updates.extend(rounds(node, vector_of(model), 1, halve))):
        optimizer = node.wrap(model, adamw(model), GRADIENT)
        for step in range(3):
            loss_of(model, step).backward()
            for parameter in model[0].parameters():
                parameter.grad = None
            optimizer.step()
            optimizer.zero_grad()
            assert all(parameter.grad is None for parameter in model.parameters())
    first = sum(parameter.numel() for parameter in model[0].parameters())
    assert (updates[0][:first] == 0).all() and (updates[0][first:] != 0).all()


def test_reports_are_what_the_update_says(model: nn.Module, node: FakeNode) -> None:
    with Script(lambda: rounds(node, vector_of(model), 1, halve)):
        optimizer = node.wrap(model, adamw(model), DILOCO)
        for step in range(3):
            loss = loss_of(model, step)
            loss.backward()
            optimizer.report(tokens=100 + step, loss=loss.item())
            optimizer.step()
    update = node.heard[-1]
    assert isinstance(update, UpdateMade)
    assert update.tokens == 303
    assert update.loss == pytest.approx(loss.item())


def test_wrong_sizes_are_noticed_before_anything_is_shared(node: FakeNode) -> None:
    other = nn.Linear(2, 2)

    def script() -> None:
        node.hear()
        node.give_base(1, np.zeros_like(node.shared.base_N))

    with pytest.raises(ValueError, match="elements"), Script(script):
        node.wrap(other, adamw(other), DILOCO)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The optimizer's time in seconds, as its only element."""
    now = [100.0]
    monkeypatch.setattr(optimizers, "process_s", lambda: now[0])
    return now


def timed_rounds(node: FakeNode, seconds: list[float]) -> None:
    node.hear()
    for number, planned_s in enumerate(seconds, 1):
        node.shared.base_N[:] = 0
        node.send(Base(number, planned_s))
        assert isinstance(node.hear(), UpdateMade)
    node.stop(node.shared.base_N, len(seconds))


@pytest.mark.parametrize("training", [DILOCO, GRADIENT], ids=["diloco", "gradient"])
@pytest.mark.parametrize(("step_s", "steps"), [(0.5, 20), (3.0, 3), (4.0, 2), (30.0, 1)])
def test_a_planned_round_ends_when_no_other_step_fits_whatever_the_charters_inner_steps(
    model: nn.Module, node: FakeNode, clock: list[float], training: Training, step_s: float, steps: int
) -> None:
    with Script(lambda: timed_rounds(node, [10.0])):
        optimizer = node.wrap(model, adamw(model), training)
        while not optimizer.is_finished:
            loss_of(model, 0).backward()
            clock[0] += step_s
            optimizer.report(tokens=40, loss=1.0)
            optimizer.step()
            optimizer.zero_grad()
    update = node.heard[-1]
    assert isinstance(update, UpdateMade)
    assert (update.steps, update.tokens) == (steps, 40 * steps)
    assert update.tokens_per_s == pytest.approx(40 / step_s)
    assert update.step_s == pytest.approx(step_s)


def test_a_loop_that_cuts_its_last_step_to_what_is_left_wastes_less_than_its_smallest_step(
    model: nn.Module, node: FakeNode, clock: list[float]
) -> None:
    """As the built-in trainer does, with sequences of 10 tokens in batches of 4: 0.1 s a token, rounds of 10 s."""
    made: list[int] = []
    with Script(lambda: timed_rounds(node, [10.0, 10.0])):
        optimizer = node.wrap(model, adamw(model), DILOCO)
        optimizer.least_tokens = 10
        while not optimizer.is_finished:
            left = optimizer.tokens_left
            rows = 4 if left is None else max(1, min(4, left // 10))
            loss_of(model, 0).backward()
            clock[0] += rows * 10 * 0.1
            made.append(rows)
            optimizer.report(tokens=rows * 10, loss=1.0)
            optimizer.step()
            optimizer.zero_grad()
    assert [message.tokens for message in node.heard if isinstance(message, UpdateMade)] == [100, 100]
    assert made == [4, 4, 2, 4, 4, 2]


def test_what_there_is_is_handed_over_when_the_node_asks(model: nn.Module, node: FakeNode) -> None:
    def script() -> None:
        node.hear()
        node.shared.base_N[:] = 0
        node.send(Base(1, 3600.0))
        node.send(Finish(1))
        node.hear()
        node.send(Finish(1))  # crosses the update on its way
        node.stop(node.shared.base_N, 1)

    with Script(script):
        optimizer = node.wrap(model, adamw(model), DILOCO)
        while not optimizer.is_finished:
            train(model, optimizer, 1)
    update = node.heard[-1]
    assert isinstance(update, UpdateMade) and update.steps >= 1
    assert optimizer.is_finished


def test_a_waiting_trainer_scores_a_base_and_keeps_its_own_weights(model: nn.Module, node: FakeNode) -> None:
    """The weights after being asked are those before, bit for bit, or the update of an island would be another."""
    base_N = np.full(node.shared.base_N.size, 0.1, np.float32)
    candidate_N = np.full(node.shared.base_N.size, 0.2, np.float32)
    answers: list[object] = []
    updates: list[np.ndarray] = []

    def script() -> None:
        assert isinstance(node.hear(), TrainerHello)
        node.give_base(1, base_N)
        updates.append(node.hear_update())
        for number in (1, 2, 3):
            node.shared.base_N[:] = candidate_N
            node.send(Score(number))
            answers.append(node.hear())
        node.shared.base_N[:] = base_N
        node.send(GoOn(1))
        updates.append(node.hear_update())
        node.stop(base_N, 1)

    seen: list[float] = []

    def score(model: nn.Module) -> float:
        seen.append(float(vector_of(model).mean()))
        return (0.25, float("nan"), 0.5)[len(seen) - 1]

    with Script(script):
        still = DILOCO.__class__(mode="diloco", inner_steps=1, inner_lr=1e-9)
        optimizer = node.wrap(model, torch.optim.SGD(model.parameters(), lr=0.0), still)
        optimizer.score_with = score
        train(model, optimizer, 2)
    assert answers == [Scored(1, 0.25), Scored(2, None, has_diverged=True), Scored(3, 0.5)]
    assert seen == pytest.approx([0.2] * 3)
    assert updates[0].tobytes() == updates[1].tobytes()


@pytest.mark.parametrize("training", [DILOCO, GRADIENT])
def test_steps_beside_an_update_are_one_of_their_own_and_wait_until_they_are_wanted(
    model: nn.Module, node: FakeNode, training: Training
) -> None:
    """They begin where the last update left the weights, and its memory stays as it is until then."""
    base_N = np.full(node.shared.base_N.size, 0.1, np.float32)
    updates: list[np.ndarray] = []
    scored: list[object] = []
    made = threading.Event()

    def script() -> None:
        assert isinstance(node.hear(), TrainerHello)
        node.give_base(1, base_N)
        updates.append(node.hear_update())
        node.send(TrainBeside(1))
        made.wait(30)
        node.shared.base_N[:] = 7.0
        node.send(Score(1))
        scored.append(node.hear())
        updates.append(node.shared.update_N.copy())
        node.shared.base_N[:] = base_N
        node.send(Finish(1))
        updates.append(node.hear_update())
        node.stop(base_N, 1)

    with Script(script):
        inner = torch.optim.SGD(model.parameters(), lr=0.5)
        stepped: list[np.ndarray] = []
        inner.register_step_post_hook(lambda *_: stepped.append(vector_of(model)))
        optimizer = node.wrap(model, inner, training)
        optimizer.score_with = lambda model: 0.25
        train(model, optimizer, 3 * training.inner_steps + 1)
        made.set()
        while not optimizer.is_finished:
            train(model, optimizer, 1)
    assert scored == [Scored(1, 0.25)]
    assert updates[0].tobytes() == updates[1].tobytes()
    heard = [message for message in node.heard if isinstance(message, UpdateMade)]
    assert heard[0].steps == training.inner_steps and heard[1].steps > 2 * training.inner_steps
    assert heard[0].tokens == heard[0].steps and heard[1].tokens == heard[1].steps
    assert updates[2].any()
    if training.mode == "diloco":
        offered_N = stepped[training.inner_steps - 1]
        np.testing.assert_array_equal(updates[0], base_N - offered_N)
        np.testing.assert_array_equal(updates[2], offered_N - stepped[-1])


@pytest.mark.parametrize("order", [Finish(1), Abandon(1)])
def test_who_sits_out_beside_an_update_waits_for_a_word(
    model: nn.Module, node: FakeNode, order: Finish | Abandon
) -> None:
    base_N = np.full(node.shared.base_N.size, 0.1, np.float32)

    def script() -> None:
        assert isinstance(node.hear(), TrainerHello)
        node.give_base(1, base_N)
        node.hear_update()
        node.send(TrainBeside(1))
        node.send(Score(1))
        assert node.hear() == Scored(1, None)
        node.send(order)
        assert isinstance(node.hear(), UpdateMade if isinstance(order, Finish) else Yielded)
        node.stop(base_N, 1)

    with Script(script):
        optimizer = node.wrap(model, adamw(model), DILOCO)
        while not optimizer.is_finished:
            optimizer.sit_out()


def test_scoring_needs_no_room_for_the_model_twice(
    model: nn.Module, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    base_N = np.full(node.shared.base_N.size, 0.1, np.float32)
    to, kept = torch.Tensor.to, []

    def watched(tensor: torch.Tensor, *args: object, **options: object) -> torch.Tensor:
        if options.get("copy"):
            kept.append(args)
        return to(tensor, *args, **options)

    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room beside the model")

    def score(model: nn.Module) -> float:
        return 0.5

    def script() -> None:
        node.hear()
        node.give_base(1, base_N)
        node.hear_update()
        monkeypatch.setattr(torch.Tensor, "to", watched)
        monkeypatch.setattr(torch.Tensor, "clone", full)
        node.send(Score(7))
        assert node.hear() == Scored(7, 0.5)
        monkeypatch.undo()
        node.stop(base_N, 1)

    with Script(script):
        optimizer = node.wrap(model, torch.optim.SGD(model.parameters(), lr=0.0), DILOCO)
        optimizer.score_with = score
        train(model, optimizer, 3)
    assert kept and set(kept) == {("cpu",)}


def test_a_trainer_without_held_out_data_says_so(model: nn.Module, node: FakeNode) -> None:
    base_N = np.zeros(node.shared.base_N.size, np.float32)

    def script() -> None:
        node.hear()
        node.give_base(1, base_N)
        node.hear_update()
        node.send(Score(7))
        assert node.hear() == Scored(7, None)
        node.stop(base_N, 1)

    with Script(script):
        train(model, node.wrap(model, adamw(model), DILOCO), 3)


def test_who_sits_out_makes_no_step_and_follows(model: nn.Module, node: FakeNode) -> None:
    base_N = np.full(node.shared.base_N.size, 0.1, np.float32)
    with Script(lambda: rounds(node, base_N, 2, lambda base_N, update_N, _: base_N + 1)):
        optimizer = node.wrap(model, adamw(model), DILOCO)
        optimizer.receipt = lambda steps: Receipt(SPENT, steps)
        train(model, optimizer, 3)
        assert optimizer.round == 2
        optimizer.sit_out()
        assert optimizer.is_finished
    _, first, second = node.heard
    assert isinstance(first, UpdateMade) and (first.steps, first.receipt) == (3, Receipt(SPENT, 3))
    assert isinstance(second, UpdateMade) and (second.steps, second.receipt) == (0, Receipt(SPENT, 0))
    np.testing.assert_array_equal(vector_of(model), base_N + 2)


@pytest.mark.parametrize("late", [Finish(1), Abandon(1)])
def test_who_sits_out_still_listens(model: nn.Module, node: FakeNode, late: Finish | Abandon) -> None:
    base_N = np.full(node.shared.base_N.size, 0.1, np.float32)

    def script() -> None:
        assert isinstance(node.hear(), TrainerHello)
        node.shared.base_N[:] = base_N
        node.send(Base(1, 3600.0))
        node.send(late)
        assert isinstance(node.hear(), UpdateMade if isinstance(late, Finish) else Yielded)
        node.stop(base_N, 1)

    with Script(script):
        optimizer = node.wrap(model, adamw(model), DILOCO)
        optimizer.sit_out()  # not for the hour that was planned
        assert optimizer.is_finished
