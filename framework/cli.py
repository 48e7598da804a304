"""The command line. What is heavy is imported inside the commands: `fw --help` starts without torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from framework.errors import Problem, RecipeError
from framework.exit_codes import exit_codes, leave

if TYPE_CHECKING:
    from rich.console import Console

    from framework.launch import Place
    from framework.prepare import Prepared
    from framework.run import Outcome
    from framework.seeds import Group

app = typer.Typer(
    name="fw",
    help="Train latent-variable models and agents from interchangeable parts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, a YAML file.", show_default=False)]
RunDirectoryPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Changes to it.", show_default=False)
]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE", help="A Python file that registers parts; repeatable.")
]
DataDirectory = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Where data are looked for. [FW_DATA_DIR, or the cache]"),
]
Checkpoint = Literal["last", "best"]
SAMPLED = "Draw actions as in training, instead of taking the likeliest."
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON in the last line.")]


def main() -> None:
    """Run the command line."""
    app()


@app.command()
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    plugin: Plugins = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where run directories are made.")] = Path("runs"),
    data_dir: DataDirectory = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, load and build everything; train nothing.")
    ] = False,
    seeds: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="Train a group, a run for each seed: 0..9, or 0,3,7.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(metavar="N", min=1, help="How many of --seeds at once. [1]")] = None,
    into: Annotated[Path | None, typer.Option(metavar="DIR", help="The group of --seeds to go on with.")] = None,
    directory: Annotated[Path | None, typer.Option(metavar="DIR", hidden=True)] = None,  # the run's own, in a group
    json: Json = False,
) -> None:
    """Train a recipe."""
    with exit_codes(trains=True):
        if dry_run and json:
            raise RecipeError([Problem("--json prints the result of a run, and --dry-run makes none")])
        if seeds is None and (jobs is not None or into is not None):
            raise RecipeError([Problem("--jobs and --into are of a group", expected="--seeds beside them")])
        if seeds is not None:
            if dry_run:
                raise RecipeError([Problem("--seeds trains a group, and --dry-run trains nothing")])
            from framework.seeds import prepare_group

            files = (recipe, overrides or [], plugin or [], _data_directory(data_dir))
            _run_group(prepare_group(*files, seeds=seeds, root=out, into=into), jobs or 1, json)
            return
        place = _join()
        from framework import run as running
        from framework.prepare import prepare

        prepared = prepare(recipe, overrides or [], plugin or [], _data_directory(data_dir), place)
        _supervise(prepared, place)
        if dry_run:
            if place is None or place.rank == 0:
                _describe(prepared)
            if place is not None:
                leave(0)
            return
        _conclude(place, lambda: running.run(prepared, out, _console(), directory), json)


@app.command()
def resume(
    run: RunDirectoryPath,
    overrides: Overrides = None,
    plugin: Plugins = None,
    data_dir: DataDirectory = None,
    json: Json = False,
) -> None:
    """Go on with a run where it was cut off, exactly."""
    with exit_codes(trains=True):
        place = _join()
        from framework.resume import prepare_resumption
        from framework.resume import resume as go_on

        resumption = prepare_resumption(run, overrides or [], _data_directory(data_dir), plugin or [], place)
        _supervise(resumption.prepared, place)
        _conclude(place, lambda: go_on(resumption, _console()), json)


@app.command()
def check(
    recipe: RecipePath, overrides: Overrides = None, plugin: Plugins = None, data_dir: DataDirectory = None
) -> None:
    """Check a recipe: everything that is wrong with it, in one report."""
    with exit_codes(trains=True):
        from framework.show import check_recipe, warnings

        checked, _, broken = check_recipe(recipe, overrides or [], plugin or [], _data_directory(data_dir))
        for warning in warnings(broken):
            typer.echo(warning, err=True)
        typer.echo(f"{recipe}: right ({checked.name})")


@app.command(name="list")
def list_parts(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="encoder, divergence, …, or recipes")] = None,
    plugin: Plugins = None,
    recipes: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where `fw list recipes` finds them. [recipes]")
    ] = None,
) -> None:
    """List the parts that recipes can name, or the recipes, with what was measured."""
    with exit_codes():
        if kind in ("recipe", "recipes"):
            from framework.recipe_headers import list_recipes

            if plugin:
                raise RecipeError([Problem("--plugin registers parts, and `fw list recipes` lists none")])
            typer.echo(list_recipes(recipes or Path("recipes")))
            return
        if recipes is not None:
            raise RecipeError([Problem("--recipes is of `fw list recipes`", found=f"fw list {kind or ''}".strip())])
        from framework.show import list_registered

        typer.echo(list_registered(kind, plugin or []))
        if kind is None:
            typer.echo("recipes\n  fw list recipes")


@app.command()
def show(
    what: Annotated[str, typer.Argument(metavar="NAME|RECIPE", help="A part's name, or a recipe.", show_default=False)],
    overrides: Overrides = None,
    plugin: Plugins = None,
    data_dir: DataDirectory = None,
) -> None:
    """Show a part's options and documentation, or a recipe resolved and its objective."""
    with exit_codes():
        from framework.show import check_recipe, describe_part, describe_recipe, warnings

        if Path(what).suffix in (".yaml", ".yml"):
            recipe, built, broken = check_recipe(Path(what), overrides or [], plugin or [], _data_directory(data_dir))
            typer.echo("\n".join([describe_recipe(recipe, built.learner), *warnings(broken)]))
        else:
            typer.echo(describe_part(what, plugin or []))


