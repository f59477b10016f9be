"""Hugging Face's `Trainer` takes our optimizer as it takes any other."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

from swarm.charter.manifest import Training
from tests.unit.node.fake_node import FakeNode, Script, rounds, vector_of


@pytest.mark.filterwarnings("default")  # what Trainer warns of is not ours
def test_a_trainer_takes_part_in_rounds(tmp_path: Path) -> None:
    config = AutoConfig.for_model(
        "llama", vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    base_N = vector_of(model)
    node = FakeNode(base_N.size)
    updates = []
    with Script(lambda: updates.extend(rounds(node, base_N, 4, lambda base, update, _: base - update))):
        inner = torch.optim.AdamW(model.parameters(), lr=1e-3)
        optimizer = node.wrap(model, inner, Training(inner_steps=2))
        scheduler = torch.optim.lr_scheduler.LinearLR(optimizer)
        example = {"input_ids": torch.arange(8), "labels": torch.arange(8)}
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=10,
            per_device_train_batch_size=2,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        )
        Trainer(model=model, args=arguments, train_dataset=[example] * 32, optimizers=(optimizer, scheduler)).train()
    node.close()
    assert len(updates) == 4 and all(abs(update).max() > 0 for update in updates)
    assert optimizer.is_finished
