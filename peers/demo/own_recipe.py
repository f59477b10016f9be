"""The recipe of the pilot's own models: three short stages, each an adapter, so that all can be rebased. Data only.

What it does to the pilot's model of 0.6 M parameters is in docs/sovereignty.md.
"""

from collections.abc import Sequence
from typing import Any

from peers.demo.own_text import name_of

PRE_TRAINING_STEPS, INSTRUCTION_STEPS, PREFERENCE_STEPS = 60, 30, 20


def recipe(languages: Sequence[str]) -> dict[str, Any]:
    """The content of a recipe file for a member's languages."""

    def stage(name: str, data: str, steps: int, batch_size: int, learning_rate: float) -> dict[str, Any]:
        return {
            "stage": name,
            "data": [name_of(data, language) for language in languages],
            "method": "lora",
            "steps": steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
        }

    return {
        "version": 1,
        "stage": [
            stage("cpt", "private", PRE_TRAINING_STEPS, 8, 7e-4),
            stage("sft", "instructions", INSTRUCTION_STEPS, 8, 3e-4),
            stage("dpo", "preferences", PREFERENCE_STEPS, 4, 1e-4),
        ],
    }
