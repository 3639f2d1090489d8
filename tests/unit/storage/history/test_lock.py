"""Who may use a directory, and whether what the last one left can be trusted."""

import os
import signal
import subprocess
import sys

import pytest

from xoproxy.errors import ConfigError
from xoproxy.storage.history.lock import RunMarker, boot_id, sole_user

HOLD = """
import sys, time
from pathlib import Path
from xoproxy.storage.history.lock import sole_user
with sole_user(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_only_one_process_holds_a_directory_and_a_dead_one_does_not(tmp_path):
    directory = tmp_path / "data"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", HOLD, directory], stdout=subprocess.PIPE, env=environment
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(ConfigError, match=f"another proxy uses the directory {directory}"),
            sole_user(directory),
        ):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    with sole_user(directory):
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / "lock").stat().st_mode & 0o777 == 0o600


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "data"
    with (
        pytest.raises(ConfigError, match=f"cannot write to the directory {place}"),
        sole_user(place),
    ):
        pass


def test_what_was_left_is_trusted_after_a_clean_end_or_on_the_same_boot(tmp_path):
    marker = RunMarker(tmp_path)
    assert marker.clean
    assert marker.trusted("one")
    marker.set("one")
    assert not marker.clean
    assert marker.trusted("one")
    assert not marker.trusted("another")
    marker.remove()
    assert marker.clean
    assert marker.trusted("another")


def test_where_boots_cannot_be_told_apart_only_a_clean_end_is_trusted(tmp_path):
    marker = RunMarker(tmp_path)
    marker.set(None)
    assert not marker.trusted(None)
    assert not marker.trusted("one")


def test_linux_names_its_boots():
    assert boot_id() == boot_id() != ""
