"""Gradients in micro-batches, and running out of memory, on a device that has room for a given number of sequences."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from peers import trainer
from peers.accumulation import Accumulator, _Untouched
from peers.device import Device, Precision, cpu_precisions, is_out_of_memory, memory_for, probe
from swarm.errors import DeviceError

CPU = Device("cpu", "a small machine", 2**30, ("fp32", "bf16"))
TOKENS_BL = torch.arange(40).reshape(8, 5) % 7


class Small:
    """A loss that needs memory for every sequence, on a device with room for `room` of them."""

    def __init__(self, room: int, *, where: str = "forward", error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.room = room
        self.tried: list[int] = []
        self._where = where
        self._error = error

    def __call__(self, model: nn.Module, tokens_bL: Tensor) -> Tensor:
        self.tried.append(len(tokens_bL))
        if len(tokens_bL) > self.room and self._where == "forward":
            raise self._error("out of memory. Tried to allocate 20.00 MiB\nand more lines")
        losses_b = model(nn.functional.one_hot(tokens_bL, 7).float().flatten(1)).square().mean(1)
        if len(tokens_bL) > self.room:
            losses_b.register_hook(self._fail)
        return losses_b.mean()

    def _fail(self, gradient: Tensor) -> None:
        raise self._error("out of memory on the way back")


def model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(35, 6), nn.Tanh(), nn.Linear(6, 3))


def gradients(of: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in of.parameters() if parameter.grad is not None]


def whole() -> tuple[float, list[Tensor]]:
    one = model()
    loss = Small(8)(one, TOKENS_BL)
    loss.backward()
    return float(loss.detach()), gradients(one)


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize(("room", "tried", "micro_batch"), [(8, [8], 8), (3, [8, 4, 2, 2, 2, 2], 2), (1, None, 1)])
def test_a_micro_batch_that_does_not_fit_is_halved_and_the_gradient_is_that_of_the_whole_batch(
    where: str, room: int, tried: list[int] | None, micro_batch: int
) -> None:
    small, changes = Small(room, where=where), []
    one = model()
    accumulator = Accumulator(one, small, CPU, 8, lambda *change: changes.append(change))
    loss = accumulator.backward(TOKENS_BL)
    expected, expected_gradients = whole()
    assert loss == pytest.approx(expected, rel=1e-5)
    for found, right in zip(gradients(one), expected_gradients, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-7)
    assert accumulator.micro_batch == micro_batch
    assert tried is None or small.tried == tried
    assert [size for size, _ in changes] == {8: [], 2: [4, 2], 1: [4, 2, 1]}[micro_batch]
    assert all("out of memory with" in reason and "\n" not in reason for _, reason in changes)
    small.tried.clear()
    accumulator.backward(TOKENS_BL)
    assert set(small.tried) == {micro_batch}  # what was learnt is kept


def test_gradients_of_the_batch_before_are_gone() -> None:
    one = model()
    accumulator = Accumulator(one, Small(8), CPU, 3, lambda *_: None)
    accumulator.backward(TOKENS_BL.flip(1))
    accumulator.backward(TOKENS_BL)
    for found, right in zip(gradients(one), whole()[1], strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-7)


def test_a_batch_that_does_not_divide_weighs_every_sequence_alike() -> None:
    one = model()
    assert Accumulator(one, Small(8), CPU, 3, lambda *_: None).backward(TOKENS_BL) == pytest.approx(whole()[0])


def test_not_even_one_sequence_is_a_sentence() -> None:
    with pytest.raises(DeviceError, match="one sequence of 4 bytes does not fit into the memory of a small machine"):
        Accumulator(model(), Small(0), CPU, 8, lambda *_: None).backward(TOKENS_BL)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="out of memory on"):
        Accumulator(model(), Small(1, where="backward", error=RuntimeError), CPU, 8, lambda *_: None).backward(
            TOKENS_BL
        )


def test_what_counts_as_out_of_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)  # no machine has a PiB
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_libraries_that_ask_the_driver_themselves_say_it_in_plain_errors(words: str) -> None:
    assert is_out_of_memory(RuntimeError(words))
    sentence = "the model does not fit into the memory of a small machine"
    with pytest.raises(DeviceError, match=sentence) as caught, memory_for("the model", CPU):
        raise RuntimeError(words)
    assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match="shapes"), memory_for("the model", CPU):
        raise RuntimeError("shapes do not match")


class Tight(torch.optim.AdamW):
    """AdamW whose step runs out of memory while as many sequences were computed at once, before or after it began."""

    def __init__(self, parameters: Iterator[nn.Parameter], small: Small, *, room: int, begins: bool = False) -> None:
        super().__init__(parameters, lr=0.01)
        self._small = small
        self._room = room
        self._begins = begins

    def step(self, closure: None = None) -> None:
        if max(self._small.tried) <= self._room:
            super().step()
            return
        if self._begins:
            super().step()
        else:
            first = self.param_groups[0]["params"][0]
            self.state[first]["exp_avg"] = torch.zeros_like(first)  # and no room for the second moment
        self._small.tried.clear()
        raise torch.OutOfMemoryError("out of memory. Tried to allocate a moment")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_optimiser_without_room_for_its_states_steps_after_smaller_passes(precision: Precision) -> None:
    stepped: list[list[Tensor]] = []
    for room in (8, 2):
        small, one, changes = Small(8), model(), []
        accumulator = Accumulator(one, small, CPU, 8, lambda *change: changes.append(change), precision)  # noqa: B023
        accumulator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=precision == "fp16")
        optimizer = Tight(one.parameters(), small, room=room)
        for _ in range(2):
            accumulator.backward(TOKENS_BL)
            accumulator.step(optimizer, TOKENS_BL)
        stepped.append([parameter.detach().clone() for parameter in one.parameters()])
        assert [size for size, _ in changes] == ([] if room == 8 else [4, 2])
        assert all("in the optimiser's step: out of memory" in reason for _, reason in changes)
    for easy, tight in zip(*stepped, strict=True):
        torch.testing.assert_close(tight, easy, rtol=1e-2 if precision == "fp16" else 1e-4, atol=1e-4)


@pytest.mark.parametrize(("micro_batch", "begins"), [(1, False), (8, True)])
def test_a_step_that_cannot_be_made_or_made_again_is_a_sentence(micro_batch: int, begins: bool) -> None:
    small, one = Small(8), model()
    accumulator = Accumulator(one, small, CPU, micro_batch, lambda *_: None)
    accumulator.backward(TOKENS_BL)
    with pytest.raises(
        DeviceError, match=r"the optimiser's step does not fit into the memory of a small machine: .*moment"
    ):
        accumulator.step(Tight(one.parameters(), small, room=0, begins=begins), TOKENS_BL)
    assert accumulator.micro_batch == micro_batch, "nothing is computed again over weights that have moved"


def test_scoring_without_room_is_a_sentence() -> None:
    def score(model: nn.Module) -> float:
        raise torch.OutOfMemoryError("out of memory")

    scored = trainer._in_memory_of(CPU, score)
    assert scored is not None and trainer._in_memory_of(CPU, None) is None
    with pytest.raises(
        DeviceError, match="scoring a new base on held-out data does not fit into the memory of a small"
    ):
        scored(model())


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_step_that_has_touched_weights_or_moments_is_known(foreach: bool, weight_decay: float) -> None:
    one = model()
    optimizer = torch.optim.AdamW(one.parameters(), foreach=foreach, weight_decay=weight_decay)
    Small(8)(one, TOKENS_BL).backward()
    optimizer.step()
    before = _Untouched(optimizer)
    assert before.still() and len(optimizer.state) == 4
    parameter = next(one.parameters())
    optimizer.state[parameter]["step"] += 1
    assert not before.still()
    before = _Untouched(optimizer)
    optimizer.step()
    assert not before.still()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_compute_nearly_the_same_and_leave_float32_gradients(precision: Precision) -> None:
    one = model()
    accumulator = Accumulator(one, Small(8), CPU, 2, lambda *_: None, precision)
    loss = accumulator.backward(TOKENS_BL)
    assert loss == pytest.approx(whole()[0], rel=0.05)
    assert accumulator.scaler.is_enabled() == (precision == "fp16")
    sgd = torch.optim.SGD(one.parameters(), lr=0.0)
    for _ in range(10):  # a scale that overflows is lowered step by step
        accumulator.backward(TOKENS_BL)
        accumulator.scaler.step(sgd)  # takes the scaling out again
        accumulator.scaler.update()
    for found, right in zip(gradients(one), whole()[1], strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, right, rtol=0.1, atol=0.02)


@pytest.mark.parametrize(
    ("flags", "precisions"),
    [
        ({"avx2"}, ("fp32",)),
        ({"avx512f", "avx512_bf16"}, ("fp32", "bf16")),
        ({"amx_bf16", "avx512_fp16"}, ("fp32", "bf16", "fp16")),
        ({"asimd", "bf16", "asimdhp"}, ("fp32", "bf16", "fp16")),
    ],
)
def test_precisions_of_a_cpu(flags: set[str], precisions: tuple[Precision, ...]) -> None:
    assert cpu_precisions(flags) == precisions


@pytest.mark.parametrize(
    ("precisions", "chosen"), [(("fp32", "bf16", "fp16"), "bf16"), (("fp32", "fp16"), "fp16"), (("fp32",), "fp32")]
)
def test_the_precision_an_accelerator_is_used_with(precisions: tuple[Precision, ...], chosen: Precision) -> None:
    assert Device("cuda", "an accelerator", 2**34, precisions).precision == chosen
    assert Device("cpu", "a processor", 2**34, precisions).precision == "fp32"


def fake_cuda(monkeypatch: pytest.MonkeyPatch, *, has_bf16: bool, capability: tuple[int, int]) -> None:
    properties = type("Properties", (), {"name": "Accelerator 9", "total_memory": 2**34})()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)


@pytest.mark.parametrize(
    ("has_bf16", "capability", "precision"),
    [(True, (9, 0), "bf16"), (False, (7, 5), "fp16"), (False, (6, 1), "fp32")],
)
def test_cuda_is_taken_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, capability: tuple[int, int], precision: Precision
) -> None:
    fake_cuda(monkeypatch, has_bf16=has_bf16, capability=capability)
    for choice in ("auto", "cuda"):
        device = probe(choice)
        assert (device.kind, device.name, device.memory_bytes) == ("cuda", "Accelerator 9", 2**34)
        assert device.precision == precision
    assert probe("cpu").kind == "cpu"


def test_cuda_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert probe("auto").kind == probe("cpu").kind == "cpu"
    with pytest.raises(DeviceError, match="torch sees no CUDA device here"):
        probe("cuda")
