"""How other programs are started: what goes in, what comes back, and what may go wrong."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from mlrepro import process
from mlrepro.errors import MlreproError, ProcessError

# As git is started, by posix_spawn, and as what cannot be started so: in another folder, or in a
# limited time.
WAYS = ("here", "elsewhere", "limited")


def _run(way: str, text: str, tmp_path: Path, **how: object) -> tuple[int, bytes]:
    where = {"cwd": os.getcwd() if way == "here" else str(tmp_path)}
    if way == "limited":
        how["timeout"] = 60.0
    return process.run_code([sys.executable, "-c", text], **where, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", WAYS)
def test_much_on_every_stream_at_once(way: str, tmp_path: Path) -> None:
    """More than a pipe holds: none of them waits for another for ever."""
    text = (
        "import sys\n"
        "sys.stderr.write('e' * 300_000); sys.stderr.flush()\n"
        "sys.stdout.write('o' * 300_000); sys.stdout.flush()\n"
        "given = sys.stdin.buffer.read()\n"
        "sys.stdout.buffer.write(given); sys.exit(3)\n"
    )
    for size in (0, 1, 3_000_000):
        code, out = _run(way, text, tmp_path, input=b"i" * size, ok=(3,))
        assert code == 3 and out == b"o" * 300_000 + b"i" * size


@pytest.mark.parametrize("way", WAYS)
def test_what_failed_says_all_of_it(way: str, tmp_path: Path) -> None:
    with pytest.raises(ProcessError) as caught:
        _run(way, "import sys; print('one\\nlast words', file=sys.stderr); sys.exit(7)", tmp_path)
    assert caught.value.returncode == 7 and caught.value.stderr == "one\nlast words\n"
    assert caught.value.argv[0] == sys.executable and caught.value.message.endswith("last words")
    with pytest.raises(ProcessError) as caught:
        _run(way, "import os; os.kill(os.getpid(), 9)", tmp_path)
    assert caught.value.returncode == -9


@pytest.mark.parametrize("way", WAYS)
def test_input_that_nobody_reads_and_environment(way: str, tmp_path: Path) -> None:
    text = "import os; print(os.environ['NEW'], os.environ['HOME'])"
    out = _run(way, text, tmp_path, input=b"x" * 200_000, env={"NEW": "new"})[1]
    assert out.decode() == f"new {os.environ['HOME']}\n"


@pytest.mark.parametrize("way", WAYS)
def test_signals_are_as_programs_expect_them(way: str, tmp_path: Path) -> None:
    """Python ignores SIGPIPE; what it starts would write to a closed pipe for ever."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc here")
    code, out = process.run_code(
        ["sh", "-c", "grep SigIgn /proc/$$/status"],
        cwd=os.getcwd() if way == "here" else str(tmp_path),
        timeout=60.0 if way == "limited" else None,
    )
    assert code == 0
    ignored = int(out.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1)) and not ignored & (1 << (signal.SIGXFSZ - 1))


def test_git_runs_at_the_top_whatever_folder_we_are_in(tmp_path: Path) -> None:
    process.run(["git", "init", "-q", "inner"], cwd=str(tmp_path))
    top = process.run(["git", "rev-parse", "--show-toplevel"], cwd=str(tmp_path / "inner"))
    assert os.fsdecode(top).strip() == str((tmp_path / "inner").resolve())
    with pytest.raises(ProcessError) as caught:
        process.run(["git", "no-such-verb"], cwd=str(tmp_path))
    assert caught.value.argv == ["git", "no-such-verb"] and caught.value.returncode == 1


def test_by_way_of_a_file(tmp_path: Path) -> None:
    process.run(["git", "init", "-q", "."], cwd=str(tmp_path))
    out = process.run(["git", "rev-parse", "--git-dir"], cwd=str(tmp_path), spooled=True)
    assert out == b".git\n"


@pytest.mark.parametrize("program", ["git", "no-such-program"])
def test_a_program_or_a_folder_that_is_not_there(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MlreproError) as caught:
        process.run([program, "status"], cwd=str(tmp_path / "gone"))
    assert caught.value.code == "folder-missing"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MlreproError) as caught:
        process.run([program, "status"], cwd=str(tmp_path))
    assert caught.value.code == "program-missing"


def test_what_is_interrupted_leaves_no_process(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    text = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"

    def interrupt() -> None:
        while not note.exists() or not note.read_text():
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        _run("here", text, tmp_path)
    helper.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_no_file_stays_open(tmp_path: Path) -> None:
    process.run(["git", "--version"], cwd=str(tmp_path))
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        process.run(["git", "--version"], cwd=str(tmp_path), input=b"x")
        with pytest.raises(ProcessError):
            process.run(["git", "no-such-verb"], cwd=str(tmp_path))
    assert len(os.listdir("/dev/fd")) == before


def test_who_has_ended_is_not_ended_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be another's by then."""
    killed: list[int] = []
    started = process.Started([sys.executable, "-c", "print(1)"])
    assert started.ended() == (0, b"1\n", b"")
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(pid))
    started.kill()
    assert killed == []
