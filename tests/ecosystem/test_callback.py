"""The Trainer callback, and an Accelerate loop, against a node that a thread plays."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

from peers.hugging_face import TapestryCallback
from swarm.charter.manifest import Training
from swarm.errors import UsageError
from swarm.node.messages import UpdateMade
from tests.unit.node.fake_node import FakeNode, Script, rounds, vector_of

STEPS, BATCH, WINDOW, ROUNDS = 3, 2, 8, 3
EXAMPLE = {"input_ids": torch.arange(WINDOW), "labels": torch.arange(WINDOW)}


@dataclass
class FakeCharter:
    training: Training


@dataclass
class FakeRun:
    """A script's place in a run, as `swarm.join` gives it."""

    node: FakeNode
    training: Training
    closed: int = field(default=0)

    @property
    def charter(self) -> FakeCharter:
        return FakeCharter(self.training)

    def wrap(self, model, inner):
        return self.node.wrap(model, inner, self.training)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def model():
    config = AutoConfig.for_model(
        "llama", vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


@pytest.fixture
def run(model) -> Iterator[FakeRun]:
    node = FakeNode(vector_of(model).size)
    yield FakeRun(node, Training(inner_steps=STEPS))
    node.close()


def arguments(folder: Path, **more: object) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=1000,
        per_device_train_batch_size=BATCH,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        **more,
    )


@pytest.mark.filterwarnings("default")  # what Trainer warns of is not ours
def test_a_callback_takes_a_trainer_through_rounds(model, run: FakeRun, tmp_path: Path) -> None:
    base_N, updates = vector_of(model), []
    callback = TapestryCallback(run)
    trainer = Trainer(model=model, args=arguments(tmp_path), train_dataset=[EXAMPLE] * 64, callbacks=[callback])
    with Script(lambda: updates.extend(rounds(run.node, base_N, ROUNDS, lambda base, update, _: base - update / 2))):
        trainer.train()
    assert trainer.state.global_step == ROUNDS * STEPS, "it stops when the peer is done"
    assert len(updates) == ROUNDS and all(np.abs(update).max() > 0 for update in updates)
    expected = base_N.copy()
    for update in updates:
        expected -= update / 2
    np.testing.assert_allclose(vector_of(model), expected, atol=1e-6)
    assert callback.final_round == ROUNDS and run.closed == 1
    made = [message for message in run.node.heard if isinstance(message, UpdateMade)]
    assert {message.tokens for message in made} == {STEPS * BATCH * WINDOW}
    assert all(message.loss is not None for message in made[1:]), "the loss is the Trainer's last"


@pytest.mark.filterwarnings("default")
def test_a_callback_refuses_what_it_cannot_do(model, run: FakeRun, tmp_path: Path) -> None:
    run.training = Training(mode="gradient")
    callback = TapestryCallback(run)
    trainer = Trainer(model=model, args=arguments(tmp_path), train_dataset=[EXAMPLE] * 64, callbacks=[callback])
    with pytest.raises(UsageError, match="averages gradients"):
        trainer.train()


@pytest.mark.filterwarnings("default")
def test_an_accelerate_loop_takes_part_in_rounds(model, run: FakeRun) -> None:
    base_N, updates = vector_of(model), []
    accelerator = Accelerator(cpu=True)
    prepared = accelerator.prepare(model)
    with Script(lambda: updates.extend(rounds(run.node, base_N, ROUNDS, lambda base, update, _: base - update))):
        swarm_optimizer = run.wrap(prepared, torch.optim.AdamW(prepared.parameters(), lr=1e-3))
        optimizer, loader = accelerator.prepare(swarm_optimizer, DataLoader([EXAMPLE] * 100, batch_size=BATCH))
        steps = 0
        for batch in loader:
            loss = prepared(**batch).loss
            accelerator.backward(loss)
            swarm_optimizer.report(tokens=batch["input_ids"].numel(), loss=loss.item())
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
            if swarm_optimizer.is_finished:
                break
    assert steps == ROUNDS * STEPS and len(updates) == ROUNDS
    assert all(np.abs(update).max() > 0 for update in updates)
    assert swarm_optimizer.final_round == ROUNDS
