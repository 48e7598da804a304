"""The `environment` section of a recipe: what is acted in, how many at once, and how they begin anew."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from framework.errors import OptionError, nearest
from framework.options import written
from framework.section import Section
from framework.wrapper import Wrapping

Environments = VectorEnv[Any, Any, Any]

OWN, SYNC, ASYNC = "its own vector form", "sync", "async"
MODES = {"next_step": AutoresetMode.NEXT_STEP, "same_step": AutoresetMode.SAME_STEP}
HANDLED = (Box, Discrete, MultiDiscrete, MultiBinary)  # spaces whose elements are one array, or one number
_MANNERS = {OWN: "side by side by its own vector form", SYNC: "one after the other", ASYNC: "in a process each"}


@dataclass(kw_only=True, eq=False)
class Environment(Section):
    """What is acted in: an environment of gymnasium's registry, many times over.

    An environment may tell in a step's info of the name `optimal`, a bool, whether the action was one of the best;
    info of another kind under that name is left alone.

    Args:
        id: its name there, with the version: "CartPole-v1".
        num_envs: N, how many are stepped at once, 1 or more.
        independent: whether each of them is a run of its own, with parameters of its own, instead of all serving one.
        kwargs: options of the environment's own constructor.
        wrappers: what stands around each of them, the innermost first; registered with `register_wrapper`.
        max_episode_steps: an episode is truncated at this many steps, 1 or more; null is as registered.
        vectorization: how N are stepped. `vector_entry_point`: by the environment's own vector form; `sync`: one after
            the other; `async`: in a process each; `auto`: by its own vector form where there is one that can do what
            the other options ask for, and else one after the other.
        autoreset: what the step after an episode's end is. `next_step`: a dummy, which ignores the action and returns
            the new episode's first observation; `same_step`: there is none, the ending step returns that observation
            and, apart, the true last one. A collector makes the same data of both.
        normalize_observation: whether the learner standardises observations by their running mean and deviation.
        normalize_reward: whether the learner divides rewards by the running deviation of the discounted return.

    Attributes:
        observation_space: of one environment, with its wrappers.
        action_space: of one environment, with its wrappers.
        vectorized_by: "its own vector form", "sync" or "async".
        limit: steps after which an episode is truncated, as given or as registered; None where nothing does that.

    Raises:
        OptionError: the environment is not registered, lacks a package, does not know an option, or cannot be had in
            this form; or its spaces are not handled.

    Example:
        >>> environment = Environment(id="CartPole-v1", num_envs=8)
        >>> environment.description
        'CartPole-v1, 8 environments side by side by its own vector form, next-step autoreset'
        >>> environment.make().reset(seed=0)[0].shape
        (8, 4)

    Reference: https://gymnasium.farama.org; https://farama.org/Vector-Autoreset-Mode.
    """

    id: str
    num_envs: int = 1
    independent: bool = False
    kwargs: dict[str, bool | int | float | str | None] | None = None
    wrappers: list[Wrapping] | None = None
    max_episode_steps: int | None = None
    vectorization: Literal["auto", "vector_entry_point", "sync", "async"] = "auto"
    autoreset: Literal["next_step", "same_step"] = "next_step"
    normalize_observation: bool = False
    normalize_reward: bool = False
    observation_space: Space[Any] = field(init=False, repr=False)
    action_space: Space[Any] = field(init=False, repr=False)
    vectorized_by: str = field(init=False, repr=False)
    limit: int | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for option in ("num_envs", "max_episode_steps"):
            number = getattr(self, option)
            if number is not None and number < 1:
                raise OptionError(option, found=number, expected="1 or more")
        spec = _registered(self.id)
        self._check_kwargs(spec)
        self.vectorized_by = self._form(spec)
        self.limit = spec.max_episode_steps if self.max_episode_steps is None else self.max_episode_steps
        one = self.make_one() if spec.entry_point is not None else None
        probe: Any = one or self.make(1)
        try:
            self.observation_space = probe.observation_space if one else probe.single_observation_space
            self.action_space = probe.action_space if one else probe.single_action_space
        finally:
            probe.close()
        self._check_spaces()
        self._check_normalization()

    @property
    def description(self) -> str:
        """What it is, for people, in a sentence without its full stop."""
        count = f"{self.num_envs} environment{'s' if self.num_envs > 1 else ''}"
        wrapped = f", {len(self.wrappers)} wrapper{'s' if len(self.wrappers) > 1 else ''}" if self.wrappers else ""
        limit = f", at most {self.max_episode_steps} steps an episode" if self.max_episode_steps is not None else ""
        autoreset = self.autoreset.replace("_", "-")
        return f"{self.id}, {count} {_MANNERS[self.vectorized_by]}{wrapped}{limit}, {autoreset} autoreset"

    def make(self, num_envs: int | None = None) -> Environments:
        """Return new environments, not reset yet.

        Args:
            num_envs: how many; None is as many as the recipe says.
        """
        count, mode = self.num_envs if num_envs is None else num_envs, MODES[self.autoreset]
        keywords = self._keywords()
        environment: Environments
        if self.vectorized_by == OWN:
            if "autoreset_mode" in _parameters(_registered(self.id).vector_entry_point):
                keywords["autoreset_mode"] = mode
            environment = self._made(lambda: gymnasium.make_vec(self.id, count, "vector_entry_point", **keywords))
        else:
            wrappers, how = self._wrappings(), {"autoreset_mode": mode}
            environment = self._made(
                lambda: gymnasium.make_vec(self.id, count, self.vectorized_by, how, wrappers, **keywords)
            )
            # Gymnasium writes the mode into the dictionary that the single environments' class owns: the next vector
            # environment of that class would change what this one says of itself.
            environment.metadata = dict(environment.metadata)
        if autoreset_mode(environment) is not mode:
            found = autoreset_mode(environment).value
            raise OptionError("autoreset", found=self.autoreset, expected=f"{found}, which is all that {self.id} does")
        return environment

    def make_one(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """Return one environment by itself, with its wrappers, not reset yet: to be watched, or to be asked about.

        Args:
            render_mode: as gymnasium has it, "human" or "rgb_array"; None draws nothing.
        """
        keywords = self._keywords() | ({} if render_mode is None else {"render_mode": render_mode})
        environment: gymnasium.Env[Any, Any] = self._made(lambda: gymnasium.make(self.id, **keywords))
        for place, wrapping in enumerate(self._wrappings()):
            try:
                environment = wrapping(environment)
            except OptionError as error:
                option, write = f"wrappers[{place}].{error.option}", error.write
                raise OptionError(option, found=error.found, expected=error.expected, write=write) from error
            except (gymnasium.error.Error, TypeError, ValueError, AssertionError) as error:
                found, expected = f"one that does not fit {self.id}", f"a wrapper that does ({_said(error)})"
                raise OptionError(f"wrappers[{place}]", found=found, expected=expected) from error
        return environment

    def _keywords(self) -> dict[str, Any]:
        limit = {} if self.max_episode_steps is None else {"max_episode_steps": self.max_episode_steps}
        return {**(self.kwargs or {}), **limit}

    def _wrappings(self) -> list[Wrapping]:
        return list(self.wrappers or [])

    def _made(self, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except OptionError as error:
            option, write = f"kwargs.{error.option}", error.write
            raise OptionError(option, found=error.found, expected=error.expected, write=write) from error
        except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
            raise _lacking(self.id, error) from error
        except (KeyError, TypeError, ValueError, AssertionError) as error:
            if not self.kwargs:
                raise
            found, expected = written(self.kwargs), f"what {self.id} accepts ({_said(error)})"
            raise OptionError("kwargs", found=found, expected=expected) from error

    def _check_kwargs(self, spec: EnvSpec) -> None:
        try:
            known = _parameters(spec.entry_point or spec.vector_entry_point)
        except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
            raise _lacking(self.id, error) from error
        known = {name: kind for name, kind in known.items() if name not in ("render_mode", "num_envs")}
        if inspect.Parameter.VAR_KEYWORD in known.values():
            return
        for name, value in (self.kwargs or {}).items():
            if name not in known:
                expected = f"an option of {self.id}: {', '.join(known) or 'it has none'}"
                raise OptionError(f"kwargs.{name}", found=value, expected=expected, write=nearest(name, known))

    def _form(self, spec: EnvSpec) -> str:
        if self.vectorization in (SYNC, ASYNC):
            return self.vectorization
        misfit = self._misfit_of_own_form(spec)
        if misfit is None:
            return OWN
        if self.vectorization == "auto":
            return SYNC
        raise misfit

    def _misfit_of_own_form(self, spec: EnvSpec) -> OptionError | None:
        """Return what the environment's own vector form cannot do of what is asked for, or None."""
        if spec.vector_entry_point is None:
            found, expected = "vector_entry_point", f"sync, async or auto: {self.id} has no vector form of its own"
            return OptionError("vectorization", found=found, expected=expected, write="vectorization: sync")
        if self.wrappers:
            expected = "none with vectorization: vector_entry_point, whose environments cannot be wrapped one by one"
            return OptionError("wrappers", found=len(self.wrappers), expected=expected, write="vectorization: sync")
        try:
            known = _parameters(spec.vector_entry_point)
        except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
            return _lacking(self.id, error)
        for name in () if inspect.Parameter.VAR_KEYWORD in known.values() else self._keywords():
            if name not in known:
                option = name if name == "max_episode_steps" else f"kwargs.{name}"
                expected = f"an option of the vector form of {self.id}: {', '.join(known)}"
                return OptionError(option, found=self._keywords()[name], expected=expected, write="vectorization: sync")
        only = getattr(_loaded(spec.vector_entry_point), "metadata", {}).get("autoreset_mode")
        if "autoreset_mode" not in known and only is not MODES[self.autoreset]:
            expected = f"next_step, which is all that the vector form of {self.id} does"
            return OptionError("autoreset", found=self.autoreset, expected=expected, write="vectorization: sync")
        return None

    def _check_normalization(self) -> None:
        for option in ("normalize_observation", "normalize_reward"):
            if getattr(self, option) and self.independent:
                expected = "false: environments that are runs of their own share no statistics"
                raise OptionError(option, found="true", expected=expected, write=f"{option}: false")
        space = self.observation_space
        if self.normalize_observation and not (isinstance(space, Box) and np.issubdtype(space.dtype, np.floating)):
            expected = f"false, or observations in a floating-point Box: they are in {space}"
            raise OptionError("normalize_observation", found="true", expected=expected, write="false")

    def _check_spaces(self) -> None:
        if not isinstance(self.observation_space, HANDLED):
            found, expected = f"observations in {self.observation_space}", "observations that are one array each"
            raise OptionError("wrappers", found=found, expected=expected, write="wrappers: [{name: flatten}]")
        if not isinstance(self.action_space, HANDLED):
            expected = "actions in a Discrete, Box, MultiDiscrete or MultiBinary space"
            raise OptionError("id", found=f"{self.id}, with actions in {self.action_space}", expected=expected)


