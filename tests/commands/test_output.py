"""What is written is there whole or not at all, whatever happens meanwhile, and nothing of anybody's is lost."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from rrwkv_export import atomic as output
from rrwkv_export.atomic import check_target, new_directory, new_file, require_space
from rrwkv_export.bundle import FILES, replaceable
from rrwkv_export.errors import ExportError, OutputError
from rrwkv_runtime.common import atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def finished(target, text="new", overwrite=False):
    with new_directory(target, FILES if overwrite else None) as folder:
        (folder / "manifest.json").write_text(text)


def test_a_new_directory_takes_its_name_at_the_end(tmp_path):
    with new_directory(tmp_path / "deep" / "out") as folder:
        (folder / "manifest.json").touch()
        assert not (tmp_path / "deep" / "out").exists()
        assert folder.parents[1] == tmp_path / "deep"
    assert names(tmp_path / "deep") == ["out"]
    assert (tmp_path / "deep" / "out").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, ExportError])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path, error, existing):
    target = tmp_path / "out"
    if existing:
        finished(target, "old")
    with pytest.raises(error), new_directory(target, FILES) as folder:
        raise error((folder / "manifest.json").write_text("half"))
    assert names(tmp_path) == (["out"] if existing else [])
    assert not existing or contents(target) == {"manifest.json": b"old"}


def test_an_existing_bundle_is_replaced_only_when_told_to(tmp_path):
    target = tmp_path / "out"
    finished(target, "old")
    with pytest.raises(OutputError, match=r"out exists already; choose another name or pass --force"):
        finished(target)
    assert contents(target) == {"manifest.json": b"old"}
    finished(target, "new", overwrite=True)
    assert contents(target) == {"manifest.json": b"new"}
    assert names(tmp_path) == ["out"]


def test_a_bundle_that_holds_other_files_is_not_replaced(tmp_path):
    target = tmp_path / "out"
    finished(target, "old")
    (target / "talk.state").touch()
    with pytest.raises(OutputError, match=r"also holds 'talk\.state'"):
        finished(target, "new", overwrite=True)
    assert names(target) == ["manifest.json", "talk.state"]


def test_a_link_to_a_bundle_stays_a_link(tmp_path):
    finished(tmp_path / "out", "old")
    (tmp_path / "link").symlink_to("out")
    finished(tmp_path / "link", "new", overwrite=True)
    assert contents(tmp_path / "out") == {"manifest.json": b"new"}
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["link", "out"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_to_itself_is_refused_and_stays(tmp_path, overwrite):
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(OutputError, match=r"link: cannot write there \("):
        finished(link, "new", overwrite=overwrite)
    with pytest.raises(OutputError, match=r"link: cannot write there \("), new_file(link):
        pass
    with pytest.raises(OutputError, match=r"link: cannot write there \("):
        output.require_space(link, 1)
    assert names(tmp_path) == ["link"]


@pytest.mark.parametrize(
    "manifest", ['{"files": [{"name": "step.onnx"}]}', '{"files": 1}', "[]", "{", '{"files": [1]}']
)
def test_a_bundle_of_an_older_format_is_replaced_with_what_it_lists(tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(manifest)
    assert replaceable(tmp_path) == FILES | ({"step.onnx"} if "step" in manifest else set())
    assert replaceable(tmp_path / "absent") == FILES


def test_force_is_named_only_where_it_helps(tmp_path):
    finished(tmp_path / "out", "old")
    with pytest.raises(OutputError, match="or pass --force to replace it"):
        finished(tmp_path / "out", "new")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"exists already; choose another name$"):
        finished(tmp_path / "file", "new")


@pytest.mark.parametrize("kind", ["folder of someone's", "empty folder", "file"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_not_a_bundle_is_never_replaced(tmp_path, kind, overwrite):
    target = tmp_path / "out"
    target.write_text("thesis") if kind == "file" else target.mkdir()
    if kind == "folder of someone's":
        (target / "thesis.tex").touch()
    with pytest.raises(OutputError, match="exists"):
        finished(target, overwrite=overwrite)
    assert names(tmp_path) == ["out"]
    assert target.is_file() or names(target) == (["thesis.tex"] if "someone" in kind else [])


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "the disk is full; free some space"), (errno.EIO, "cannot write")]
)
def test_a_disk_that_fails_is_one_line(tmp_path, number, message):
    with pytest.raises(OutputError, match=message) as caught, new_directory(tmp_path / "out"):
        raise OSError(number, "some\nreason")
    assert str(caught.value).startswith(str(tmp_path / "out"))
    assert names(tmp_path) == []


def test_a_write_cut_short_by_a_full_disk_is_told_as_that(tmp_path):
    with pytest.raises(OutputError, match="the disk is full"), new_directory(tmp_path / "out"):
        raise OSError("409600 requested and 284672 written")


def test_a_place_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write there"):
        finished(tmp_path / "file" / "out")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc")
@pytest.mark.parametrize("target", ["/proc/x", "/proc/x/y"])
def test_where_no_folder_can_be_made_is_said_plainly(target):
    for use in (finished, check_target, lambda path: require_space(path, 10), lambda path: new_file(path).__enter__()):
        with pytest.raises(OutputError, match=f"{target}: cannot write .*; choose another place$"):
            use(Path(target))


def test_a_target_is_checked_as_it_will_be(tmp_path):
    finished(tmp_path / "out", "old")
    with pytest.raises(OutputError, match="or pass --force"):
        check_target(tmp_path / "out")
    check_target(tmp_path / "out", FILES)
    check_target(tmp_path / "new" / "out")
    assert names(tmp_path) == ["out"]


# --- what comes to the target meanwhile ------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["exchanged", "renamed twice"])
def way(request, monkeypatch):
    """Both ways to replace a folder: names exchanged in one step, and what file systems without that take."""
    if not request.param:
        monkeypatch.setattr(output, "_exchange", lambda one, other: False)


def test_a_folder_that_comes_meanwhile_stays_and_so_does_what_was_made(tmp_path):
    def made():
        with new_directory(tmp_path / "out") as folder:
            (folder / "manifest.json").write_text("new")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "notes.txt").write_text("an hour of work")

    with pytest.raises(OutputError, match=r"out exists already.* what was made is in .*out-2"):
        made()
    assert contents(tmp_path / "out") == {"notes.txt": b"an hour of work"}
    assert contents(tmp_path / "out-2") == {"manifest.json": b"new"}
    assert names(tmp_path) == ["out", "out-2"]


def test_of_runs_to_one_place_all_results_stay(tmp_path):
    target, number = tmp_path / "out", iter("123")

    def made(within=lambda: None):
        with new_directory(target) as folder:
            (folder / "manifest.json").write_text(next(number))
            within()

    def refused(*arguments):
        with pytest.raises(OutputError, match="exists already"):
            made(*arguments)

    refused(lambda: refused(made))
    assert [contents(tmp_path / n)["manifest.json"] for n in ("out", "out-2", "out-3")] == [b"3", b"2", b"1"]


def test_what_is_put_into_a_bundle_while_it_is_replaced_is_kept(tmp_path, way):
    finished(tmp_path / "out", "old")

    def replaced():
        with new_directory(tmp_path / "out", FILES) as folder:
            (folder / "manifest.json").write_text("new")
            (tmp_path / "out" / "talk.state").touch()

    with pytest.raises(OutputError, match=r"also holds 'talk\.state'.*out-2"):
        replaced()
    assert names(tmp_path / "out") == ["manifest.json", "talk.state"]
    assert names(tmp_path) == ["out", "out-2"]


def test_what_comes_at_the_last_moment_is_kept_too(tmp_path, way, monkeypatch):
    target, real = tmp_path / "out", output._Rule.check
    finished(target, "old")
    checked = []

    def check(self, found):
        real(self, found)
        checked.append(found)
        if len(checked) == 2:  # the last look before the names change
            (target / "talk.state").touch()

    monkeypatch.setattr(output._Rule, "check", check)
    with pytest.raises(OutputError, match="also holds"):
        finished(target, "new", overwrite=True)
    assert names(target) == ["manifest.json", "talk.state"]
    assert contents(tmp_path / "out-2") == {"manifest.json": b"new"}


def test_a_rename_that_fails_puts_the_old_bundle_back(tmp_path, monkeypatch):
    target, real = tmp_path / "out", Path.rename
    finished(target, "old")

    def rename(self, to):
        if self.name == "new":
            raise OSError(errno.EACCES, "Permission denied")
        return real(self, to)

    monkeypatch.setattr(output, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OutputError, match="Permission denied"):
        finished(target, "new", overwrite=True)
    assert contents(target) == {"manifest.json": b"old"}
    assert names(tmp_path) == ["out"]


# --- kills -----------------------------------------------------------------------------------------------------------


def killed(action):
    """Run it in a process that is killed, or kills itself."""
    if (child := os.fork()) == 0:
        try:
            action()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.parametrize("call", ["mkdir", "touch", "rename", "rmtree", "fsync"])
@pytest.mark.parametrize("which", range(3))
def test_killed_at_any_point_the_old_or_the_new_is_there_and_the_next_run_leaves_nothing_else(
    tmp_path, way, call, which
):
    target = tmp_path / "out"
    finished(target, "old")
    count = iter(range(1000))
    owner, name = {"rmtree": (atomic.shutil, call), "fsync": (os, call)}.get(call, (Path, call))
    real = getattr(owner, name)

    def struck(*arguments, **options):
        if next(count) == which:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    def run():
        setattr(owner, name, struck)
        finished(target, "new", overwrite=True)

    killed(run)
    with suppress(ExportError), new_directory(target, FILES):
        raise ExportError("the next run fails for another reason")
    assert contents(target) in ({"manifest.json": b"old"}, {"manifest.json": b"new"})
    assert names(tmp_path) == ["out"]


def test_killed_between_the_renames_the_old_bundle_is_put_back(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "_exchange", lambda one, other: False)
    target, real = tmp_path / "out", Path.rename
    finished(target, "old")

    def rename(self, to):
        real(self, to)
        os.kill(os.getpid(), signal.SIGKILL)

    killed(lambda: (setattr(Path, "rename", rename), finished(target, "new", overwrite=True)))
    assert not target.exists()
    with pytest.raises(OutputError, match="exists already"):
        finished(target, "another")
    assert contents(target) == {"manifest.json": b"old"}
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["out", "a[b]*?", "é" * 100, "-n"], ids=["plain", "pattern", "long", "option"])
def test_what_a_killed_run_left_is_removed_and_what_a_live_one_makes_is_not(tmp_path, name):
    begun = []
    with new_directory(tmp_path / name) as live:
        (live / "manifest.json").write_text("live")
        killed(lambda: begun.append(new_directory(tmp_path / name)) or begun[0].__enter__())
        assert len(names(tmp_path)) == 2
        with new_file(tmp_path / name):
            assert len(names(tmp_path)) == 2
        (tmp_path / name).unlink()
        assert (live / "manifest.json").read_text() == "live"
    assert contents(tmp_path / name) == {"manifest.json": b"live"}
    assert names(tmp_path) == [name]


def test_runs_side_by_side_never_take_each_other_for_dead(tmp_path):
    def run():
        for _ in range(30):
            with new_file(tmp_path / "out") as path:
                path.write_text("whole")

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents(tmp_path) == {"out": b"whole"}


def test_all_of_it_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), real(fd)))
    with new_directory(tmp_path / "out") as folder:
        (folder / "variants").mkdir()
        paths = [folder, folder / "variants", folder / "a", folder / "variants" / "b"]
        for path in paths[2:]:
            path.touch()
        inodes = {path.stat().st_ino for path in paths}
    assert set(synced[:-1]) == inodes
    assert synced[-1] == tmp_path.stat().st_ino


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_pipe_and_a_device_are_written_to_and_stay_what_they_are(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with new_file(pipe) as path:
        path.write_text("hello")
    reader.join()
    assert read == ["hello"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with new_file(Path("/dev/null")) as path:
        path.write_text("hello")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_standard_output_can_be_named():
    program = """
from pathlib import Path
from rrwkv_export.atomic import new_file
with new_file(Path("/dev/stdout")) as path:
    path.write_text("hello")
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"hello"


def test_a_file_keeps_its_mode_and_a_link_its_target(tmp_path):
    (tmp_path / "file").touch(0o640)
    (tmp_path / "link").symlink_to("file")
    with new_file(tmp_path / "link") as path:
        path.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_file_is_whole_or_not_there(tmp_path):
    target = tmp_path / "new" / "run.json"
    with suppress(KeyboardInterrupt), new_file(target) as path:
        path.write_text("half")
        raise KeyboardInterrupt
    assert list(target.parent.iterdir()) == []
    with new_file(target) as path:
        path.write_text("whole")
    assert [(p.name, p.read_text()) for p in target.parent.iterdir()] == [("run.json", "whole")]
    with pytest.raises(OutputError, match="is a folder"), new_file(tmp_path):
        pass
    with pytest.raises(OutputError, match="cannot write"), new_file(target / "inside"):
        pass
