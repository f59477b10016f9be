"""Per-sample gradients by Opacus, clipped one by one, and their noisy sum: the mechanism of DP-SGD, and nothing else.

    gradient = (sum over the batch of  g_i x min(1, C / |g_i|)  +  noise of deviation z C) / expected batch

Opacus's hooks give the gradient of every sample (and functorch, for modules that have no rule of their own); clipping
and noise are done here, since its optimiser draws noise from torch's generator. The expected batch is a constant: the
size that was drawn is private. Per-sample gradients take B times the model's memory, so a batch goes through in pieces.

Shapes: B sequences of L bytes each plus the one to predict; gradients g_Bn per parameter of n elements.
"""

import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor, nn

from peers.device import is_out_of_memory
from peers.privacy.keystream import Keystream
from peers.privacy.records import PADDING
from swarm.errors import DeviceError, ModelError

PER_SAMPLE_BYTES = 256 * 1024 * 1024
"""What per-sample gradients take at once, or those of one sample if they take more."""
_ROUNDING = 1 - 2.0**-16
"""Clipped norms stay this far below the bound, so that float32's rounding cannot lift one above it."""
_CHECKED_SAMPLES, _CHECKED_BYTES = 3, 9
_TOLERANCE = 1e-3


class PerSample:
    """A model whose backward pass also leaves the gradient of every sample."""

    def __init__(self, model: nn.Module) -> None:
        """Raises ModelError, with the module's name, for a model that Opacus cannot handle."""
        from opacus import GradSampleModule

        _refuse_known(model)
        self._model = model
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.elements = sum(parameter.numel() for parameter in self._parameters)
        self._hooked = GradSampleModule(model, batch_first=True, loss_reduction="sum")
        _check_against_autograd(self, model)

    def clipped_sum(self, batch_BL: NDArray[np.int64], max_norm: float) -> NDArray[np.float32]:
        """The sum of the samples' gradients, each clipped to an L2 norm of `max_norm`; float32 [N].

        A sample whose gradient is not finite counts as zero. Raises DeviceError when one sample does not fit.
        """
        total_N = torch.zeros(self.elements, device=self._parameters[0].device)
        for piece_bL in np.array_split(batch_BL, -(-len(batch_BL) // self.at_once)) if len(batch_BL) else ():
            total_N += self._clipped(piece_bL, max_norm)
        return total_N.cpu().numpy()

    @property
    def at_once(self) -> int:
        """Samples in one pass."""
        return max(1, PER_SAMPLE_BYTES // (4 * self.elements))

    def set_gradient(self, gradient_N: NDArray[np.float32]) -> None:
        """Makes this the gradient that an optimizer sees."""
        at = 0
        for parameter in self._parameters:
            piece = torch.from_numpy(gradient_N[at : at + parameter.numel()])
            parameter.grad = piece.view_as(parameter).to(parameter.device)
            at += parameter.numel()

    def see_samples(self, wanted: bool) -> None:
        """Whether backward passes leave the gradient of every sample."""
        self._hooked.hooks_enabled = wanted

    def release(self) -> None:
        """Gives the model back as it was."""
        self._hooked.to_standard_module()

    def of_each(self, batch_BL: NDArray[np.int64]) -> list[Tensor]:
        """The gradient of every sample's mean loss: [B, ...] for each parameter in turn."""
        self._hooked.zero_grad(set_to_none=True)
        tokens_BL = torch.from_numpy(batch_BL).to(self._parameters[0].device)
        try:
            backward(self._model, tokens_BL)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                f"per-sample gradients of {len(batch_BL)} sequences do not fit into this machine's memory: privacy "
                '= "dp" needs a smaller model or a larger machine'
            ) from None
        return [self._grad_sample(parameter, len(batch_BL)) for parameter in self._parameters]

    def _grad_sample(self, parameter: nn.Parameter, samples: int) -> Tensor:
        found: object = getattr(parameter, "grad_sample", None)
        if found is None:
            return torch.zeros((samples, *parameter.shape), device=parameter.device)  # the loss does not depend on it
        if isinstance(found, Tensor) and found.shape == (samples, *parameter.shape):
            return found
        raise _refusal(*_owner(self._model, parameter), "its per-sample gradients have another shape")

    def _clipped(self, piece_bL: NDArray[np.int64], max_norm: float) -> Tensor:
        """The piece's clipped sum, flat [N]."""
        gradients = [gradient.flatten(1) for gradient in self.of_each(piece_bL)]
        norm_b = torch.stack([gradient_bn.double().norm(dim=1) for gradient_bn in gradients]).norm(dim=0)
        is_finite_b = norm_b.isfinite()
        factor_b = (max_norm * _ROUNDING / norm_b.clamp(min=1e-30)).clamp(max=1.0)
        factor_b = torch.where(is_finite_b, factor_b, 0.0).float()
        if not bool(is_finite_b.all()):
            gradients = [torch.where(is_finite_b[:, None], gradient_bn, 0.0) for gradient_bn in gradients]
        self._hooked.zero_grad(set_to_none=True)  # nobody needs the samples' gradients any more
        return torch.cat([factor_b @ gradient_bn for gradient_bn in gradients])


def noisy_mean(
    per_sample: PerSample,
    batch_BL: NDArray[np.int64],
    *,
    max_norm: float,
    noise_multiplier: float,
    expected_batch: int,
    stream: Keystream,
) -> NDArray[np.float32]:
    """One step's private gradient, float32 [N]: noise for a batch of any size, also for an empty one."""
    sum_N = per_sample.clipped_sum(batch_BL, max_norm)
    return stream.add_noise(sum_N, noise_multiplier * max_norm) / np.float32(expected_batch)


def backward(model: nn.Module, tokens_BL: Tensor) -> None:
    """The backward pass of `sum_of_losses`."""
    with warnings.catch_warnings():
        # Of torch, about backward hooks on inputs that need no gradient: true of every embedding.
        warnings.simplefilter("ignore", UserWarning)
        sum_of_losses(model, tokens_BL).backward()


def sum_of_losses(model: Any, tokens_BL: Tensor) -> Tensor:
    """The sum over sequences of each one's mean cross-entropy, in nats per byte; tokens [B, L+1], padding allowed."""
    inputs_BL, targets_BL = tokens_BL[:, :-1].clamp(min=0), tokens_BL[:, 1:]
    logits_BLV = model(input_ids=inputs_BL).logits
    loss_BL = functional.cross_entropy(
        logits_BLV.flatten(0, 1).float(), targets_BL.flatten(), ignore_index=PADDING, reduction="none"
    ).view_as(targets_BL)
    return (loss_BL.sum(dim=1) / (targets_BL != PADDING).sum(dim=1).clamp(min=1)).sum()


def _refuse_known(model: nn.Module) -> None:
    """What Opacus itself says it cannot do. Raises ModelError."""
    from opacus.validators import ModuleValidator

    for name, module in _trained_modules(model):
        validate = ModuleValidator.VALIDATORS.get(type(module))
        complaints = [] if validate is None else list(validate(module))
        if any(True for _ in module.buffers()):
            complaints.append("it has buffers, which no noise protects")
        if complaints:
            raise _refusal(name, module, str(complaints[0]))


def _check_against_autograd(per_sample: PerSample, model: nn.Module) -> None:
    """Compares per-sample gradients with those of one sample at a time, which also finds samples that mix.

    The text is made up. Raises ModelError with the name of the first module whose gradients differ.
    """
    random = np.random.default_rng(0)
    made_up_BL = random.integers(256, size=(_CHECKED_SAMPLES, _CHECKED_BYTES))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with _without_dropout(model):
        try:
            together = per_sample.of_each(made_up_BL)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
            raise _refusal(*_suspect(model), str(error).splitlines()[0] if str(error) else "") from None
        try:
            per_sample.see_samples(False)
            for sample, tokens_L in enumerate(made_up_BL):
                model.zero_grad(set_to_none=True)
                backward(model, torch.from_numpy(tokens_L[None]).to(trained[0].device))
                for gradient_B, parameter in zip(together, trained, strict=True):
                    alone = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                    if not bool((gradient_B[sample] - alone).norm() <= _TOLERANCE * (alone.norm() + 1e-6)):
                        raise _refusal(*_owner(model, parameter), "its per-sample gradients are wrong")
        finally:
            per_sample.see_samples(True)
            model.zero_grad(set_to_none=True)


def _owner(model: nn.Module, parameter: nn.Parameter) -> tuple[str, nn.Module]:
    """The first module that a parameter belongs to."""
    return next(pair for pair in _trained_modules(model) if any(each is parameter for each in pair[1].parameters()))


def _suspect(model: nn.Module) -> tuple[str, nn.Module]:
    """The module that an error of Opacus is most likely about: the first that it has no rule for."""
    from opacus import GradSampleModule

    trained = list(_trained_modules(model))
    unruled = [pair for pair in trained if type(pair[1]) not in GradSampleModule.GRAD_SAMPLERS]
    return (unruled or trained)[0]


def _trained_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules with trained parameters of their own."""
    for name, module in model.named_modules():
        if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
            yield name, module


@contextmanager
def _without_dropout(model: nn.Module) -> Generator[None]:
    """Only modules with parameters of their own are in training mode: Opacus looks at those, dropout at the others."""
    model.eval()
    for _, module in _trained_modules(model):
        module.training = True
    try:
        yield
    finally:
        model.train()


def _refusal(name: str, module: nn.Module, cause: str) -> ModelError:
    return ModelError(
        f'privacy = "dp" cannot train this model: Opacus cannot handle its module {name or "(the model itself)"} '
        f"({type(module).__name__}): {cause}"
    )
