"""What a bug leaves behind: a private log without secrets, and nothing of it on the screen."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fake_commands import Commands
from mlrepro import cli, crashlog, redaction

SECRETS = (
    "postgres://bob:hunter2@db/x s3://key:hunter2@bucket/a?b "
    "password='hunter2 and more' token=hunter2; {'secret_key': \"hunter2\", 'api-key': 'hunter2'} "
    "Authorization: Bearer hunter2 connection_string=DefaultEndpoints;AccountKey=hunter2== "
    "https://x.example/?sig=hunter2&se=1 https://hunter2@github.com/x"
)


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


@pytest.mark.parametrize("flags", [[], ["--json"], ["-v"]])
def test_a_bug(commands: Commands, flags: list[str]) -> None:
    commands.write("push", f"raise RuntimeError({SECRETS!r})")
    line = commands.run("push", *flags)
    assert line.code == 3
    message = line.err.splitlines()[0]
    log = Path(message.rpartition(" ")[2])
    assert log.parent == commands.base / "home/state/mlrepro/log"
    assert message == f"error: mlrepro itself failed: what is known of it is in {log}"
    assert "Traceback" not in line.err
    assert "RuntimeError" not in line.err
    if flags == ["--json"]:
        assert line.envelope["exit_code"] == 3
        assert line.envelope["errors"][0]["code"] == "internal"
        assert line.envelope["data"] == {}
    else:
        assert line.out == ""
    text = log.read_text()
    assert "Traceback" in text
    assert "RuntimeError" in text
    assert "hunter2" not in text
    assert f"command: {['push', *flags]}" in text
    assert (log.stat().st_mode & 0o777, log.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize(
    "body",
    [
        "raise SystemExit(0)",
        "raise FileNotFoundError(2, 'No such file or directory', 'a')",
        "raise MemoryError",
        "return None",
        "return Fake(json=(('stored', object()),), fields=())",
        "import no_such_module",
    ],
)
def test_whatever_a_command_does_wrong(commands: Commands, body: str) -> None:
    commands.write("push", body)
    line = commands.run("push", "--json")
    assert (line.code, line.envelope["exit_code"]) == (3, 3)
    assert line.envelope["errors"][0]["code"] == "internal"


def test_a_bug_where_the_log_has_no_place(commands: Commands) -> None:
    commands.write("push", "raise RuntimeError")
    blocked, spare = commands.base / "a-file", commands.base / "spare"
    blocked.touch()
    spare.mkdir()
    env = commands.environ(XDG_STATE_HOME=str(blocked), TMPDIR=str(spare))
    line = commands.run("push", env=env)
    (log,) = spare.iterdir()
    assert line.code == 3
    assert str(log) in line.err
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_bug_in_the_door_itself(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setenv("XDG_STATE_HOME", str(commands.base / "state"))
    monkeypatch.chdir(commands.repo)
    monkeypatch.setattr(cli, "find", fail)
    assert cli.main(["push"]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "ZeroDivisionError" not in shown.err
    (log,) = (commands.base / "state/mlrepro/log").iterdir()
    assert "ZeroDivisionError" in log.read_text()


def test_a_secret_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    line = ["remote", "set", "s3://me:hunter2@b", "--password", "hunter2", "--token=hunter2"]
    text = Path(crashlog.keep(ValueError("x"), line)).read_text()
    assert "hunter2" not in text
    assert "command: ['remote', 'set', 's3://***@b', '--password', '***', '--token=***" in text


def test_a_relative_state_home_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    first = crashlog.keep(ValueError("x"), [])
    assert re.match(re.escape(f"{tmp_path}/.local/state/mlrepro/log/") + r"20\d\d-", first)
    assert crashlog.keep(ValueError("x"), []) != first
    assert os.listdir(tmp_path) == [".local"]


def test_ordinary_text_is_left_alone() -> None:
    text = "data/x.csv: 12 rows at https://example.org/a?b=c, see passed: 3, compass = 4"
    assert redaction.redact(text) == text
    assert len(redaction.redact("a." * 200_000 + "://" * 1000)) > 400_000
