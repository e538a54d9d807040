"""What setting up adds to files of the user's: lines are added, never changed."""

from __future__ import annotations

import re

# `make` may run where the PATH is bare: `init` leaves the interpreter's place in git's config.
MAKE_TARGET = """\
.PHONY: dvc
dvc: ## store tracked data, refresh and stage its pointers
\t@if command -v mlrepro >/dev/null; then mlrepro track; \
\telse "$$(git config mlrepro.python)" -m mlrepro track; fi
"""

ENTRY = """\
- repo: local
  hooks:
    - id: dvc
      name: dvc
      entry: make dvc
      language: system
      pass_filenames: false
      always_run: true
"""


def makefile(text: str) -> tuple[str, str]:
    """A Makefile with a target ``dvc``: (the new text, what to tell the user; "" for nothing)."""
    if re.search(r"^(?:[^\s:#=][^:#=\n]*\s)?dvc(?:\s[^:#=\n]*)?:(?!:?=)", text, re.MULTILINE):
        if "mlrepro" in text:
            return text, ""
        return text, "Makefile has a target dvc of its own: let it run `mlrepro track`"
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    return text + gap + MAKE_TARGET, ""


def pre_commit_config(text: str) -> tuple[str, str]:
    """A ``.pre-commit-config.yaml`` with the entry ``dvc``; as ``makefile``."""
    ours = r"^\s*(- +)?id:\s*['\"]?(dvc|mlrepro-pre-commit)['\"]?\s*(#.*)?$"
    if re.search(ours, text, re.MULTILINE):
        return text, ""
    if not text.strip():
        return "repos:\n" + _indented(ENTRY, 2), ""
    advice = "add to the list repos: in .pre-commit-config.yaml:\n" + ENTRY
    keys = list(re.finditer(r"^([A-Za-z_]+):(.*)$", text, re.MULTILINE))
    at = next((place for place, key in enumerate(keys) if key[1] == "repos"), -1)
    if at < 0 or re.search(r"^(---|\.\.\.)", text[keys[0].start() :], re.MULTILINE):
        return text, advice
    start, rest = keys[at].end(), keys[at][2].strip()
    end = keys[at + 1].start() if at + 1 < len(keys) else len(text)
    if rest == "[]" and not text[start:end].strip():
        return f"{text[: keys[at].start()]}repos:\n{_indented(ENTRY, 2)}{text[start:].lstrip()}", ""
    first = re.search(r"^( *)- ", text[start:end], re.MULTILINE)
    if (rest and not rest.startswith("#")) or first is None:
        return text, advice
    # Behind the last line of the list; comments at the margin belong to what follows.
    *_, last = re.finditer(r"^[^#\r\n].*$", text[start:end], re.MULTILINE)
    newline = "\r\n" if "\r\n" in text else "\n"
    entry = _indented(ENTRY, len(first.group(1))).replace("\n", newline)
    at = start + last.end()
    head, tail = text[:at].rstrip("\r"), text[at:].lstrip("\r")
    return f"{head}{newline}{entry}{tail.removeprefix(chr(10))}", ""


def _indented(block: str, width: int) -> str:
    return "".join(" " * width + line for line in block.splitlines(keepends=True))


def requirements(text: str, version: str) -> str:
    """A ``requirements.txt`` that asks for the DVC in use, where it does not ask for any."""
    if re.search(r"^\s*dvc\s*(\[|[=<>!~;@]|$|#)", text, re.MULTILINE | re.IGNORECASE):
        return text
    gap = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{gap}dvc=={version}\n"


def attributes(text: str, line: str) -> str:
    """A ``.gitattributes`` that holds ``line``."""
    if line in text.splitlines():
        return text
    gap = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{gap}{line}\n"
