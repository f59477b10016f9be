"""A `transformers.Trainer` that trains together with others. One line differs from training alone, marked (1).

Start it as the trainer of a peer, once on each machine. It reads the peer's data folder and has no network:

    tapestry peer --join MULTIADDR --data text/ --identity peer.key --passport peer.pass --state state-1 \\
        --trainer "python examples/hf_trainer.py --config model.json --text text/"

`model.json` is the config the charter was made with (`tapestry charter new --config model.json`). Tokens are bytes, as
the built-in trainer's are, so both kinds of trainers can take part in one run.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

from peers.hugging_face import TapestryCallback


class ByteWindows(Dataset):
    """Consecutive windows of the bytes of all .txt files in a folder; labels are the inputs, shifted by the model."""

    def __init__(self, folder: Path, window: int) -> None:
        text = b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*.txt")))
        whole = len(text) // window * window
        self._windows_WL = np.frombuffer(text[:whole], np.uint8).reshape(-1, window)

    def __len__(self) -> int:
        return len(self._windows_WL)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        tokens_L = torch.tensor(self._windows_WL[number].astype(np.int64))
        return {"input_ids": tokens_L, "labels": tokens_L}


def main() -> None:
    options = read_options()
    config = AutoConfig.from_pretrained(options.config)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    scratch = Path(os.environ.get("TAPESTRY_SCRATCH", "."))  # the only folder that a confined trainer can write
    arguments = TrainingArguments(
        output_dir=str(scratch / "hf"),
        per_device_train_batch_size=options.batch,
        learning_rate=options.lr,
        lr_scheduler_type="constant",
        max_steps=1_000_000,  # the peer ends training, after --max-rounds or with Ctrl+C
        logging_steps=1,
        save_strategy="no",
        report_to="none",  # a trainer without network has nobody to report to: see `tapestry peer --sink`
        disable_tqdm=True,
        seed=options.seed,
    )
    rounds = TapestryCallback()
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=ByteWindows(options.text, options.window),
        callbacks=[rounds],  # (1) new
    )
    trainer.train()
    model.save_pretrained(scratch / "shared-base")  # where the peer takes the result from
    print(f"Shared Base of round {rounds.final_round}, trained on {trainer.state.num_input_tokens_seen:,} tokens")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a small causal LM together with others.")
    parser.add_argument("--config", required=True, help="the charter's transformers config (JSON)")
    parser.add_argument("--text", required=True, type=Path, help="folder of .txt files: the peer's data folder")
    parser.add_argument("--window", type=int, default=256, help="bytes per sequence")
    parser.add_argument("--batch", type=int, default=4, help="sequences per inner step")
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate of the inner optimizer")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of this participant's data")
    return parser.parse_args()


if __name__ == "__main__":
    main()
