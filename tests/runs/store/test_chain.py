"""Lines of metrics that were lost, changed or mixed up are noticed."""

import json

import pytest

from forethought.runs.store.folder import RunFolder

NAME = "metrics.jsonl"


def filled(path, config=None, count=6):
    folder = RunFolder.create(path, config or {"task": "t"})
    for i in range(count):
        folder.append({"step": i, "long": "x" * 9000 * (i == 2)})
    return folder


def steps(folder):
    return [row["step"] for row in folder.metrics()]


def test_lines_come_back_as_they_were_said(tmp_path):
    folder = filled(tmp_path)
    assert folder.metrics()[1] == {"step": 1, "long": ""}
    assert steps(folder) == list(range(6))
    line = (tmp_path / NAME).read_text().splitlines()[0]
    assert json.loads(line).keys() == {"step", "long", "check"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[1:],
        lambda lines: [*lines[:2], *lines[3:]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [*lines[:3], lines[2], *lines[3:]],
        lambda lines: [line.replace('"step": 3', '"step": 4') for line in lines],
        lambda lines: [lines[0][:9], *lines[1:]],
        lambda lines: ["[1]", *lines],
        lambda lines: [json.dumps({"step": 0}), *lines],
    ],
)
def test_lines_that_do_not_follow_each_other_are_noticed(damage, tmp_path):
    folder = filled(tmp_path)
    lines = (tmp_path / NAME).read_text().splitlines()
    (tmp_path / NAME).write_text("\n".join(damage(lines)) + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl needs .*line \d") as error:
        folder.metrics()
    assert "\n" not in str(error.value)


def test_lines_of_another_run_are_noticed(tmp_path):
    folder = filled(tmp_path / "a", {"seed": 1})
    other = filled(tmp_path / "b", {"seed": 2})
    (folder.path / NAME).write_bytes((other.path / NAME).read_bytes())
    with pytest.raises(ValueError, match="those of another run"):
        folder.metrics()


def test_last_lines_of_a_finished_run_are_missed(tmp_path):
    folder = filled(tmp_path)
    folder.finish()
    assert len(folder.metrics()) == 6
    lines = (tmp_path / NAME).read_text().splitlines(keepends=True)
    (tmp_path / NAME).write_text("".join(lines[:-1]))
    with pytest.raises(ValueError, match=r"the 6 lines .* holds 5"):
        folder.metrics()


def test_a_run_that_goes_on_keeps_the_first_lines_and_adds_to_them(tmp_path):
    folder = filled(tmp_path)
    folder.keep_metrics(4)
    folder.append({"step": 9})
    assert steps(folder) == [0, 1, 2, 3, 9]
    with pytest.raises(ValueError, match=r"after 7 intervals .* holds 5"):
        folder.keep_metrics(7)


def test_a_folder_of_an_older_version_is_read_and_gone_on_with(tmp_path):
    (tmp_path / "config.json").write_text('{"task": "t"}')
    (tmp_path / NAME).write_text('{"step": 1}\n{"step": 2}\n')
    folder = RunFolder.open(tmp_path)
    folder.append({"step": 3})
    assert steps(folder) == [1, 2, 3]
    lines = (tmp_path / NAME).read_text().splitlines(keepends=True)
    (tmp_path / NAME).write_text("".join(lines[1:]))
    with pytest.raises(ValueError, match="does not follow"):
        folder.metrics()


def test_settings_that_were_changed_are_noticed(tmp_path):
    folder = RunFolder.create(tmp_path, {"task": "t", "options": {"seed": 1}})
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace("1", "2", 1))
    with pytest.raises(ValueError, match="was changed"):
        folder.config()
