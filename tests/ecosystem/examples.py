"""examples/hf_trainer.py and examples/accelerate_loop.py as the trainers of two real peers of one run."""

import json
import random
from pathlib import Path

from safetensors.torch import load_file

from swarm import events
from tests.ecosystem.pair import NAMES, Pair
from tests.integration.papers import MODEL

EXAMPLES = Path(__file__).parents[2] / "examples"
ROUNDS = 2
WINDOW, BATCH, STEPS = 32, 2, 3


def test_a_hugging_face_trainer_and_an_accelerate_loop_train_together(tmp_path: Path) -> None:
    config = tmp_path / "model.json"
    config.write_text(json.dumps(MODEL))
    pair = Pair(tmp_path, "--config", config, "--inner-steps", STEPS)
    scripts = dict(zip(NAMES, ("hf_trainer.py", "accelerate_loop.py"), strict=True))
    words = {}
    for name, script in scripts.items():
        letters = random.Random(name)
        (tmp_path / name / "text.txt").write_text("".join(letters.choices("abc ", k=2000)))
        pair.label(name)
        command = f"python {EXAMPLES / script} --config {config} --text {tmp_path / name}"
        words[name] = ["--trainer", f"{command} --window {WINDOW} --batch {BATCH}"]
    peers = pair.run(ROUNDS, words)

    bases = {}
    for name, peer in peers.items():
        assert peer.round == ROUNDS
        committed = peer.happened(events.RoundCommitted)
        assert [len(event.contributors) for event in committed] == [2] * ROUNDS
        made = peer.happened(events.UpdateReady)
        assert {event.tokens for event in made} == {STEPS * BATCH * WINDOW}
        assert all(event.loss for event in made)
        assert f"Shared Base of round {ROUNDS}" in (peer.state / "trainer" / "output.log").read_text()
        bases[name] = load_file(peer.state / "shared-base" / "model.safetensors")
    first, second = bases.values()
    assert first.keys() == second.keys() and all(first[key].equal(second[key]) for key in first)
