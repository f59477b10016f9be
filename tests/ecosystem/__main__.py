"""What takes minutes: `python -m tests.ecosystem`.

examples.py     a Hugging Face Trainer and an Accelerate loop as the trainers of two real peers
adoption.py     an open-weights folder, JSON lines and Parquet, from `charter new` to a Shared Base that is better
sinks.py        figures for Weights & Biases and Trackio, beside the ledger and W&B's own library
"""

import sys
from pathlib import Path

import pytest

MODULES = ("examples.py", "adoption.py", "sinks.py")

if __name__ == "__main__":
    sys.exit(pytest.main(["-v", *(str(Path(__file__).with_name(name)) for name in MODULES), *sys.argv[1:]]))