@app.command()
def evaluate(
    run: RunDirectoryPath,
    episodes: Annotated[
        int | None,
        typer.Option(metavar="N", help="How many whole episodes an agent plays. [evaluation.episodes, or 100]"),
    ] = None,
    sampled: Annotated[bool, typer.Option("--sampled", help=SAMPLED)] = False,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of the environments and the draws. [0]")] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="SET|FILE", help="Which examples: test, validation, train, or a .npz or .npy file."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(metavar="K", min=1, help="Importance samples of -log p(x); published numbers take 5000. [500]"),
    ] = None,
    checkpoint: Annotated[
        Checkpoint | None, typer.Option(help="Which weights. [those that the run was tested with, or the last]")
    ] = None,
    data_dir: DataDirectory = None,
    json: Json = False,
) -> None:
    """Judge a run anew: an agent by whole episodes, a model of examples by likelihood, information and codes.

    What is found of a latent-variable model is written to RUN/evaluation.json, and drawn in RUN/figures; of another set
    than test to RUN/evaluation-SET.json and RUN/figures/SET.
    """
    with exit_codes():
        from framework import evaluate as evaluation

        found = evaluation.evaluate(
            run,
            episodes=episodes,
            sampled=sampled,
            seed=seed,
            data=data,
            samples=samples,
            weights=checkpoint,
            data_directory=_data_directory(data_dir),
            console=_console(),
        )
        typer.echo(evaluation.describe(found))
        if json:
            _echo_json(found)


@app.command()
def sample(
    run: RunDirectoryPath,
    number: Annotated[int, typer.Option(metavar="N", help="How many.")] = 100,
    source: Annotated[
        Literal["prior", "aggregate"],
        typer.Option("--from", help="Draw latents from the prior, or from a mixture fitted to training codes."),
    ] = "prior",
    around: Annotated[
        int | None, typer.Option(metavar="ROW", help="Draw them from the posterior of this test example instead.")
    ] = None,
    label: Annotated[
        int | None, typer.Option(metavar="N", help="Of examples of a conditional model. [each in turn, or the input's]")
    ] = None,
    components: Annotated[int | None, typer.Option(metavar="N", help="Of the mixture: Gaussians. [10]")] = None,
    draw: Annotated[bool, typer.Option("--draw", help="Draw examples of p(x|z), instead of taking its means.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the draws.")] = 0,
    checkpoint: Annotated[
        Checkpoint | None, typer.Option(help="Which weights. [those that the run was tested with, or the last]")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the two files go. [RUN/samples]")] = None,
    data_dir: DataDirectory = None,
    json: Json = False,
) -> None:
    """Sample examples of a latent-variable model: a picture, samples.png, and the arrays, samples.npz."""
    with exit_codes():
        from framework.sample import sample as draw_samples

        sampled = draw_samples(
            run,
            number=number,
            source=source,
            around=around,
            label=label,
            components=components,
            draws=draw,
            seed=seed,
            weights=checkpoint,
            out=out,
            data_directory=_data_directory(data_dir),
        )
        typer.echo(sampled)
        if json:
            _echo_json(sampled.plain())


@app.command()
def watch(
    run: RunDirectoryPath,
    episodes: Annotated[int, typer.Option(metavar="N", help="How many.")] = 1,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the environment and the draws.")] = 0,
    sampled: Annotated[bool, typer.Option("--sampled", help=SAMPLED)] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .gif or .mp4 file. [RUN/figures/episode.gif]")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(metavar="N", help="Pictures in a second. [time passes as in the environment]")
    ] = None,
) -> None:
    """Film whole episodes of a run's agent."""
    with exit_codes():
        from framework.watch import watch as film

        typer.echo(film(run, episodes=episodes, seed=seed, sampled=sampled, out=out, pictures_per_second=fps))


