"""Tapestry: many parties train one shared model and keep their data at home. These names are the public ones."""

from swarm.errors import (
    CharterError,
    DataError,
    IdentityError,
    ModelError,
    NetworkError,
    PassportError,
    PolicyError,
    ProtocolError,
    StateError,
    TapestryError,
    UnlabelledDataError,
    UsageError,
)
from swarm.node.library import Swarm, join

__all__ = [
    "join",
    "Swarm",
    "TapestryError",
    "UsageError",
    "IdentityError",
    "CharterError",
    "PassportError",
    "PolicyError",
    "UnlabelledDataError",
    "DataError",
    "StateError",
    "ModelError",
    "NetworkError",
    "ProtocolError",
]
