"""What `--sink` means: a service, its project, and where it is; refused before anything starts if it cannot work."""

import os
from collections.abc import Collection
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from swarm.errors import PolicyError, UsageError
from swarm.net.web import parse_address
from swarm.node.config import Service
from swarm.node.sinks.services import TRACKIO_ADDRESS, WANDB_KEY, key_of
from swarm.sovereignty.reasons import Reason

_WANDB_ADDRESS = "WANDB_BASE_URL"
_WANDB_DEFAULT = "https://api.wandb.ai"
_KINDS: dict[str, Literal["wandb", "trackio"]] = {"wandb": "wandb", "trackio": "trackio"}
_MAX_PROJECT_CHARACTERS = 128


def parse_sink(text: str, named: Collection[str]) -> Service:
    """`wandb:PROJECT` or `trackio:PROJECT`; addresses and keys are in the environment, as for their own libraries.

    Args:
        named: addresses that the policy lets figures go to.

    Raises:
        UsageError: another form, or an address or a key is missing from the environment.
        PolicyError: the policy does not name the address.
    """
    word, _, project = text.partition(":")
    kind = _KINDS.get(word)
    if kind is None or not project.strip() or not project.isprintable():
        raise UsageError(f"--sink: {text!r} is not of the form {' or '.join(f'{kind}:PROJECT' for kind in _KINDS)}")
    if len(project) > _MAX_PROJECT_CHARACTERS:
        raise UsageError(f"--sink: a project's name has at most {_MAX_PROJECT_CHARACTERS} characters")
    address = _address(kind)
    origin = parse_address(address).origin
    if kind == "wandb" and not key_of(kind, os.environ):
        raise UsageError(f"--sink {text}: {WANDB_KEY} is not in the environment")
    if origin not in named:
        raise PolicyError(
            f'no figures may go to {origin}: the policy does not say so; add figures_to = ["{origin}"] beside version',
            Reason.SERVICE_NOT_NAMED,
        )
    return Service(kind=kind, project=project, address=address)


def _address(kind: str) -> str:
    if kind == "wandb":
        return os.environ.get(_WANDB_ADDRESS) or _WANDB_DEFAULT
    text = os.environ.get(TRACKIO_ADDRESS, "")
    if not text:
        raise UsageError(f"--sink trackio: {TRACKIO_ADDRESS} is not in the environment")
    parts = urlsplit(text)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
