"""One stage, trained: `transformers`' own Trainer for continued pre-training, `trl`'s for instructions and preferences.

Runs inside the confined worker. Goes on from the newest whole checkpoint below the job's folder. Weights in checkpoints
are safetensors; the optimiser's state is a pickle by nature: it stays in the build's private work folder, is read back
with `weights_only`, and is gone when the stage is accepted.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from peers.build import checkpoints
from peers.build.examples import examples, planted_tokens
from peers.build.jobs import CHECKPOINTS_FOLDER, Doing, FromWorker, Step, TrainStage
from peers.build.record import Settings
from peers.build.tokens import encoder
from peers.build.windows import Windows, places
from peers.ecosystem.reading import Reading
from swarm.errors import DataError

_LOGGED_STEPS = 50
"""About so many times in a stage its loss is told."""
_BYTES_PER_TOKEN = 8
"""Of text drawn for each token that is wanted, where tokens are not bytes: more than any language takes on average."""


@dataclass(frozen=True)
class Trained:
    model: Any
    """A PeftModel for `lora`."""
    step: int
    final_loss: float | None
    is_finished: bool
    """False if it was asked to stop; there is a checkpoint of `step` then."""


class _Told(TrainerCallback):
    """Tells the parent of every logged step, ends cleanly when it asks for that, and vouches for checkpoints."""

    def __init__(self, tell: Callable[[FromWorker], None], is_asked_to_stop: Callable[[], bool]) -> None:
        self._tell = tell
        self._is_asked_to_stop = is_asked_to_stop
        self.is_stopped = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step < state.max_steps and self._is_asked_to_stop():
            self.is_stopped = control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs is not None and "loss" in logs:
            self._tell(Step(step=state.global_step, steps=state.max_steps, loss=_finite(float(logs["loss"]))))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        checkpoints.vouch(Path(args.output_dir, f"checkpoint-{state.global_step}"))


def train(
    job: TrainStage,
    files: Sequence[Path],
    model: Any,
    tokenizer: Any,
    reading: Reading,
    tell: Callable[[FromWorker], None],
    is_asked_to_stop: Callable[[], bool],
) -> Trained:
    """Trains `model`, the stage's parent, to the last step or until asked to stop.

    Args:
        files: those of the job; for `cpt` as plain text.

    Raises:
        DataError: the data is not what the stage needs.
    """
    folder = Path(job.out, CHECKPOINTS_FOLDER)
    found = checkpoints.newest_whole(folder)
    checkpoints.begin(folder, found)
    torch.manual_seed(job.settings.seed)
    if job.stage == "cpt":
        trainer, left_out = _pre_training(job, files, model, reading), 0
    else:
        trainer, left_out = _on_examples(job, files, model, tokenizer)
    told = _Told(tell, is_asked_to_stop)
    trainer.add_callback(told)
    tell(Doing(what="training", resumed_step=found.step, left_out=left_out, is_damaged=found.is_damaged))
    trainer.train(resume_from_checkpoint=None if found.checkpoint is None else str(found.checkpoint))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return Trained(
        model=trainer.model,
        step=trainer.state.global_step,
        final_loss=_finite(float(losses[-1])) if losses else None,
        is_finished=not told.is_stopped,
    )


def _require_room(settings: Settings, needed: int) -> None:
    """Raises DataError where no sequence holds a whole canary: none could be learnt, and its rank would say nothing."""
    if needed > settings.sequence_length:
        raise DataError(
            f"sequence_length is {settings.sequence_length}, and a planted canary takes {needed} tokens here: give at "
            f"least {needed}, or nobody could tell what the stage memorises"
        )


def _pre_training(job: TrainStage, files: Sequence[Path], model: Any, reading: Reading) -> Trainer:
    settings = job.settings
    encode, count = encoder(reading), settings.steps * settings.batch_size
    _require_room(settings, max((len(encode(canary.text.encode())) for canary in job.planted), default=0))
    data = Windows(
        files,
        encode,
        1 if reading.words is None else _BYTES_PER_TOKEN,
        count=count,
        length=settings.sequence_length,
        seed=settings.seed,
        planted=places(job.planted, job.insertions, count, settings.seed),
    )
    if job.method == "lora":
        from peft import get_peft_model

        model = get_peft_model(model, _lora(settings))
    arguments = TrainingArguments(**_arguments(job))
    return Trainer(model=model, args=arguments, train_dataset=data)  # pyright: ignore[reportArgumentType]


def _on_examples(job: TrainStage, files: Sequence[Path], model: Any, tokenizer: Any) -> tuple[Trainer, int]:
    """The trainer, and how many examples have no room for an answer, which it leaves out."""
    from datasets import Dataset

    settings = job.settings
    limit = settings.steps * settings.batch_size
    found = examples(job.stage, files, job.planted, job.insertions, seed=settings.seed, limit=limit)
    is_chat = "messages" in found[0]
    if is_chat and not tokenizer.chat_template:
        raise DataError("this run's tokenizer has no chat template: give prompts and completions instead of messages")
    _require_room(settings, planted_tokens(job.stage, job.planted, is_chat, tokenizer))
    make = _instructions if job.stage == "sft" else _preferences
    trainer = make(job, model, tokenizer, Dataset.from_list(found))
    left = len(trainer.train_dataset)  # pyright: ignore[reportArgumentType]
    if left <= len(job.planted) * job.insertions:
        raise DataError(f"no prompt leaves room for an answer in {settings.sequence_length} tokens (sequence_length)")
    return trainer, len(found) - left


def _instructions(job: TrainStage, model: Any, tokenizer: Any, data: Any) -> Trainer:
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    return SFTTrainer(
        model=model,
        args=SFTConfig(**_arguments(job), max_length=job.settings.sequence_length),
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=_lora(job.settings) if job.method == "lora" else None,
    )


def _preferences(job: TrainStage, model: Any, tokenizer: Any, data: Any) -> Trainer:
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    is_lora = job.method == "lora"
    return DPOTrainer(
        model=model,
        # The parent is what preferences are measured from; under an adapter it is the model without it.
        ref_model=None if is_lora else copy.deepcopy(model),
        args=DPOConfig(**_arguments(job), max_length=job.settings.sequence_length, beta=job.settings.beta),
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=_lora(job.settings) if is_lora else None,
    )


def _lora(settings: Settings) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _arguments(job: TrainStage) -> dict[str, Any]:
    settings = job.settings
    return {
        "output_dir": str(Path(job.out, CHECKPOINTS_FOLDER)),
        "max_steps": settings.steps,
        "per_device_train_batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "warmup_steps": settings.warmup_steps,
        "lr_scheduler_type": "linear",
        "seed": settings.seed,
        "data_seed": settings.seed,
        "save_strategy": "steps",
        "save_steps": settings.checkpoint_steps,
        "save_total_limit": 2,
        "logging_steps": max(1, settings.steps // _LOGGED_STEPS),
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": not torch.cuda.is_available(),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
