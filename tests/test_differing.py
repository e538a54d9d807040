"""Long sorted lists of paths gone through together: what is found is what each by itself tells."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from mlrepro import folder, legacy, placement, pointer, safepath, walking
from mlrepro.errors import PointerError

# Names that sort differently alone and as a folder of a longer path: "/" is between "." and "0".
parts = st.sampled_from(["a", "b", "a.txt", "a-b", "a0", "aa"])
paths = st.lists(parts, min_size=1, max_size=4).map("/".join)
oids = st.sampled_from(["1" * 32, "2" * 32, "3" * 32])


@settings(max_examples=400)
@given(st.lists(paths, max_size=6), st.booleans())
def test_a_path_that_lies_in_another_is_seen(some: list[str], ordered: bool) -> None:
    some = sorted(some) if ordered else some
    apart = not any(
        at != other and (f"{two}/").startswith(f"{one}/")
        for at, one in enumerate(some)
        for other, two in enumerate(some)
    )
    try:
        safepath.check_paths(some)
    except PointerError:
        assert not apart
    else:
        assert apart


def test_deep_paths_are_not_taken_apart_without_end() -> None:
    """Their folders' names are many times as long as they are: then they are sorted instead."""
    deep = sorted(f"{at}/{'x/' * 1000}y" for at in range(100))
    assert not safepath._surely_apart(deep)
    safepath.check_paths(deep)


@settings(max_examples=200)
@given(
    st.dictionaries(paths, oids, max_size=6),
    st.dictionaries(paths, oids | st.just("0" * 32), max_size=6),
    st.randoms(),
)
def test_a_folder_and_its_listing_are_compared(
    wanted: dict[str, str], here: dict[str, str], chance: object
) -> None:
    found = walking.Walk()
    found.names = sorted(here)
    digits = bytes.fromhex("".join(here[name] for name in found.names))
    tree = folder.Tree("data", "", found, digits, 1)
    listed, names = pointer.Members(), list(wanted)
    chance.shuffle(names)  # type: ignore[attr-defined]
    for order in (sorted(wanted), names):
        listed = pointer.Members()
        listed.add(order, [wanted[name] for name in order])
        to_be, now, left_out = placement._differing(listed, tree)
        members = tree.members()
        assert to_be == {name: oid for name, oid in wanted.items() if here.get(name) != oid}
        assert now == {name: oid for name, oid in members.items() if wanted.get(name) != oid}
        assert left_out == {
            name: legacy.other(wanted[name])
            for name, oid in here.items()
            if oid == "0" * 32 and name in wanted
        }
