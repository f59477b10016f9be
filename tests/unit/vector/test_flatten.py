"""Flattening a module and back: order, dtypes, tied weights, digests."""

import numpy as np
import pytest
import torch
from torch import nn

from swarm.vector.flatten import elements, gather, named_parameters, scatter, schema, schema_digest


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(3, 5, bias=False)
        self.embedding = nn.Embedding(5, 3)
        self.output.weight = self.embedding.weight
        self.bias = nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
        self.counter = nn.Parameter(torch.zeros(1, dtype=torch.int64), requires_grad=False)


def test_named_parameters_are_sorted_deduplicated_and_floating() -> None:
    assert list(named_parameters(Tied())) == ["bias", "output.weight"]


def test_schema_follows_names_not_registration() -> None:
    a, b = torch.zeros(2, 3), torch.zeros(())
    assert schema([("z", a), ("a", b)]) == schema([("a", b), ("z", a)]) == (("a", ()), ("z", (2, 3)))
    assert elements(schema([("z", a), ("a", b)])) == 7
    with pytest.raises(ValueError, match="same name"):
        schema([("a", a), ("a", b)])


def test_schema_digest_is_pinned_and_binds_names_and_shapes() -> None:
    # printf '[["w",[2,3]]]' | sha256sum
    assert schema_digest((("w", (2, 3)),)) == "e448911f324939e14c8d508076384b3301f9e3c6e29fc30a5053cfcc3c02f01e"
    others = {schema_digest(s) for s in ((("w", (3, 2)),), (("v", (2, 3)),), (("w", (6,)),), ())}
    assert len(others) == 4 and schema_digest((("w", (2, 3)),)) not in others


def test_gather_then_scatter_gives_the_same_module() -> None:
    torch.manual_seed(0)
    source, target = Tied(), Tied()
    nn.init.normal_(source.bias)
    named = named_parameters(source)
    vector = np.empty(elements(schema(named.items())), np.float32)
    gather(named, vector)
    assert vector[:2].tolist() == source.bias.tolist()
    assert vector[2:].tolist() == source.embedding.weight.flatten().tolist()

    vector.flags.writeable = False
    scatter(vector, named_parameters(target))
    assert torch.equal(target.bias, source.bias) and torch.equal(target.output.weight, source.embedding.weight)
    assert target.output.weight is target.embedding.weight and target.output.weight.requires_grad


def test_strided_tensors_are_copied_in_logical_order() -> None:
    tensor = torch.arange(6, dtype=torch.float64).view(2, 3).t()
    vector = np.empty(6, np.float32)
    gather({"t": tensor}, vector)
    assert vector.tolist() == [0, 3, 1, 4, 2, 5]
    scatter(vector + np.float32(1), {"t": tensor})
    assert tensor.tolist() == [[1, 4], [2, 5], [3, 6]]


def test_a_wrong_length_is_refused_before_anything_is_copied() -> None:
    tensor = torch.zeros(3)
    with pytest.raises(ValueError, match="3 elements"):
        scatter(np.ones(4, np.float32), {"t": tensor})
    with pytest.raises(ValueError, match="3 elements"):
        gather({"t": tensor}, np.ones(2, np.float32))
    assert tensor.tolist() == [0, 0, 0]
