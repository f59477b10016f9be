"""Rules of the house that no single module can break unseen: who imports what, who reads the clock, what is public."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(path for name in ("swarm", "peers", "bootstrap", "benchmarks") for path in (ROOT / name).rglob("*.py"))
HIVEMIND_ADAPTERS = {"swarm/net/libp2p.py", "swarm/net/kademlia.py"}
HEAVY = ("torch", "hivemind", "transformers", "matplotlib")
WAITS_AND_CLOCKS = {
    "time",
    "monotonic",
    "perf_counter",
    "process_time",
    "sleep",
    "time_ns",
    "monotonic_ns",
    "now",
    "utcnow",
}
PUBLIC = {
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
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Top-level names of everything a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module.split(".")[0]


def test_there_is_something_to_guard() -> None:
    assert len(SHIPPED) > 60
    assert {name_of(path) for path in SHIPPED} >= HIVEMIND_ADAPTERS


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_hivemind_is_imported_by_the_adapters_and_the_benchmark_alone(path: Path) -> None:
    name = name_of(path)
    if name not in HIVEMIND_ADAPTERS and not name.startswith("benchmarks/"):
        assert "hivemind" not in set(imports(path))


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_only_swarm_clock_calls_time(path: Path) -> None:
    if name_of(path) == "swarm/clock.py":
        return
    assert "time" not in set(imports(path))
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("time", "datetime")
        ):
            assert node.attr not in WAITS_AND_CLOCKS, f"{name_of(path)}:{node.lineno}"


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    assert not set(imports(path)) & {"pickle", "marshal", "shelve", "dill"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{name_of(path)}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr == "load":
            assert node.value.id not in ("torch", "np", "numpy"), f"{name_of(path)}:{node.lineno}"


SECRETS = sorted(
    path
    for place in (
        *("swarm/identity", "swarm/round/secure", "swarm/vector/masks.py", "swarm/vector/secure_codes.py"),
        *(f"peers/privacy/{name}.py" for name in ("keystream", "records", "loop", "account")),
    )
    for path in ((ROOT / place).rglob("*.py") if (ROOT / place).is_dir() else [ROOT / place])
)
"""Files that draw keys, masks, noise or batches that must be nobody's to guess."""


@pytest.mark.parametrize("path", SECRETS, ids=name_of)
def test_secrets_are_drawn_from_no_generator_that_a_seed_could_repeat(path: Path) -> None:
    assert not set(imports(path)) & {"random", "torch"} or name_of(path) == "peers/privacy/loop.py"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("random", "manual_seed", "default_rng", "randn"), f"{name_of(path)}:{node.lineno}"


def loaded_by(code: str) -> list[str]:
    """Which heavy libraries a fresh interpreter has loaded after some code."""
    tail = f"\nimport json, sys\nsys.stderr.write(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


def test_importing_the_library_is_light() -> None:
    assert loaded_by("import swarm") == []


def test_help_is_light() -> None:
    code = "import sys\nfrom peers.cli import main\nsys.argv = ['tapestry', '--help']\n"
    code += "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    assert loaded_by(code) == []


def test_the_public_names_are_these() -> None:
    import swarm

    assert set(swarm.__all__) == PUBLIC and len(swarm.__all__) == len(PUBLIC)
    assert all(hasattr(swarm, name) for name in PUBLIC)
    assert all(issubclass(getattr(swarm, name), swarm.TapestryError) for name in PUBLIC if name.endswith("Error"))


def test_no_frame_or_event_can_be_changed_after_it_was_made() -> None:
    from swarm import events
    from swarm.net import wire

    for module, base in ((wire, wire.Frame), (events, events.Event)):
        kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, base)]
        assert len(kinds) > 20 and all(kind.__struct_config__.frozen for kind in kinds)
