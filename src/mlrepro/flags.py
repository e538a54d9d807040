"""The flags that hold for every verb, given before it or after it, as Typer is told of them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrepro import __version__
from mlrepro.call import Call, Flags
from mlrepro.dataclass import fields, replace

if TYPE_CHECKING:
    from collections.abc import Callable


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mlrepro {__version__}")
        raise typer.Exit


def _global_parameters(*, writes: bool, on_group: bool) -> list[inspect.Parameter]:
    """The global flags, as Typer reads them from a signature.

    Every verb takes all of them, so that nobody has to remember which; the help of a verb that
    writes nothing leaves out those that only matter to one that does.
    """
    option = typer.Option
    version = option(
        "--version",
        callback=_print_version,
        is_eager=True,
        expose_value=False,
        hidden=not on_group,
        help="Print the version.",
    )
    jobs_help = "Transfers or hashes at once; 0: as fits the machine."
    dry_help = "Say what would be done; change nothing."
    directory = option(
        "-C", metavar="DIR", parser=str, help="As if started in DIR.", show_default=False
    )
    jobs = option("--jobs", "-j", metavar="N", min=0, help=jobs_help, show_default=False)
    declared: list[tuple[str, Any, Any, Any]] = [
        ("json", bool, False, option("--json", help="Print one JSON object, whatever happens.")),
        ("quiet", bool, False, option("--quiet", "-q", help="Say only what failed.")),
        ("verbose", bool, False, option("--verbose", "-v", help="Say each step.")),
        ("directory", str, "", directory),
        ("jobs", int, 0, jobs),
        ("dry_run", bool, False, option("--dry-run", help=dry_help, hidden=not writes)),
        ("yes", bool, False, option("--yes", "-y", help="Ask nothing: yes.", hidden=not writes)),
        ("version", bool, False, version),
    ]
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind, option],
        )
        for name, kind, default, option in declared
    ]


def _seen_by_typer(
    function: Callable[..., Any], own: list[inspect.Parameter], shared: list[inspect.Parameter]
) -> None:
    """Give ``function`` the signature that Typer is to build its options from."""
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    signature = inspect.Signature([context, *own, *shared])
    function.__signature__ = signature  # type: ignore[attr-defined]
    # Older versions of Typer take the annotations from here instead.
    function.__annotations__ = {
        name: parameter.annotation for name, parameter in signature.parameters.items()
    }


def _flags_in(values: dict[str, Any]) -> Flags:
    return Flags(**{one.name: values[one.name] for one in fields(Flags)})


def with_flags(function: Callable[..., Call], *, writes: bool) -> Callable[..., Call]:
    """``function`` with the global flags beside its own, and its Call completed with them."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())

    def verb(ctx: typer.Context, **values: Any) -> Call:
        before = ctx.obj if isinstance(ctx.obj, Flags) else Flags()
        flags = before.joined(_flags_in(values))
        call = function(**{parameter.name: values[parameter.name] for parameter in own})
        return replace(call, flags=flags)

    verb.__name__ = function.__name__
    verb.__doc__ = function.__doc__
    _seen_by_typer(verb, own, _global_parameters(writes=writes, on_group=False))
    return verb


def group_callback(doc: str) -> Callable[..., None]:
    """What Typer calls before any verb: keeps the flags given before it where the verb looks."""

    def keep(ctx: typer.Context, **values: Any) -> None:
        ctx.obj = _flags_in(values)

    keep.__doc__ = doc
    _seen_by_typer(keep, [], _global_parameters(writes=True, on_group=True))
    return keep
