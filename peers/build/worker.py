"""The process that sees the member's data: trains a stage, or scores models. Run as `python -m peers.build.worker JOB`.

It has no network: the launcher that starts it (`swarm.isolation`) leaves it nothing but the files of its job, its
scratch folder, and a socket on which it tells its parent how far it is. It ends with its parent.
"""

import os
import select
import socket
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from peers.build.evaluate import evaluate
from peers.build.jobs import (
    ADAPTER_FOLDER,
    WEIGHTS_FOLDER,
    DataFile,
    Doing,
    Done,
    FromWorker,
    Job,
    Rebase,
    Score,
    Stopped,
    TrainStage,
)
from peers.build.mark import DOMAIN_KEY, SOVEREIGN, mark_weights
from peers.build.tokens import reading_of
from peers.build.weights import is_whole, weights_digest
from peers.ecosystem.rows import as_text
from swarm.errors import ModelError, TapestryError
from swarm.isolation.start import CONTROL_VARIABLE
from swarm.net.lifeline import ignore_stop_signals
from swarm.node.spawn import write_cause
from swarm.state.disk import read_file, replace_file, sync_folder

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY")
"""No library is to look for what it could not reach anyway."""
_TRAINED = "trained.json"
"""Below `out`, once all that a stage has made is on disk: `_Trained`."""


class _Trained(msgspec.Struct, frozen=True, kw_only=True):
    """Of a stage that was trained and written."""

    final_loss: float | None
    digests: dict[str, str]
    """`weights_digest` of the folders that it made, below `out`."""


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
    out = Path(job.out)
    match job:
        case TrainStage():
            done = _kept(job)
            if done is None and (out / _TRAINED).exists():
                tell(Doing(what="loading", is_damaged=True))
                (out / _TRAINED).unlink()
            if done is None:
                done = _train(job, tell, is_asked_to_stop)
            if isinstance(done, Stopped):
                return done
            final_loss = done.final_loss
            before, after = job.parent, str(out / WEIGHTS_FOLDER)
        case Score():
            final_loss = None
            before = after = job.model
        case Rebase():
            final_loss = None
            before, after = job.before, str(out / WEIGHTS_FOLDER)
            model = load(job.base)
            for folder in job.adapters:
                model = _with_adapter(model, folder)
            _save(model, _tokenizer(job.base), Path(after))
    tell(Doing(what="scoring"))
    evaluation = evaluate(load, job.base, before, after, _held_out(job), job.scoring)
    return Done(evaluation=evaluation, final_loss=final_loss)


def _train(
    job: TrainStage, tell: Callable[[FromWorker], None], is_asked_to_stop: Callable[[], bool]
) -> _Trained | Stopped:
    """Trains a stage and writes what it made, unless it is asked to stop before."""
    from peers.build.training import train

    out, tokenizer, model = Path(job.out), _tokenizer(job.parent), load(job.parent)
    reading = reading_of(Path(job.parent), model.config)
    files = _as_text(job.files, out / "read") if job.stage == "cpt" else [Path(file.path) for file in job.files]
    trained = train(job, files, model, tokenizer, reading, tell, is_asked_to_stop)
    if not trained.is_finished:
        return Stopped(step=trained.step)
    if job.method == "lora":
        _save_adapter(trained.model, out / ADAPTER_FOLDER)
        # Anew, from what is on disk: what is scored is what will be used, without the trainer's changes to the model.
        model = _with_adapter(load(job.parent), str(out / ADAPTER_FOLDER))
    else:
        model = trained.model
    _save(model, tokenizer, out / WEIGHTS_FOLDER)
    for name in _made(job):
        sync_folder(out / name)
    digests = {name: weights_digest(out / name) for name in _made(job)}
    done = _Trained(final_loss=trained.final_loss, digests=digests)
    replace_file(out / _TRAINED, [msgspec.json.encode(done)])
    return done


def _kept(job: TrainStage) -> _Trained | None:
    """What the stage has made before, if it was trained to its end and all of that is whole."""
    out = Path(job.out)
    data = read_file(out / _TRAINED)
    try:
        done = None if data is None else msgspec.json.decode(data, type=_Trained)
    except msgspec.DecodeError:  # of a version of before: nothing there says what was written whole
        return None
    if done is None or not all(is_whole(out / name, done.digests.get(name, "")) for name in _made(job)):
        return None
    return done


def _made(job: TrainStage) -> tuple[str, ...]:
    """The folders that a stage makes."""
    return (ADAPTER_FOLDER, WEIGHTS_FOLDER) if job.method == "lora" else (WEIGHTS_FOLDER,)


def _held_out(job: Job) -> dict[str, list[Path]]:
    """The text to score on, by language. Raises DataError."""
    of_all = [file for files in job.scoring.held_out.values() for file in files]
    text = dict(zip(of_all, _as_text(of_all, Path(job.out, "held_out")), strict=True))
    return {language: [text[file] for file in files] for language, files in job.scoring.held_out.items()}


def _as_text(files: Sequence[DataFile], scratch: Path) -> list[Path]:
    scratch.mkdir(exist_ok=True)
    return as_text([Path(file.path) for file in files], {file.path: file.field for file in files}, scratch)


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
    """A model folder with its tokenizer, marked as a member's own.

    Whoever generates with it stops at the end of an answer.
    """
    for config in (model.config, model.generation_config):
        for name in ("eos_token_id", "pad_token_id"):
            if getattr(config, name) is None:
                setattr(config, name, getattr(tokenizer, name))
    setattr(model.config, DOMAIN_KEY, SOVEREIGN)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    mark_weights(folder)


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
    mark_weights(folder)
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
