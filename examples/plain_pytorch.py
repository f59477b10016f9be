"""A plain PyTorch loop that trains together with others. Three lines differ from training alone, marked (1) to (3).

The data are made up here: every participant draws its own points of one hidden linear map, seeded by --seed, and fits a
small network to them. Make a charter for this model once, then start the loop on as many machines as you like:

    python examples/plain_pytorch.py --save-model model.safetensors
    tapestry charter new run.toml --adopt model.safetensors --open --name regression --region eu=DE \\
        --founder KEYID --genesis PEERID --min-contributors 1
    tapestry charter sign run.toml --identity founder.key
    tapestry bootstrap --charter run.toml
    python examples/plain_pytorch.py --charter run.toml --bootstrap MULTIADDR --identity peer.key --state state-1
"""

import argparse

import torch
from safetensors.torch import save_file
from torch import nn

import swarm

INPUTS, HIDDEN, OUTPUTS, BATCH = 8, 32, 2, 64


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, OUTPUTS))


def main() -> None:
    options = read_options()
    model = make_model()
    if options.save_model:
        save_file(dict(model.named_parameters()), options.save_model)
        return

    run = swarm.join(  # (1) new: starts the node process; it fetches and verifies the charter and the Shared Base
        charter=options.charter,
        bootstrap=options.bootstrap,
        policy=options.policy,
        identity=options.identity,
        state=options.state,
        listen=options.listen,
        max_rounds=options.rounds,
    )
    optimizer = run.wrap(model, torch.optim.AdamW(model.parameters(), lr=1e-2))  # (2) new: run.wrap(model, ...)

    hidden_map = torch.randn(INPUTS, OUTPUTS, generator=torch.Generator().manual_seed(1))
    points = torch.Generator().manual_seed(options.seed)
    while not optimizer.is_finished:  # (3) new: ends after --rounds; `for step in range(...)` works as well
        inputs_BI = torch.randn(BATCH, INPUTS, generator=points)
        loss = nn.functional.mse_loss(model(inputs_BI), inputs_BI @ hidden_map)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    run.close()
    save_file(dict(model.named_parameters()), options.out)
    print(f"Shared Base of round {optimizer.final_round} in {options.out}, last loss {loss.item():.4f}")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a small network together with others.")
    parser.add_argument("--save-model", metavar="FILE", help="write the untrained model for `charter new --adopt`")
    parser.add_argument("--charter", help="charter file; fetched from --bootstrap if left out")
    parser.add_argument("--bootstrap", action="append", default=[], metavar="MULTIADDR", help="whom to join through")
    parser.add_argument("--policy", help="policy file that labels the data; open data if left out")
    parser.add_argument("--identity", help="key file; made in --state if left out")
    parser.add_argument("--state", default="state", help="state folder, one per participant")
    parser.add_argument("--listen", action="append", metavar="MULTIADDR", help="where to listen; any free port")
    parser.add_argument("--rounds", type=int, default=20, help="stop when the Shared Base has reached this round")
    parser.add_argument("--seed", type=int, default=0, help="seed of this participant's data")
    parser.add_argument("--out", default="model.safetensors", help="where to write the Shared Base")
    options = parser.parse_args()
    options.listen = options.listen or ["/ip4/0.0.0.0/tcp/0"]
    return options


if __name__ == "__main__":
    main()