def autoreset_mode(environment: Environments) -> AutoresetMode:
    """Return what vector environments do when episodes end.

    Raises:
        OptionError: they do not say so.
    """
    inner = environment.unwrapped
    # Not by their `metadata`: these two share it with all environments of the class that they hold.
    mode = inner.autoreset_mode if isinstance(inner, SyncVectorEnv | AsyncVectorEnv) else None
    found = mode or inner.metadata.get("autoreset_mode")
    if not isinstance(found, AutoresetMode):
        expected = 'a vector form that says how it resets, in metadata["autoreset_mode"]'
        raise OptionError("id", found=f"{type(inner).__name__}, whose metadata says {found}", expected=expected)
    return found


def reset_seeds(environment: Environments, together: int, apart: Callable[[int], int]) -> Any:
    """Return what `reset` is given as its seed: 31 bits, which every environment takes.

    Args:
        environment: N environments.
        together: a 63-bit key, for what draws the seeds of all from one.
        apart: the 63-bit key of environment i, for what does not.

    Returns:
        An int, or a list of N.
    """
    if isinstance(environment.unwrapped, SyncVectorEnv | AsyncVectorEnv):
        # From one seed they would make seed + i: what environment 1 does would be what 0 does for another seed.
        return [apart(i) >> 32 for i in range(environment.num_envs)]
    return together >> 32


def _registered(name: str) -> EnvSpec:
    """Return what gymnasium knows of an environment.

    Names are taken as they are: "module:name", which would import what a recipe says, is none.

    Raises:
        OptionError: it knows none of that name.
    """
    spec = gymnasium.registry.get(name)
    if spec is not None:
        return spec
    versions = {known.id.rsplit("-v", 1)[0]: known.id for known in sorted(gymnasium.registry.values(), key=_version)}
    similar = nearest(re.sub(r"-v\d+$", "", name), versions)
    expected = "the id of an environment in gymnasium's registry, with its version"
    raise OptionError("id", found=name, expected=expected, write=versions[similar] if similar else "")


def _version(spec: EnvSpec) -> int:
    return -1 if spec.version is None else spec.version


def _loaded(entry_point: Any) -> Any:
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def _parameters(entry_point: Any) -> dict[str, Any]:
    """Return the kinds of a constructor's parameters, by name."""
    return {name: one.kind for name, one in inspect.signature(_loaded(entry_point)).parameters.items()}


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _lacking(name: str, error: Exception) -> OptionError:
    return OptionError("id", found=name, expected=f"an environment whose packages are installed ({error})")
