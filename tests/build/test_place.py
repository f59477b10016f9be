"""Where a build lies, and what is left of it when the machine stops between any two steps."""

import os
import shutil
from pathlib import Path

import pytest

from peers.build.folder import alone, make_folder
from peers.build.place import CARD, mended_record, place_model, place_stage, with_stage
from peers.build.plan import begin_or_resume, plan_behind, plan_of
from peers.build.recipe import Asked
from peers.build.record import BuildRecord, Canaries, Limits, Settings, read_record, write_record
from peers.build.weights import weights_digest
from swarm.errors import StateError, UsageError
from tests.build.disk import Disk
from tests.build.records import record, stage, used, weights


class PowerCutError(Exception):
    """The machine went down."""


def steps_of(build: Path, second: BuildRecord, monkeypatch: pytest.MonkeyPatch, stop_at: int) -> bool:
    """Places a second model, and goes down before the step of that number; whether it got to the end."""
    left = stop_at

    def counted(step):
        def counting(*arguments, **more):
            nonlocal left
            if left == 0:
                raise PowerCutError
            left -= 1
            return step(*arguments, **more)

        return counting

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", counted(Path.rename))
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
        patch.setattr(os, "link", counted(os.link))
        try:
            place_model(build, build / "made", second)
        except PowerCutError:
            return False
    return True


def test_model_and_record_belong_together_whenever_the_machine_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = False
    for stop_at in range(20):
        build = tmp_path / f"build{stop_at}"
        weights(build / "first", 1.0)
        first = place_model(build, build / "first", record(stage()))
        weights(build / "made", 2.0)
        second = with_stage(first, stage(2, parent="result 1"))
        ended = steps_of(build, second, monkeypatch, stop_at)
        found = mended_record(build)
        assert found.result is not None and found.result.digest == weights_digest(build / "model")
        assert found.result.stage == len(found.stages) and (build / "model" / CARD).is_file()
        assert not (build / "model.new").exists() and not (build / "model.before").exists()
        if ended:
            break
    assert ended and stop_at > 3, stop_at


def test_all_that_a_record_speaks_of_is_on_disk_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = tmp_path / "build"
    weights(build / "made", 1.0)
    weights(build / "base", 0.0)
    disk = Disk(monkeypatch, "build.json")
    weights(build / "1-cpt", 2.0, "adapter_model.safetensors")
    (build / "1-cpt" / "canaries.json").write_text("{}")
    place_model(build, build / "made", record(stage()))
    folders = [build / name for name in ("base", "1-cpt", "model")]
    assert disk.is_synced(*folders, *(path for folder in folders for path in folder.iterdir()))


def test_a_model_that_a_power_cut_has_torn_gives_way_to_the_one_on_record(tmp_path: Path) -> None:
    build = tmp_path / "build"
    weights(build / "first", 1.0)
    first = place_model(build, build / "first", record(stage()))
    (build / "model").rename(build / "model.before")
    (build / "model").mkdir()
    assert mended_record(build) == first and not (build / "model.before").exists()
    assert first.result is not None and weights_digest(build / "model") == first.result.digest


def test_a_first_model_that_is_not_on_record_goes(tmp_path: Path) -> None:
    build = tmp_path / "build"
    weights(build / "model", 1.0)
    write_record(build, record())
    assert mended_record(build).result is None and not (build / "model").exists()


def test_a_stage_that_was_refused_is_replaced_by_the_next_attempt() -> None:
    refused = stage(2, verdict="refused", reasons=("no",))
    build = with_stage(record(stage()), refused)
    assert [each.verdict for each in build.stages] == ["accepted", "refused"] and build.tip == "result 1"
    build = with_stage(build, stage(2))
    assert [each.verdict for each in build.stages] == ["accepted", "accepted"] and build.tip == "result 2"


def test_a_stages_folder_is_what_its_worker_made(tmp_path: Path) -> None:
    weights(tmp_path / "out" / "stage", 1.0, "adapter_model.safetensors")
    weights(tmp_path / "out" / "model", 2.0)
    digest = place_stage(tmp_path / "out", "lora", tmp_path / "1-cpt")
    assert [path.name for path in (tmp_path / "1-cpt").iterdir()] == ["adapter_model.safetensors"]
    assert place_stage(tmp_path / "out", "full", tmp_path / "1-cpt") != digest
    assert [path.name for path in (tmp_path / "1-cpt").iterdir()] == ["model.safetensors"]


def test_a_build_lies_where_no_peer_and_no_policy_reaches_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    make_folder(tmp_path / "build", data)
    assert (tmp_path / "build").stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="exists already and is not overwritten"):
        make_folder(tmp_path / "build", data)
    with pytest.raises(UsageError, match="does not exist"):
        make_folder(tmp_path / "none" / "build", data)
    with pytest.raises(StateError, match="is the data folder"):
        make_folder(data / "build", data)
    (tmp_path / "state" / "builds").mkdir(parents=True)
    (tmp_path / "state" / "charter.toml").touch()
    with pytest.raises(StateError, match="a peer's state folder, which its network process can open"):
        make_folder(tmp_path / "state" / "builds" / "first", data)


def test_one_command_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(StateError, match="another command is at work"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass
    with pytest.raises(UsageError, match="does not exist"), alone(tmp_path / "none"):
        pass


def test_records_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"holds no build\.json: begin with"):
        read_record(tmp_path)
    write_record(tmp_path, record(stage()))
    assert read_record(tmp_path) == record(stage())
    path = tmp_path / "build.json"
    for data, cause in ((b"{", "is damaged"), (b'{"version": 2}', "is of version 2"), (b'{"version": 1}', "damaged")):
        path.write_bytes(data)
        with pytest.raises(StateError, match=cause):
            read_record(tmp_path)


def test_an_interrupted_stage_goes_on_only_if_it_is_the_one_asked_for(tmp_path: Path) -> None:
    asked = Asked("cpt", ("notes",), "lora", Settings(), Canaries(), Limits())
    wanted = plan_of(asked, [used("notes")], "base")
    plan = begin_or_resume(tmp_path / "work", wanted)
    assert len({canary.secret for canary in plan.planted}) == Canaries().count and plan.is_like(wanted)
    checkpoint = tmp_path / "work" / "trainer" / "checkpoint"
    checkpoint.touch()
    assert begin_or_resume(tmp_path / "work", wanted) == plan and checkpoint.exists()
    for other in (
        plan_of(asked, [used("notes", digest="another content")], "base"),
        plan_of(asked, [used("notes")], "another base"),
        plan_of(asked, [used("notes"), used("more")], "base"),
    ):
        checkpoint.touch()
        assert begin_or_resume(tmp_path / "work", other) != plan and not checkpoint.exists()
    (tmp_path / "work" / "plan.json").write_bytes(b"{")
    assert begin_or_resume(tmp_path / "work", wanted).planted != plan.planted


def test_a_stage_on_record_is_known_by_what_decides_its_weights() -> None:
    done = stage()
    asked = Asked("cpt", ("notes",), "lora", Settings(), Canaries(), Limits(retention_factor=9.0))
    assert plan_behind(done) == plan_of(asked, [used("notes")], "base")
    assert plan_behind(done) != plan_of(asked, [used("notes", digest="another")], "base")
