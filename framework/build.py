"""From a checked recipe to objects; the only caller of the constructors that the registries hold."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from gymnasium.spaces import Box, Space

from framework.data import Data, Dataset, Facts
from framework.divergence import Term
from framework.environment import Environment
from framework.errors import IncompatibleParts, OptionError, Problem, RecipeError
from framework.learner import Contexts, ExampleLearner, Learner
from framework.options import REQUIRED, Option, alternatives, is_deferred, options_of
from framework.randomness import rekey
from framework.schema import Part, Recipe, Weighted
from framework.trainer import Trainer
from framework.trunk import Trunk

_BAD: Any = object()  # stands for a part whose problem is reported already


@dataclass(frozen=True)
class Built:
    """The objects of a recipe, except the loaded data."""

    learner: Learner
    trainer: Trainer
    facts: Facts | None


def build_data(recipe: Recipe, data_directory: Path) -> Data | None:
    """Build the recipe's data set; nothing is read yet. None where the learner takes no examples.

    Raises:
        RecipeError: an option's value is refused.
    """
    if recipe.data is None:
        return None
    builder = _Builder(recipe)
    built = builder.part(recipe.data, {"data_directory": data_directory})
    builder.finish()
    data: Data = built
    return data


def build(recipe: Recipe, data: Data | None, dataset: Dataset | None = None) -> Built:
    """Build the learner and all its parts, in the order of its constructor, and then the learner.

    Args:
        recipe: a checked recipe.
        data: its data set; None where it has none.
        dataset: the loaded data; None takes the facts that are known without loading.

    Raises:
        RecipeError: an option's value is refused, or parts do not fit together.
    """
    builder = _Builder(recipe)
    trainer = builder.part(recipe.trainer, {})
    facts = None if dataset is None else dataset.facts
    if facts is None and data is not None and recipe.data is not None:
        facts = builder.facts(data, recipe.data)
    learner = _BAD
    if facts is not _BAD:
        context = {}
        if facts is not None:
            context = {
                "facts": facts,
                "input_shape": facts.input_shape,
                "dataset_size": facts.dataset_size,
                "observation_space": Box(-math.inf, math.inf, facts.input_shape),  # what a baseline sees
            }
        scalars = {key: value for key, value in recipe.learner.options.items() if isinstance(value, int | float | str)}
        learner = builder.learner(recipe.learner, facts, {**context, **scalars})
    builder.finish()
    return Built(learner, trainer, facts)


class _Builder:
    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.problems: list[Problem] = []

    def finish(self) -> None:
        if self.problems:
            raise RecipeError(self.problems)

    def facts(self, data: Data, part: Part) -> Any:
        try:
            return data.facts()
        except OptionError as error:
            self._refused(error, part)
            return _BAD

    def learner(self, part: Part, facts: Facts | None, context: Mapping[str, Any]) -> Any:
        """Return the learner, its parts built with what it says is supplied to them, or `_BAD`."""
        kind = part.entry.factory
        if not (isinstance(kind, type) and issubclass(kind, ExampleLearner)):
            return self.part(part, context)
        try:
            contexts = kind.contexts(facts, part.options)
        except OptionError as error:
            self._refused(error, part)
            return _BAD
        return self.part(part, context, contexts)

    def part(self, part: Part, context: Mapping[str, Any], contexts: Contexts | None = None) -> Any:
        """Return the built part, a function that builds it later, or `_BAD`.

        Args:
            part: what the recipe says of it.
            context: what may be supplied to it and to its parts.
            contexts: by option, what is supplied to that one of its parts instead.
        """
        known = dict(context)
        arguments: dict[str, Any] = {}
        options = options_of(part.entry.factory)
        for name, option in options.items():
            if name in part.options:
                later = is_deferred(option.annotation)
                own = (contexts or {}).get(name, {})
                arguments[option.parameter] = self._value(part.options[name], known | dict(own), later=later)
                # What a learner has built so far is context for what it builds next: a prior may ask for the encoder.
                known.setdefault(name, arguments[option.parameter])
                if not part.path:
                    known |= _supplied(arguments[option.parameter], option.annotation)
            elif name in known:
                arguments[option.parameter] = known[name]
        if any(_holds_bad(value) for value in arguments.values()):
            return _BAD
        if not self._suits(part, options, arguments):
            return _BAD
        # Each part starts from a key of its own: adding one does not change how another is initialised.
        rekey(self.recipe.seed, f"initialise/{part.path}", 0)
        try:
            return part.entry.factory(**arguments)
        except IncompatibleParts as error:
            for misfit in error.misfits:
                self._refused(misfit, part)
        except OptionError as error:
            self._refused(error, part)
        except (ValueError, RuntimeError) as error:  # torch refuses sizes by a RuntimeError
            where = part.path or "learner"
            self.problems.append(Problem(str(error), where, mark=self.recipe.mark(where)))
        return _BAD

    def _suits(self, part: Part, options: Mapping[str, Option], arguments: Mapping[str, Any]) -> bool:
        """Return whether each parameter that needs an argument has one, and spaces are of the kinds asked for."""
        before = len(self.problems)
        for name, option in options.items():
            if option.parameter not in arguments and option.default is REQUIRED:
                what = f"{part.entry.kind} {part.entry.name!r}"
                message = f"{what} needs {name!r}, which is not supplied here"
                found = f"learner {self.recipe.learner.entry.name!r}, where nothing has a {name}"
                expected = f"a {part.entry.kind} that does without, or a learner that has it"
                self.problems.append(Problem(message, part.path, found, expected, mark=self.recipe.mark(part.path)))
            space, kinds = arguments.get(option.parameter), _spaces(option.annotation)
            if isinstance(space, Space) and kinds and not isinstance(space, kinds):
                expected = " or ".join(kind.__name__ for kind in kinds)
                write = f"another environment.id, or another {part.entry.kind}"
                self._refused(OptionError(name, found=space, expected=expected, write=write), part)
        return len(self.problems) == before

    def _value(self, value: Any, context: Mapping[str, Any], *, later: bool = False) -> Any:
        if isinstance(value, Weighted):
            divergence, weight = self._value(value.part, context), self._value(value.weight, context)
            return _BAD if divergence is _BAD or weight is _BAD else Term(divergence, weight)
        if isinstance(value, Part):
            return self._later(value, context) if later else self.part(value, context)
        if isinstance(value, dict):
            return {key: self._value(item, context) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._value(item, context, later=later) for item in value)
        return value

    def _later(self, part: Part, context: Mapping[str, Any]) -> Any:
        options = options_of(part.entry.factory)
        arguments = {options[name].parameter: self._value(value, context) for name, value in part.options.items()}
        if any(_holds_bad(value) for value in arguments.values()):
            return _BAD
        return functools.partial(part.entry.factory, **arguments)

    def _refused(self, error: OptionError, part: Part) -> None:
        path = f"{part.path}.{error.option}" if part.path else error.option
        if error.option not in part.options and error.option in self.recipe.learner.options:
            path = error.option  # context: it is written at the top
        elif error.option == "replicas" and error.option not in part.options:  # context: it comes of this option
            found, expected = f"true, by which {path} is {error.found}", f"false, or for {path} {error.expected}"
            error = OptionError("independent", found=found, expected=expected, write="independent: false")
            path = "environment.independent"
        self.problems.append(self.recipe.refused(error, path))


def _supplied(part: object, annotation: Any) -> dict[str, Any]:
    """Return the context that a learner's part brings with it for those built after it; of a bad one it is `_BAD`."""
    if part is _BAD:
        brought = {Environment: ("observation_space", "action_space", "replicas"), Trunk: ("observation_space",)}
        return {name: _BAD for kind in alternatives(annotation) for name in brought.get(kind, ())}
    if isinstance(part, Environment):
        return {
            "observation_space": part.observation_space,
            "action_space": part.action_space,
            "replicas": part.num_envs if part.independent else 1,
        }
    if isinstance(part, Trunk):  # shared: its features are what the parts above it observe
        return {"observation_space": Box(-math.inf, math.inf, (part.features,))}
    return {}


def _spaces(annotation: Any) -> tuple[type, ...]:
    """Return the kinds of gymnasium's spaces that a parameter takes; none where it is not for spaces."""
    kinds = [get_origin(choice) or choice for choice in alternatives(annotation)]
    return tuple(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Space))


def _holds_bad(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_bad(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_bad(item) for item in value)
    return value is _BAD
