"""What a check of the set-up found, and what would mend it."""

from __future__ import annotations

from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that would make a commit unrestorable, or somebody wait.

    ``mend``: does what is safe to do about it without asking, where there is such a thing.
    ``after``: what is left for a person to do then.
    """

    code: str
    message: str
    hint: str
    path: str = ""
    mend: Callable[[], object] | None = None
    after: str = ""

    @property
    def fixable(self) -> bool:
        """Whether ``mlrepro doctor --fix`` mends it."""
        return self.mend is not None

    def data(self) -> dict[str, object]:
        """The finding as the JSON envelope carries it."""
        about = {"code": self.code, "message": self.message, "hint": self.hint, "path": self.path}
        return {**about, "fixable": self.fixable}

    def error(self) -> MlreproError:
        """The finding as the error that it is where nothing is done about it."""
        hint = self.hint
        if self.fixable:
            hint = f"mlrepro doctor --fix; {self.after}" if self.after else "mlrepro doctor --fix"
        return MlreproError(self.message, hint, self.code, path=self.path)


def of(error: MlreproError) -> Finding:
    """The finding that an error comes to."""
    return Finding(error.code, error.message, error.hint, error.path)
