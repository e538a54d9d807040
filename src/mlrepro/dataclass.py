"""Data classes as in the standard library, but free of charge until they are used often."""

from __future__ import annotations

# `import dataclasses` takes 15 ms, most of it for `inspect`, and each class half a millisecond, for
# six methods that are written as text and compiled. A commit that saves one file, or a `status`,
# would spend a third of its time on that. Here nothing is compiled until a class has been made use
# of so often that it pays, and then one method: a first `__init__` goes through the fields.
# For whoever reads and for mypy these are the names of `dataclasses`, with the part of their
# meaning that is used here: order, init=False, InitVar and __post_init__ are not.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import (
        dataclass as dataclass,
        field as field,
        fields as fields,
        replace as replace,
    )
else:
    WORTH_COMPILING = 32  # instances of one class
    _MISSING = object()
    _set = object.__setattr__

    class Field:
        """What is known of one field: its name, where its default comes from, what looks at it."""

        __slots__ = ("compare", "default", "default_factory", "kw_only", "name", "repr")

        def __init__(self, default, default_factory=_MISSING, **options):
            self.name, self.default, self.default_factory = "", default, default_factory
            self.compare = options.pop("compare", True)
            self.repr = options.pop("repr", True)
            self.kw_only = options.pop("kw_only", False)
            if options:
                raise TypeError(f"not known here: {', '.join(options)}")

        def value(self, owner):
            """The default; raises TypeError where there is none."""
            if self.default is not _MISSING:
                return self.default
            if self.default_factory is _MISSING:
                raise TypeError(f"{owner.__name__}() needs an argument: {self.name!r}")
            return self.default_factory()

    def field(*, default=_MISSING, default_factory=_MISSING, **options):
        """A field with a default made anew each time, or with compare, repr or kw_only."""
        return Field(default, default_factory, **options)

    def fields(of):
        """The fields of a data class or of an instance, in order."""
        return tuple(of.__data_fields__.values())

    def replace(instance, /, **changes):
        """Another instance, with some fields changed."""
        values = {name: getattr(instance, name) for name in instance.__data_fields__}
        return type(instance)(**(values | changes))

    def dataclass(cls=None, /, *, frozen=False, slots=False):
        """Give a class the constructor, comparison and text that its annotated fields ask for."""
        if cls is None:
            return lambda cls: _finished(cls, frozen, slots)
        return _finished(cls, frozen, slots)

    def _finished(cls, frozen, slots):
        found = {}
        for base in reversed(cls.__mro__[1:]):
            found.update(base.__dict__.get("__data_fields__", {}))
        own = {}
        for name, kind in cls.__dict__.get("__annotations__", {}).items():  # noqa: RUF063
            if str(kind).startswith("ClassVar"):
                continue
            default = cls.__dict__.get(name, _MISSING)
            own[name] = default if isinstance(default, Field) else Field(default)
            own[name].name = name
            if isinstance(default, Field):
                if default.default is _MISSING:
                    delattr(cls, name)
                else:
                    setattr(cls, name, default.default)
        found.update(own)
        body = {"__data_fields__": found, "__match_args__": tuple(_in_place(found)), "__eq__": _eq,
                "__init__": _first_init(found, frozen), "__repr__": _repr}  # fmt: skip
        body["__hash__"] = _hash if frozen else None
        if frozen:
            body["__setattr__"] = body["__delattr__"] = _refuse
        # What the class itself has stays; a None is what Python puts there for a missing hash.
        body = {name: value for name, value in body.items() if cls.__dict__.get(name) is None}
        if not slots:
            for name, value in body.items():
                setattr(cls, name, value)
            return cls
        inherited = {name for base in cls.__mro__[1:] for name in getattr(base, "__slots__", ())}
        kept = {name: value for name, value in cls.__dict__.items()
                if name not in own and name not in ("__dict__", "__weakref__")}  # fmt: skip
        kept["__slots__"] = tuple(name for name in own if name not in inherited)
        made = type(cls)(cls.__name__, cls.__bases__, {**kept, **body})
        made.__qualname__ = cls.__qualname__
        return made

    def _in_place(found):
        """The fields that a constructor takes by their place."""
        return {name: one for name, one in found.items() if not one.kw_only}

    def _first_init(found, frozen):
        """A constructor that needs no compiling; the class gets its own when that pays."""
        count, placed = 0, _in_place(found)

        def __init__(self, *args, **given):  # noqa: N807
            nonlocal count
            count += 1
            if count > WORTH_COMPILING:
                for owner in type(self).__mro__:  # none, where another thread was first
                    if owner.__dict__.get("__init__") is __init__:
                        owner.__init__ = _compiled(found, frozen)
            cls = type(self)
            if len(args) > len(placed):
                raise TypeError(f"{cls.__name__}() takes {len(placed)} arguments, not {len(args)}")
            done = dict(zip(placed, args, strict=False))
            for name, value in done.items():
                if name in given:
                    raise TypeError(f"{cls.__name__}() has two values for {name!r}")
                _set(self, name, value)
            for name, one in found.items():
                if name not in done:
                    _set(self, name, given.pop(name) if name in given else one.value(cls))
            if given:
                raise TypeError(f"{cls.__name__}() has no field {next(iter(given))!r}")

        return __init__

    def _compiled(found, frozen):
        """The constructor as one would write it by hand."""
        known, head, body = {"_set": _set, "_MISSING": _MISSING}, ["self"], []
        placed = _in_place(found)
        for name, one in (placed | found).items():
            if name not in placed and "*" not in head:
                head.append("*")
            value = name
            if one.default is not _MISSING:
                known[f"_d_{name}"] = one.default
                head.append(f"{name}=_d_{name}")
            elif one.default_factory is not _MISSING:
                known[f"_f_{name}"] = one.default_factory
                head.append(f"{name}=_MISSING")
                value = f"_f_{name}() if {name} is _MISSING else {name}"
            else:
                head.append(name)
            body.append(
                f"    _set(self, {name!r}, {value})" if frozen else f"    self.{name} = {value}"
            )
        text = f"def __init__({', '.join(head)}):\n" + "\n".join(body or ["    pass"])
        exec(text, known)  # noqa: S102  only names of our own fields are in it
        return known["__init__"]

    def _values(self):
        return tuple(getattr(self, one.name) for one in fields(self) if one.compare)

    def _repr(self):
        told = ", ".join(
            f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr
        )
        return f"{type(self).__qualname__}({told})"

    def _eq(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return _values(self) == _values(other)

    def _hash(self):
        return hash(_values(self))

    def _refuse(self, name, *_):
        raise AttributeError(f"cannot change {name!r}: {type(self).__name__} is frozen")
