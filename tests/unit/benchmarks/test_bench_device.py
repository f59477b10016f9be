"""`bench device`: doubling on a device with little room, optimiser memory, and the document."""

import json

import pytest
import torch
from torch import Tensor, nn

from benchmarks import device as bench
from benchmarks import device_report
from benchmarks.machine import fingerprint
from peers.device import Device
from swarm.charter.manifest import Training

CPU = Device("cpu", "a small machine", 2**34, ("fp32",))
TRAINING = Training(batch_size=4, sequence_length=8)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "MEASURED_S", 0.0)


@pytest.mark.parametrize(
    ("room", "most", "micro_batch", "is_limit"),
    [(100, 4, 4, False), (100, 6, 6, False), (5, 16, 4, True), (0, 4, 0, True)],
)
def test_doubling_ends_where_memory_does(room: int, most: int, micro_batch: int, is_limit: bool) -> None:
    def loss(model: nn.Module, tokens_bL: Tensor) -> Tensor:
        if len(tokens_bL) > room:
            raise torch.OutOfMemoryError("out of memory")
        return model(tokens_bL.float()).square().mean()

    found = bench.measure(nn.Linear(9, 3), loss, CPU, "fp32", TRAINING, most)
    assert (found.micro_batch, found.is_limit) == (micro_batch, is_limit)
    assert (found.tokens_per_s > 0) == (micro_batch > 0)


def test_what_runs_out_of_memory_is_an_entry_and_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device with room for a step of SGD, and for a sequence in bf16 but not in fp32."""

    def loss(model: nn.Module, tokens_bL: Tensor) -> Tensor:
        if not torch.is_autocast_enabled("cpu"):
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return model(tokens_bL.float()).square().mean()

    def no_room(self: torch.optim.AdamW, closure: None = None) -> None:
        raise torch.OutOfMemoryError("out of memory: no room for two moments")

    device = Device("cpu", "a small machine", 2**34, ("fp32", "bf16"))
    model = nn.Linear(9, 3)
    found = [bench.measure(model, loss, device, precision, TRAINING, 4) for precision in device.precisions]
    assert [throughput.micro_batch for throughput in found] == [0, 4]
    assert bench.optimisers(model, device)[0].cause == ""
    monkeypatch.setattr(torch.optim.AdamW, "step", no_room)
    none = bench.measure(model, loss, device, "bf16", TRAINING, 4)
    assert (none.micro_batch, none.is_limit) == (0, True)
    assert "not even one sequence fits" in device_report._throughput(none, "bf16")
    assert bench.optimisers(model, device)[0].cause == "out of memory"
    assert all(parameter.grad is None for parameter in model.parameters())


def test_errors_that_are_not_of_memory_are_not_taken_for_it() -> None:
    def loss(model: nn.Module, tokens_bL: Tensor) -> Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        bench.measure(nn.Linear(9, 3), loss, CPU, "fp32", TRAINING, 4)


def test_state_bytes_are_those_of_the_tensors_kept() -> None:
    model = nn.Linear(100, 50, bias=False)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 100)).sum().backward()
    assert bench.state_bytes(optimiser) == 0
    optimiser.step()
    assert bench.state_bytes(optimiser) == 2 * 4 * 5000 + 4  # two moments and a step count


def test_an_optimiser_that_does_not_run_says_why() -> None:
    model = nn.Linear(9, 3)

    def broken() -> torch.optim.Optimizer:
        raise NotImplementedError("no kernel for this device\nmore")

    found = bench._optimiser("Broken", broken, model, CPU)
    assert (found.cause, found.state_bytes) == ("no kernel for this device", 0)
    document = bench.Document(
        machine=fingerprint(),
        device=bench.DeviceFacts(kind="cpu", name="x", memory_bytes=1, dtypes=("fp32",), chosen_dtype="fp32"),
        model=bench.ModelFacts(source="the pilot's", parameters=1, sequence_length=8, batch_size=4),
        results=(bench.measure(model, lambda m, t: m(t.float()).mean(), CPU, "fp32", TRAINING, 2),),
        optimisers=(found,),
    )
    read = json.loads(device_report.to_json(document))
    assert read["optimisers"][0]["cause"] == "no kernel for this device"
    assert read["results"][0]["micro_batch"] == 2 and read["device"]["kind"] == "cpu"
    text = "\n".join(device_report.lines(document))
    assert "Broken: does not run here (no kernel for this device)" in text
    assert "at 2 sequences (more was not asked for) (a peer here uses this)" in text
