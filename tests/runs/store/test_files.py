"""Files of a run folder: links, pipes and damage end in a sentence."""

import errno
import os

import pytest

from forethought.runs.store import files
from forethought.runs.store.folder import RunFolder


@pytest.fixture
def folder(tmp_path):
    """A folder with one file, and a secret beside it."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "run"
    root.mkdir()
    (root / "file").write_text("mine")
    return root


@pytest.mark.parametrize("to", ["../secret", "/etc/passwd", "link", "/dev/zero"])
def test_a_link_out_of_a_folder_is_followed_neither_to_read_nor_to_write(folder, to):
    os.symlink(to, folder / "link")
    with pytest.raises(ValueError, match="link that leads elsewhere"):
        files.read(folder, "link")
    with pytest.raises(ValueError, match="it is a link"):
        files.open_to_append(folder / "link")
    files.write(folder, "link", b"new")  # replaces the link, not what it leads to
    assert files.read(folder, "link") == b"new"
    assert (folder.parent / "secret").read_text() == "secret"


def test_a_room_that_is_a_link_out_of_a_folder_is_refused(folder):
    os.symlink(folder.parent, folder / "plots")
    with pytest.raises(ValueError, match="link that leads elsewhere"):
        files.read(folder, "plots/secret")
    with pytest.raises(ValueError, match="link that leads elsewhere"):
        files.write(folder, "plots/secret", b"new")
    assert (folder.parent / "secret").read_text() == "secret"


def test_links_within_a_folder_and_to_it_are_followed(folder):
    os.symlink("file", folder / "other")
    os.symlink(folder, folder.parent / "latest")
    assert files.read(folder.parent / "latest", "other") == b"mine"


def test_what_is_no_file_is_not_read_and_not_waited_for(folder):
    os.mkfifo(folder / "pipe")
    (folder / "room").mkdir()
    for name, words in (("pipe", "a pipe"), ("room", "directory"), ("no", "No such")):
        with pytest.raises(ValueError, match=words) as error:
            files.read(folder, name)
        assert "\n" not in str(error.value) and name in str(error.value)
    with pytest.raises(ValueError, match="a pipe"):
        files.open_to_append(folder / "pipe")
    with pytest.raises(ValueError, match="it is a folder"):
        files.write(folder, "room", b"")
    with pytest.raises(ValueError, match="got the file"):
        files.write(folder, "file/below", b"")


def test_a_file_that_is_too_large_is_not_read(folder):
    os.truncate(folder / "file", files.LARGEST + 1)  # no byte of it is on the disk
    with pytest.raises(ValueError, match="too many"):
        files.read(folder, "file")


def test_a_disk_that_is_full_is_told_with_the_name_of_the_file(folder, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        RunFolder(folder).write("file", "new")
    assert error.value.filename == str(folder / "file")
    assert sorted(os.listdir(folder)) == ["file"]
    assert (folder / "file").read_text() == "mine"
