"""A run goes where nothing lies, and replaces only what runs made."""

import os
import threading

import pytest

from forethought.runs.store import place
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.place import free_folder

CONFIG = {"forethought": "train", "task": "t"}
MINE = {
    **dict.fromkeys(("notes.txt", "plots/paper.png", "checkpoints/model.pt"), "mine"),
    **dict.fromkeys(("checkpoints/7/mine", "cards/ace", "replay/tape"), "mine"),
}


def finished(path, config=CONFIG):
    """A run that came to its end, with a file of each kind."""
    run = RunFolder.create(path, config)
    run.append({"step": 1})
    for name in ("cards/0001.npz", "replay/0-4.npz", "plots/fan.png", "video.mp4"):
        run.write(name, "old")
    for name in ("leaves.npz", "host.json", "done"):
        run.write(f"checkpoints/7/{name}", "old")
    run.finish()
    return run


def put(path, names=MINE):
    for name in names:
        (path / name).parent.mkdir(exist_ok=True, parents=True)
        (path / name).write_text("mine")


def everything(path):
    return {
        str(each.relative_to(path)): each.read_text()
        for each in sorted(path.rglob("*"))
        if each.is_file()
    }


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "names",
    [["notes.txt"], ["config.json"], ["checkpoints/model.pt"], ["config.json", "done"]],
)
def test_a_folder_that_is_no_run_keeps_what_lies_in_it(names, overwrite, tmp_path):
    put(tmp_path, names)
    before = everything(tmp_path)
    with pytest.raises(ValueError, match=r"new or an empty folder.* --out\.") as error:
        RunFolder.create(tmp_path, CONFIG, overwrite=overwrite)
    assert "\n" not in str(error.value)
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("config", "overwrite", "words"),
    [
        (CONFIG, False, "a finished run, which --overwrite would replace"),
        ({"forethought": "plan"}, True, "not of a run of the same kind"),
        ({}, True, "not of a run of the same kind"),
    ],
)
def test_a_finished_run_is_kept_unless_one_of_its_kind_may_replace_it(
    config, overwrite, words, tmp_path
):
    finished(tmp_path)
    before = everything(tmp_path)
    with pytest.raises(ValueError, match=words):
        RunFolder.create(tmp_path, config, overwrite=overwrite)
    assert everything(tmp_path) == before


def test_a_run_that_has_not_come_to_its_end_is_not_replaced(tmp_path):
    finished(tmp_path).reopen()
    with pytest.raises(ValueError, match="not come to its end"):
        RunFolder.create(tmp_path, CONFIG, overwrite=True)


def test_what_runs_make_is_replaced_and_everything_else_stays(tmp_path):
    finished(tmp_path)
    RunFolder.create(tmp_path, CONFIG | {"seed": 2}, overwrite=True)
    assert os.listdir(tmp_path) == ["config.json"]
    finished(tmp_path / "other")
    put(tmp_path / "other")
    RunFolder.create(tmp_path / "other", CONFIG, overwrite=True)
    kept = everything(tmp_path / "other")
    assert kept.pop("config.json") and kept == MINE


def test_nothing_is_removed_through_a_link(tmp_path):
    put(tmp_path / "elsewhere", ["0-4.npz", "fan.png", "video.mp4"])
    run = finished(tmp_path / "run")
    for name in ("replay", "plots"):
        for each in (run.path / name).iterdir():
            each.unlink()
        (run.path / name).rmdir()
        os.symlink(tmp_path / "elsewhere", run.path / name)
    (run.path / "video.mp4").unlink()
    os.symlink(tmp_path / "elsewhere" / "video.mp4", run.path / "video.mp4")
    RunFolder.create(run.path, CONFIG, overwrite=True)
    assert set(everything(tmp_path / "elsewhere").values()) == {"mine"}
    assert len(everything(tmp_path / "elsewhere")) == 3


def test_what_a_killed_process_leaves_behind_makes_no_folder_anybodys(tmp_path):
    put(tmp_path, [".config.json.77.tmp", ".video.77.mp4", ".lock"])
    assert RunFolder.create(tmp_path, CONFIG).config()["task"] == "t"


def test_a_folder_without_a_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for use in (lambda: RunFolder.create("", CONFIG), lambda: RunFolder.open("")):
        with pytest.raises(ValueError, match="name of a folder, got an empty one"):
            use()
    assert os.listdir(tmp_path) == []


def test_runs_that_begin_at_once_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(free_folder("t-cem")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*found}) == 8 and all(path.is_dir() for path in found)


def test_every_figure_that_runs_draw_is_one_that_a_new_run_replaces():
    from forethought.reports.pages import learning, run

    drawn = {*run.SECTIONS, *run.TABLE_SECTIONS, *learning.SECTIONS, *learning.HALVES}
    assert drawn <= {*place.PLOTS}
