from __future__ import annotations

import collections
import enum
import io
import itertools
import random
import types
from typing import Any

import numpy as np
import pytest
import torch

from framework.object_state import NotCapturable, Reader, Writer


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


Point = collections.namedtuple("Point", ["x", "y"])


class Slotted:
    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = [1]


class Thing:
    """What holds whatever a test puts in."""

    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def moved(one: Any, other: Any) -> Any:
    return Reader().read(through_a_file(Writer().write(one, "one")), other, "other")


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, -3, 2**200, -(2**63), 0.1, float("inf"), "ü", (1, (2.5, "x")), [1, [2]], {1: "a", "b": [3]}),
        *({1, 2}, frozenset({"a"}), collections.deque([1, 2], maxlen=3), Colour.BLUE, Point(1, [2])),
        {(1, 2): {"nested": (3,)}},
    ],
)
def test_plain_values_come_back(value: Any) -> None:
    # What stands there already is of the same kind, but with another content.
    old = {Colour: Colour.RED, Point: Point(5, [6]), collections.deque: collections.deque([9], maxlen=3)}
    found = moved(Thing(held=value), Thing(held=old.get(type(value)))).held
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.array(["left", "right"]),
        np.array([b"S", b"F"]),
        np.array([True, False]),
        np.array([2**64 - 1], dtype=np.uint64),
        np.array([1, 2], dtype=">i4"),
        np.zeros((0, 3)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([[None, np.arange(2)]], dtype=object),
        np.float32(0.1),
        np.int64(-5),
        np.bool_(True),
    ],
)
def test_arrays_come_back_bit_for_bit(array: Any) -> None:
    found = moved(Thing(held=array), Thing(held=None)).held
    assert type(found) is type(array)
    assert found.dtype == array.dtype
    assert np.shape(found) == np.shape(array)
    if array.dtype == object:
        np.testing.assert_array_equal(found[0, 1], array[0, 1])
    else:
        assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
@pytest.mark.parametrize("there", [True, False])
def test_generators_go_on(kind: Any, there: bool) -> None:
    one = Thing(held=np.random.Generator(kind(1)))
    one.held.integers(10, dtype=np.int32)  # half of a 64-bit number: the other half is waiting
    other = moved(one, Thing(held=np.random.Generator(kind(2)) if there else None))
    assert (
        one.held.integers(2**31, size=9, dtype=np.int32).tolist()
        == other.held.integers(2**31, size=9, dtype=np.int32).tolist()
    )


def test_other_sources_of_random_numbers_go_on() -> None:
    one = Thing(a=random.Random(1), b=np.random.RandomState(1), c=torch.Generator().manual_seed(1))
    one.b.standard_normal()  # it keeps another one for the next time
    other = moved(one, Thing(a=random.Random(2), b=None, c=torch.Generator()))
    assert one.a.random() == other.a.random()
    assert one.b.standard_normal() == other.b.standard_normal()
    assert torch.rand((), generator=one.c) == torch.rand((), generator=other.c)


def test_two_names_of_one_object_stay_that() -> None:
    generator = np.random.default_rng(0)
    one = Thing(a=generator, b=Thing(c=generator, d=[generator]))
    apart = Thing(a=np.random.default_rng(1), b=Thing(c=np.random.default_rng(2), d=[]))
    found = moved(one, apart)
    assert found.a is found.b.c is found.b.d[0]


def test_two_objects_do_not_become_one() -> None:
    shared = np.zeros(2)
    found = moved(Thing(a=np.array([1.0, 2.0]), b=np.array([3.0, 4.0])), Thing(a=shared, b=shared))
    assert (found.a.tolist(), found.b.tolist()) == ([1.0, 2.0], [3.0, 4.0])


def test_an_object_may_hold_itself() -> None:
    one = Thing(number=1)
    one.me, one.list = one, [one]
    other = Thing(number=2)
    other.me, other.list = None, []
    found = moved(one, other)
    assert found is found.me is found.list[0] is other
    assert found.number == 1


def test_objects_are_changed_in_place_and_views_with_them() -> None:
    frames = np.zeros(4)
    other = Thing(frames=frames, last=frames[-1:], gone=5)
    now = np.arange(4.0)
    found = moved(Thing(frames=now, last=now[-1:]), other)
    assert found is other
    assert found.frames is frames
    frames[-1] = 7
    assert found.last.tolist() == [7.0]
    assert not hasattr(found, "gone")


def test_what_is_the_same_everywhere_is_left_alone() -> None:
    here, there = (lambda: 1), (lambda: 2)
    spent = (i for i in ())
    list(spent)
    found = moved(Thing(f=here, g=spent, metadata={"a": 1}), Thing(f=there, g=None, metadata={"a": 2}))
    assert found.f is there
    assert found.metadata == {"a": 2}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (itertools.count(), "one.held[0]: the state of a count is out of reach"),
        ((i for i in range(3)), "one.held[0]: the state of a generator is out of reach"),
        (Slotted(), "one.held[0]: the state of a Slotted is out of reach"),
        (io.BytesIO(), "one.held[0]: the state of a BytesIO is out of reach"),
        (
            np.zeros(1, dtype=[("a", object)]),
            "one.held[0]: the fields of an array of [('a', 'O')] hold objects",
        ),
    ],
)
def test_what_is_out_of_reach_is_named(value: Any, message: str) -> None:
    with pytest.raises(NotCapturable) as caught:
        Writer().write(Thing(held=[value]), "one")
    assert str(caught.value) == message


MADE = "it is made otherwise than what was captured"


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (Thing(a=Thing(b=1)), Thing(a=None), f"other.a: expected an object, as there was, found None; {MADE}"),
        (Thing(a=Colour.RED), Thing(a=None), f"other.a: expected a member of an enumeration, found None; {MADE}"),
        (Thing(a=print), Thing(), f"other.a: expected what was there, found None; {MADE}"),
    ],
)
def test_what_is_made_otherwise_is_named(one: Thing, other: Thing, message: str) -> None:
    with pytest.raises(NotCapturable) as caught:
        moved(one, other)
    assert str(caught.value) == message


def test_what_cannot_be_put_back_is_named() -> None:
    class Fixed(types.SimpleNamespace):
        @property
        def a(self) -> int:
            return 0

    one, other = Fixed(), Fixed()
    one.__dict__["a"] = 3
    with pytest.raises(NotCapturable, match=r"^other\.held\.a: it cannot be put back \("):
        moved(Thing(held=one), Thing(held=other))
