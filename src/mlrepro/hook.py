"""The door that git calls: nothing to do is found out at once; the rest is handed on."""

from __future__ import annotations

import gc
import os
import sys

from mlrepro import project as places
from mlrepro.errors import MlreproError

# The hook that git calls has asked ``seal`` before (see ``install``). On the path of a commit that
# has nothing to do with data, but no seal yet, as all that is imported here.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


DRIVER = "merge-pointer"  # not a hook: git's merge driver for pointers
NAMES = ("pre-commit", "pre-push", "post-merge", "post-checkout", "post-rewrite")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve one git hook; returns its exit code, and never lets an exception out."""
    gc.set_threshold(50_000)  # what is here ends soon: looking for garbage in it frees nothing
    args = list(sys.argv[1:] if arguments is None else arguments)
    name = args[0] if args else ""
    if name not in (*NAMES, DRIVER):
        print(f"error: no such hook: {name or '(none)'}", file=sys.stderr)
        print(f"  hint: mlrepro hook {'|'.join(NAMES)}", file=sys.stderr)
        return 2
    if os.environ.get("MLREPRO_NO_HOOKS") and name != DRIVER:
        return 0
    never_fails = name.startswith("post-")
    try:
        return _serve(name, args[1:])
    except MlreproError as error:
        tell(error)
        return 0 if never_fails else error.exit_code
    except KeyboardInterrupt:
        print("interrupted; nothing was lost", file=sys.stderr)
        return 0 if never_fails else 130
    except OSError as error:
        told = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
        print(f"error: {told}", file=sys.stderr)
        return 0 if never_fails else 1
    except Exception as error:
        from mlrepro import crashlog

        place = crashlog.keep(error, ["hook", *args])
        print(f"error: this is a bug in mlrepro; its trace is in {place}", file=sys.stderr)
        if name.startswith("pre-"):
            print(f"  hint: git {name[4:]} --no-verify goes on without the hook", file=sys.stderr)
        return 0 if never_fails else 3
    finally:
        if "mlrepro.glance" in sys.modules:
            from mlrepro import glance

            glance.forget()


def tell(error: MlreproError) -> None:
    """Print an error as every door does: what happened, then what to type."""
    from mlrepro import redaction

    print(redaction.shown(f"error: {error.message}"), file=sys.stderr)
    if error.hint:
        print(redaction.shown(f"  hint: {error.hint}"), file=sys.stderr)


def _serve(name: str, args: list[str]) -> int:
    try:
        project = places.find(os.getcwd(), os.environ)
    except MlreproError as error:
        if name == "pre-commit" or (error.code == "bare-repository" and name != DRIVER):
            return 0  # not a worktree: there is no data here to look after
        raise
    known = os.path.isdir(project.dvc_dir) or os.path.isdir(project.state_dir)
    if not known and name != DRIVER:
        return 0  # it was never set up
    if name == "pre-commit":
        from mlrepro import sealing

        if sealing.nothing_to_do(project):
            return 0
    from mlrepro import hooking

    return hooking.serve(project, name, args)


if __name__ == "__main__":
    sys.exit(main())
