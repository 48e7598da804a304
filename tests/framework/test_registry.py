"""Registries: names, places, and what may not be registered."""

from __future__ import annotations

import importlib.util
import re
import types
from pathlib import Path

import pytest

from framework.errors import PluginError
from framework.registry import Registry, registries, registry_of

pytestmark = pytest.mark.usefixtures("own_registries")


class Animal:
    """What is registered here."""


@pytest.fixture
def animals() -> Registry[Animal]:
    return Registry("animal", Animal, context=("zoo",))


def load(file: Path, animals: Registry[Animal], name: str = "zoo_file") -> types.ModuleType:
    """Run a file that registers animals."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__dict__.update(Animal=Animal, animals=animals)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, name: str, *, before: str = "", cls: str = "Cat") -> Path:
    file = folder / name
    file.write_text(f"{before}@animals.register('cat')\ndef {cls.lower()}() -> Animal:\n    return Animal()\n")
    return file


def test_an_entry_knows_its_file_and_line(animals: Registry[Animal]) -> None:
    @animals.register("dog")
    class Dog(Animal):
        pass

    entry = animals["dog"]
    assert (entry.kind, entry.name, entry.factory) == ("animal", "dog", Dog)
    assert entry.place == f"{__file__}:{entry.line}"
    assert Path(__file__).read_text().splitlines()[entry.line - 1].strip() == '@animals.register("dog")'


def test_names_are_in_alphabetical_order(animals: Registry[Animal]) -> None:
    for name in ("wolf", "ant", "dog"):
        animals.register(name)(type(name, (Animal,), {}))
    assert animals.names() == ["ant", "dog", "wolf"]
    assert [entry.name for entry in animals] == ["ant", "dog", "wolf"]
    assert "dog" in animals
    assert "cow" not in animals


def test_a_part_is_known_by_its_registered_name_or_by_its_class(animals: Registry[Animal]) -> None:
    class Dog(Animal):
        pass

    assert animals.name_of(Dog()) == "Dog"
    animals.register("dog")(Dog)
    assert animals.name_of(Dog()) == "dog"


def test_two_parts_of_one_name_are_refused_and_both_places_named(animals: Registry[Animal], tmp_path: Path) -> None:
    one, two = write(tmp_path, "one.py"), write(tmp_path, "two.py", before="\n\n")
    load(one, animals)
    message = f"two animals are called 'cat': one at {one}:1, one at {two}:3. Rename one of them."
    with pytest.raises(PluginError, match=f"^{re.escape(message)}$"):
        load(two, animals)
    assert animals["cat"].file == str(one), "the first one stays"


def test_two_parts_of_one_name_in_one_file_are_refused(animals: Registry[Animal], tmp_path: Path) -> None:
    file = write(tmp_path, "one.py")
    file.write_text(file.read_text() + "\n\n" + file.read_text().replace("def cat", "def lion"))
    with pytest.raises(PluginError, match=rf"one at {re.escape(str(file))}:1, one at {re.escape(str(file))}:6\."):
        load(file, animals)


def test_a_file_that_is_loaded_again_clashes_with_nothing(animals: Registry[Animal], tmp_path: Path) -> None:
    file = write(tmp_path, "one.py")
    load(file, animals, "first_name")
    again = load(file, animals, "second_name")
    assert animals["cat"].factory is again.cat


def test_one_name_may_be_of_several_kinds(animals: Registry[Animal]) -> None:
    class Plant:
        pass

    plants = Registry("plant", Plant)
    animals.register("thing")(type("Cat", (Animal,), {}))
    plants.register("thing")(type("Rose", (Plant,), {}))
    assert animals["thing"].factory is not plants["thing"].factory


def test_a_class_that_is_none_of_the_kind_is_refused(animals: Registry[Animal]) -> None:
    with pytest.raises(PluginError) as caught:

        @animals.register("rose")
        class Rose:
            pass

    assert re.fullmatch(
        rf"{re.escape(__file__)}:\d+: Rose is registered as an animal and is not one\. Expected a subclass of Animal\.",
        str(caught.value),
    )
    assert "rose" not in animals


def test_all_bases_of_a_kind_are_named() -> None:
    class Plant:
        pass

    living = Registry("living", Animal, Plant)
    living.register("rose")(type("Rose", (Plant,), {}))
    with pytest.raises(PluginError, match="Expected a subclass of Animal or Plant"):
        living.register("stone")(type("Stone", (), {}))


def test_the_registry_of_an_annotation_is_that_of_its_first_base(animals: Registry[Animal]) -> None:
    assert registry_of(Animal) is animals
    assert registry_of(type("Cat", (Animal,), {})) is None
    assert registry_of(int) is None
    assert registries()["animal"] is animals
