"""What DVC does otherwise while it is called from here; each is undone afterwards."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlrepro import writing
from mlrepro.dvc import bounds
from mlrepro.errors import PathError, StoreError

_ASKING = ("dvc.prompt", "dvc_http", "dvc_ssh.client", "dvc_webdav")  # hold a getpass of their own
_RULES_SECONDS, _RULE_SECONDS = 2.0, 0.001  # for all rules, and besides for each file
_MAX_YAML = 1 << 22  # characters of a file that DVC may parse


@contextmanager
def quiet() -> Iterator[None]:
    """No spinner, and no thread that watches over progress bars: the reporter shows progress."""
    from dvc.ui import ui
    from rich.console import Console
    from tqdm import tqdm  # type: ignore[import-untyped]

    interval, consoles = tqdm.monitor_interval, dict(ui.__dict__)
    tqdm.monitor_interval = 0
    silent = Console(file=io.StringIO())
    ui.__dict__.update(error_console=silent, rich_console=silent)
    try:
        yield
    finally:
        tqdm.monitor_interval = interval
        for name in ("error_console", "rich_console"):
            ui.__dict__.pop(name)
        ui.__dict__.update(consoles)


@contextmanager
def without_prompts() -> Iterator[None]:
    """Nobody is asked for a password or a consent: a hook may have a terminal, and no one at it."""
    import getpass

    from dvc import prompt

    original, ask = getpass.getpass, prompt.ask

    def refuse(*_: Any, **__: Any) -> str:
        raise StoreError(
            "The store asks for a password, and nobody is asked here.",
            "dvc remote modify --local NAME password SECRET, or use a key or an agent",
            code="remote-asks",
        )

    def put(function: Any) -> None:
        getpass.getpass = function
        for module in map(sys.modules.get, _ASKING):
            if module is not None:
                module.getpass = function  # type: ignore[attr-defined]

    put(refuse)
    prompt.ask = lambda *_, **__: None
    try:
        yield
    finally:
        put(original)
        prompt.ask = ask


@contextmanager
def whole_files() -> Iterator[None]:
    """Let DVC write pointers beside and rename them.

    By itself it truncates them first, and a pointer that is empty because of a kill is valid to it.
    """
    from dvc.utils.serialize import _common, _yaml

    original = _common._dump_data

    def dump(path: Any, data: Any, dumper: Any, fs: Any = None, **options: Any) -> None:
        if fs is not None and getattr(fs, "protocol", "") != "local":
            original(path, data, dumper=dumper, fs=fs, **options)
            return
        text = io.StringIO()
        dumper(data, text, **options)
        writing.write_atomic(os.fspath(path), text.getvalue().encode())

    _common._dump_data = _yaml._dump_data = dump
    try:
        yield
    finally:
        _common._dump_data = _yaml._dump_data = original


@contextmanager
def bounded_rules() -> Iterator[None]:
    """Let no rule of a ``.dvcignore`` keep DVC busy: some take longer than anyone lives.

    Measured is the time of the processor, so that a busy machine is not taken for a slow rule. Only
    the main thread can be interrupted; no other one asks for rules.
    """
    from dvc.ignore import DvcIgnorePatterns

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    original: Any = DvcIgnorePatterns.matches
    spent = _RULES_SECONDS

    def stop(*_: Any) -> None:
        raise PathError(
            "A rule in .dvcignore takes too long to apply: it has too many stars.",
            "write it with fewer stars",
            code="ignore-file-invalid",
            path=".dvcignore",
        )

    def matches(*given: Any, **named: Any) -> Any:
        nonlocal spent
        signal.setitimer(signal.ITIMER_VIRTUAL, max(spent, 0.001))
        try:
            return original(*given, **named)
        finally:
            left, _ = signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            spent = max(left, 0.001) + _RULE_SECONDS

    before = signal.signal(signal.SIGVTALRM, stop)
    DvcIgnorePatterns.matches = matches
    try:
        yield
    finally:
        DvcIgnorePatterns.matches = original
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def bounded_yaml() -> Iterator[None]:
    """Let DVC parse no YAML that would hang it; it then names the file as damaged."""
    from dvc.utils import strictyaml
    from dvc.utils.serialize import YAMLFileCorruptedError

    original = strictyaml.parse_yaml

    def parse(text: Any, path: Any, *options: Any, **named: Any) -> Any:
        if bounds.problem_of(text, _MAX_YAML):
            raise YAMLFileCorruptedError(path)
        return original(text, path, *options, **named)

    strictyaml.parse_yaml = parse
    try:
        yield
    finally:
        strictyaml.parse_yaml = original