@app.command()
def variance(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE|RUN", help="A recipe, or a run directory.", show_default=False)
    ],
    overrides: Overrides = None,
    rollouts: Annotated[int, typer.Option(metavar="N", help="How many, each of whole episodes.")] = 200,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Environment steps that a recipe is trained for first. [none]")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the environments and the draws.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The figure. [variance.png, of a run in RUN/figures]")
    ] = None,
    plugin: Plugins = None,
    data_dir: DataDirectory = None,
    json: Json = False,
) -> None:
    """Compare policy-gradient estimators, bias and variance, at one frozen state on the same rollouts."""
    with exit_codes():
        from framework.frozen import freeze
        from framework.variance import compare, describe
        from framework.variance_figure import draw_variances

        frozen = freeze(recipe, overrides or [], steps, plugin or [], _data_directory(data_dir))
        compared = compare(frozen.agent, rollouts=rollouts, seed=seed)
        state = f"{frozen.name} after {frozen.env_steps:,} environment steps"
        typer.echo("\n".join([state, describe(compared), *(f"note: {note}" for note in frozen.notes)]))
        default = frozen.directory.figures / "variance.png" if frozen.directory else Path("variance.png")
        figure = draw_variances(compared, state, out or default)
        typer.echo(f"figure: {figure}")
        if json:
            _echo_json(
                {"recipe": frozen.name, "env_steps": frozen.env_steps, "figure": str(figure), **compared.plain()}
            )


def _join() -> Place | None:
    """Meet the other processes that train the same model, where a launcher has started this one as one of several."""
    from framework.launch import end_with_supervisor, place

    end_with_supervisor()
    found = place(os.environ)
    if found is not None:
        from framework.signals import end_on_signals

        end_on_signals()  # until training listens
        from framework.distributed import join

        join()
    return found


def _describe(prepared: Prepared) -> None:
    from framework.show import describe_recipe

    typer.echo(describe_recipe(prepared.recipe, prepared.built.learner))
    source = prepared.experience.source
    typer.echo(f"{'data' if prepared.recipe.data else 'environment'}: {source.description} from {source.location}")
    for sentence in (*source.fallbacks, *prepared.notes):
        typer.echo(f"note: {sentence}")
    typer.echo("nothing was trained: --dry-run")


def _conclude(place: Place | None, train: Callable[[], Outcome], json: bool) -> None:
    """Train, and end with the run's exit code."""
    from framework.signals import STOPPED

    outcome = train()
    if json and outcome.directory is not None:
        _echo_json({"run": str(outcome.directory), "summary": outcome.summary})
    if place is not None:
        leave(0 if outcome.summary is not None else STOPPED)
    if outcome.summary is None:
        raise typer.Exit(STOPPED)


def _run_group(group: Group, jobs: int, json: bool) -> None:
    """Train a group, and end with its exit code."""
    from framework.seeds import run_group

    outcome = run_group(group, _console(), jobs=jobs)
    if json:
        _echo_json({"group": str(group.directory.path), "summary": outcome.summary})
    raise typer.Exit(outcome.code)


def _echo_json(result: dict[str, Any]) -> None:
    from json import dumps

    typer.echo(dumps(result))


def _supervise(prepared: Prepared, place: Place | None) -> None:
    """Where several processes are asked for and nobody has started them, start them, and end as they do."""
    if place is None and prepared.processes > 1:
        from framework.supervisor import command, supervise

        sys.exit(supervise(prepared.processes, command))


def _data_directory(chosen: Path | None) -> Path:
    from framework.data import default_directory

    return chosen or default_directory(dict(os.environ))


def _console() -> Console:
    from rich import console

    return console.Console()
