"""What setting up adds to files of the user's: lines are added, never changed."""

from __future__ import annotations

import re

# `make` may run where the PATH is bare: `init` leaves the interpreter's place in git's configuration.
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
    if re.search(r"^dvc\s*:(?!=)", text, re.MULTILINE):
        if "mlrepro" in text:
            return text, ""
        return text, "Makefile has a target dvc of its own: let it run `mlrepro track`"
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    return text + gap + MAKE_TARGET, ""


def pre_commit_config(text: str) -> tuple[str, str]:
    """A ``.pre-commit-config.yaml`` with the entry ``dvc``; as ``makefile``."""
    if re.search(r"^\s*(- )?id:\s*['\"]?(dvc|mlrepro-pre-commit)['\"]?\s*(#.*)?$", text, re.MULTILINE):
        return text, ""
    if not text.strip():
        return "repos:\n" + _indented(ENTRY, 2), ""
    advice = "add to the list repos: in .pre-commit-config.yaml:\n" + ENTRY
    keys = [
        (match.group(1), match.end(), match.group(2).strip())
        for match in re.finditer(r"^([A-Za-z_]+):(.*)$", text, re.MULTILINE)
    ]
    if not keys or keys[-1][0] != "repos":
        return text, advice
    _, end, rest = keys[-1]
    if rest == "[]":
        return text[: end - 2].rstrip() + "\n" + _indented(ENTRY, 2), ""
    first = re.search(r"^( *)- ", text[end:], re.MULTILINE)
    if (rest and not rest.startswith("#")) or first is None:
        return text, advice
    return text.rstrip("\n") + "\n" + _indented(ENTRY, len(first.group(1))), ""


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
