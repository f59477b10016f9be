"""Between a module's named parameters and one flat float32 vector.

The order is by name, so that it follows from the schema alone. Copies only; knows nothing of chunks or
rounds. The one file of this package that imports torch.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn

from swarm.vector.grid import Vector

Schema = tuple[tuple[str, tuple[int, ...]], ...]
"""(name, shape) of every parameter, sorted by name."""


def named_parameters(module: nn.Module) -> dict[str, torch.Tensor]:
    """A module's floating-point parameters, sorted by name; a tied one appears once, under its first name."""
    return {
        name: parameter
        for name, parameter in sorted(module.named_parameters(), key=lambda item: item[0])
        if parameter.is_floating_point()
    }


def schema(parameters: Iterable[tuple[str, torch.Tensor]]) -> Schema:
    """The names and shapes of some parameters, sorted by name.

    Raises:
        ValueError: a name occurs twice.
    """
    entries = sorted((name, tuple(tensor.shape)) for name, tensor in parameters)
    names = [name for name, _ in entries]
    if len(set(names)) != len(names):
        raise ValueError("two parameters have the same name")
    return tuple(entries)


def schema_digest(schema: Schema) -> str:
    """Hex SHA-256 over the schema as canonical JSON: [["name",[rows,columns]],...]."""
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def elements(schema: Schema) -> int:
    """Length of the flat vector."""
    return sum(math.prod(shape) for _, shape in schema)


def gather(named: Mapping[str, torch.Tensor], out_N: Vector) -> None:
    """Copies tensors of any device and floating dtype into `out_N`, in order of their names.

    Raises:
        ValueError: their elements do not add up to N; nothing is copied then.
    """
    for tensor, piece in _pieces(named, out_N):
        torch.from_numpy(piece).view(tensor.shape).copy_(tensor.detach())


def scatter(vector_N: Vector, named: Mapping[str, torch.Tensor]) -> None:
    """Copies the vector into tensors of any device and floating dtype, in place and outside of autograd.

    Raises:
        ValueError: their elements do not add up to N; nothing is copied then.
    """
    with torch.no_grad():
        for tensor, piece in _pieces(named, vector_N):
            # torch has no read-only tensors, and warns if it gets such memory
            source = piece if piece.flags.writeable else piece.copy()
            tensor.copy_(torch.from_numpy(source).view(tensor.shape))


def _pieces(named: Mapping[str, torch.Tensor], vector_N: Vector) -> Iterator[tuple[torch.Tensor, Vector]]:
    """Each tensor with its part of the vector, in order of the names."""
    due = sum(tensor.numel() for tensor in named.values())
    if vector_N.shape != (due,):
        raise ValueError(f"the parameters have {due} elements, the vector has shape {vector_N.shape}")
    start = 0
    for name in sorted(named):
        stop = start + named[name].numel()
        yield named[name], vector_N[start:stop]
        start = stop
