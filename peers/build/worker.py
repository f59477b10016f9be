"""The process that sees the member's data: trains a stage, or scores models. Run as `python -m peers.build.worker JOB`.

It has no network: the launcher that starts it (`swarm.isolation`) leaves it nothing but the files of its job, its
scratch folder, and a socket on which it tells its parent how far it is. It ends with its parent.
"""

import os
import select
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from peers.build.evaluate import evaluate
from peers.build.jobs import (
    ADAPTER_FOLDER,
    WEIGHTS_FOLDER,
    Doing,
    Done,
    FromWorker,
    Job,
    Rebase,
    Score,
    Stopped,
    TrainStage,
)
from swarm.errors import ModelError, TapestryError
from swarm.isolation.start import CONTROL_VARIABLE
from swarm.net.lifeline import ignore_stop_signals
from swarm.node.spawn import write_cause

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY")
"""No library is to look for what it could not reach anyway."""


def main() -> None:
    os.environ.update(dict.fromkeys(OFFLINE, "1"))
    ignore_stop_signals()  # Ctrl+C reaches the whole terminal; the parent says what is to be done
    control = socket.socket(fileno=int(os.environ[CONTROL_VARIABLE]))
    job: Job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job)

    def tell(message: FromWorker) -> None:
        control.sendall(msgspec.json.encode(message) + b"\n")

    def is_asked_to_stop() -> bool:
        return bool(select.select([control], [], [], 0)[0])

    try:
        tell(run(job, tell, is_asked_to_stop))
    except TapestryError as error:
        write_cause(error)
        sys.exit(1)
    except OSError as error:
        write_cause(TapestryError(f"{error.filename or 'the build'}: {error.strerror or error}"))
        sys.exit(1)
    os._exit(0)  # all is written; taking torch down would cost whoever waits for us seconds


def run(job: Job, tell: Callable[[FromWorker], None], is_asked_to_stop: Callable[[], bool]) -> Done | Stopped:
    """Does a job. Raises TapestryError."""
    tell(Doing(what="loading"))
    _quiet()
    match job:
        case TrainStage():
            return _train(job, tell, is_asked_to_stop)
        case Score():
            model = load(job.model)
            tell(Doing(what="scoring"))
            return Done(evaluation=evaluate(load(job.base), model, model, job.scoring))
        case Rebase():
            after = load(job.base)
            for folder in job.adapters:
                after = _with_adapter(after, folder)
            weights = Path(job.out, WEIGHTS_FOLDER)
            _save(after, _tokenizer(job.before), weights)
            after = load(str(weights))
            tell(Doing(what="scoring"))
            return Done(evaluation=evaluate(load(job.base), load(job.before), after, job.scoring))


def _train(job: TrainStage, tell: Callable[[FromWorker], None], is_asked_to_stop: Callable[[], bool]) -> Done | Stopped:
    from peers.build.training import train

    tokenizer = _tokenizer(job.parent)
    trained = train(job, load(job.parent), tokenizer, tell, is_asked_to_stop)
    if not trained.is_finished:
        return Stopped(step=trained.step)
    adapter, weights = Path(job.out, ADAPTER_FOLDER), Path(job.out, WEIGHTS_FOLDER)
    if job.method == "lora":
        _save_adapter(trained.model, adapter)
        # Anew, from what is on disk: what is scored is what will be used, without the trainer's changes to the model.
        _save(_with_adapter(load(job.parent), str(adapter)), tokenizer, weights)
    else:
        _save(trained.model, tokenizer, weights)
    final_loss = trained.final_loss
    del trained
    tell(Doing(what="scoring"))
    base = load(job.base)
    before = base if job.parent == job.base else load(job.parent)
    evaluation = evaluate(base, before, load(str(weights)), job.scoring)
    return Done(evaluation=evaluation, final_loss=final_loss)


def load(folder: str) -> Any:
    """A model in float32 from safetensors files, on the accelerator if there is one. Raises ModelError."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"transformers refuses the model in {folder}: {_first_line(error)}") from None
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return model


def _tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    """A model folder with its tokenizer; whoever generates with it stops at the end of an answer."""
    for config in (model.config, model.generation_config):
        config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _with_adapter(model: Any, folder: str) -> Any:
    """The model with an adapter's change added to its weights. Raises ModelError."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, folder).merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"the adapter in {folder} does not fit the model: {_first_line(error)}") from None


def _save_adapter(model: Any, folder: Path) -> None:
    for config in model.peft_config.values():
        config.base_model_name_or_path = ""  # a path of this machine, which means nothing elsewhere
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # an empty form; the model has a card of its own


def _quiet() -> None:
    """Warnings of libraries are for whoever writes programs with them."""
    from transformers.utils import logging

    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


if __name__ == "__main__":
    main()
