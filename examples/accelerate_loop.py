"""A Hugging Face Accelerate loop that trains together with others. Three lines differ, marked (1) to (3).

Start it as the trainer of a peer, once on each machine. It reads the peer's data folder and has no network:

    tapestry peer --join MULTIADDR --data text/ --identity peer.key --passport peer.pass --state state-1 \\
        --trainer "python examples/accelerate_loop.py --config model.json --text text/"

`model.json` is the config the charter was made with (`tapestry charter new --config model.json`); tokens are bytes.
"""

import argparse
import os
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoConfig, AutoModelForCausalLM

import swarm


def main() -> None:
    options = read_options()
    accelerator = Accelerator()
    torch.manual_seed(options.seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(options.config), dtype=torch.float32)
    model = accelerator.prepare(model)  # onto its device, before anything takes hold of the parameters
    run = swarm.join()  # (1) new: takes the place that the peer has kept for this script
    rounds = run.wrap(model, torch.optim.AdamW(model.parameters(), lr=options.lr))  # (2) new: run.wrap(model, ...)
    optimizer, loader = accelerator.prepare(rounds, windows(options))

    while not rounds.is_finished:  # (3) new: the peer ends training, after --max-rounds or with Ctrl+C
        for (tokens_BL,) in loader:
            loss = model(input_ids=tokens_BL, labels=tokens_BL).loss
            accelerator.backward(loss)
            rounds.report(tokens=tokens_BL.numel(), loss=loss.item())
            optimizer.step()
            optimizer.zero_grad()
            if rounds.is_finished:
                break

    run.close()
    scratch = Path(os.environ.get("TAPESTRY_SCRATCH", "."))  # the only folder that a confined trainer can write
    accelerator.unwrap_model(model).save_pretrained(scratch / "shared-base")  # where the peer takes the result from
    print(f"Shared Base of round {rounds.final_round}, last loss {loss.item():.4f}")


def windows(options: argparse.Namespace) -> DataLoader:
    """Shuffled batches of the bytes of all .txt files: int64 [B, L]."""
    text = b"\n".join(path.read_bytes() for path in sorted(options.text.rglob("*.txt")))
    whole = len(text) // options.window * options.window
    tokens_WL = torch.frombuffer(bytearray(text[:whole]), dtype=torch.uint8).view(-1, options.window).long()
    return DataLoader(TensorDataset(tokens_WL), batch_size=options.batch, shuffle=True, drop_last=True)


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
