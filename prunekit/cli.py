"""The command line: parses, calls the package, prints.

Exit codes: 0 done; 1 a bug, or a part that ended the program; 2 something the user can mend; 3 training could
not go on; 130 interrupted.
PyTorch and transformers are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import math
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer

from . import __version__, console, registry
from .errors import PrunekitError, system_error
from .text import has_surrogates, shown

INTERRUPTED = 130
_BUG = 1
# click's class, or that of the click inside typer, which newer typers bring themselves.
_UsageError: Any = typer.BadParameter.__bases__[0]
# Commands that go on where they were stopped.
_CONTINUE = ("apply", "compare")

app = typer.Typer(
    name="prunekit",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _quiet(value: bool) -> bool:
    if value:
        console.setup(console.Verbosity.QUIET)
    return value


def _verbose(value: bool) -> bool:
    if value:
        console.setup(console.Verbosity.VERBOSE)
    return value


def _version(value: bool) -> None:
    if value:
        typer.echo(f"prunekit {__version__}")
        raise typer.Exit


def _given(value: Any) -> Any:
    """A name or path, or several, none of them empty."""
    if "" in (value if isinstance(value, (list, tuple)) else [value]):
        raise typer.BadParameter("it is empty")
    return value


def _path(value: str) -> Path:
    try:
        return Path(_given(value)).expanduser()
    except RuntimeError as error:
        raise typer.BadParameter(f"{value!r}: there is no such home folder") from error


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def _import(names: list[str] | None) -> list[str] | None:
    """What a folder names by import path is found in modules that were imported."""
    for name in names or ():
        if not all(part.isidentifier() for part in name.split(".")):
            raise typer.BadParameter(f"{name!r} is no module's name")
        registry.import_module(name, f"the module {name!r}")
    return names


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_quiet, help="Say nothing but results, warnings and errors.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", callback=_verbose, help="Say more; show tracebacks.")
]
RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        callback=_given,
        help="A YAML file, or the name of a shipped recipe, such as 'costeff'.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings over the recipe's, e.g. slenderize.heads=4."),
]

RunName = Annotated[
    str | None,
    typer.Option("--name", callback=_given, help="Name of the run; the recipe's by default."),
]
RunsFolder = Annotated[
    Path | None,
    typer.Option(
        "--output", parser=_path, metavar="PATH", help="Folder that holds the runs; 'runs' by default."
    ),
]
Source = Annotated[
    str, typer.Argument(metavar="MODEL|RUN", callback=_given, help="A model folder or a run folder.")
]

Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        callback=_import,
        help="Import this module first, for parts of your own that the folder names; may be given often.",
    ),
]

Jobs = Annotated[
    int,
    typer.Option(
        min=1,
        max=1_024,
        help="Processes that train what is compared, side by side; threads are divided among them.",
    ),
]


@app.callback()
def prunekit(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make a transformer smaller, and let it leave early on easy inputs.

    A recipe (YAML) says what to do. [bold]plan[/bold] shows what it would cost and give, [bold]apply[/bold]
    does it, and the run's folder holds the model and a report.

    [bold]Examples[/bold]

      prunekit plan costeff
      prunekit apply costeff
      prunekit apply costeff-8x-bert-base data.task=sst2 --name bert-sst2
      prunekit predict runs/costeff "The soup was bland, but I enjoyed the trip."
      prunekit report runs/costeff --length 64
    """


@app.command()
def plan(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    name: RunName = None,
    output: RunsFolder = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check a recipe and show what it will do: stages, sizes, parameters and FLOPs. Nothing is trained.

    It takes what apply takes. No weights are loaded: a model from the hub needs its configuration and
    tokenizer alone.

    [bold]Examples[/bold]

      prunekit plan costeff
      prunekit plan costeff slenderize.heads=4 slenderize.neurons=256
      prunekit plan costeff-8x-minilm model.name=MODEL data.train_file=train.tsv data.test_file=dev.tsv
    """
    from .commands.plan import plan_recipe

    plan_recipe(recipe, overrides or [], name=name, output=output)


@app.command()
def apply(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    name: RunName = None,
    output: RunsFolder = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew; a run of this name is kept, as NAME.1 and so on.")
    ] = False,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Apply a recipe: train, prune, recover, evaluate, compare, report.

    A run that was stopped, in whatever way, continues where it was when the same command is given again. A
    finished run is shown again, not repeated. What the recipe's compare asks for is trained afterwards;
    compare=null leaves it out.

    [bold]Examples[/bold]

      prunekit apply recipes/costeff.yaml
      prunekit apply costeff slenderize.heads=4 seed=7 compare=null --name four-heads
      prunekit apply costeff --fresh
      prunekit apply costeff --jobs 2
      accelerate launch -m prunekit apply costeff-8x-bert-base data.task=mnli
    """
    from .commands.apply import apply_recipe

    apply_recipe(recipe, overrides or [], name=name, output=output, fresh=fresh, jobs=jobs)


@app.command()
def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|RECIPE...",
            callback=_given,
            help="Run folders and recipes; KEY=VALUE sets a key of each of them.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            parser=_path,
            metavar="PATH",
            help="Folder of the report; the run's own, or 'comparison' where several are given.",
        ),
    ] = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    r"""Compare runs with each other, and with what their recipes' compare asks for.

    What is missing is trained: systems, tasks and seeds in compare, and recipes that were not applied yet.
    Stages that several begin with are trained once. All are measured on the same examples, and one report
    holds them; the first is its subject.

    [bold]Examples[/bold]

      prunekit compare runs/costeff
      prunekit compare runs/costeff compare.systems='\[deebert, tinybert]'
      prunekit compare costeff compare.seeds='[42, 43, 44]'
      prunekit compare runs/mine-1 runs/mine-2 runs/other-1 runs/other-2 --output mine-or-other
      prunekit compare ablations --output what-each-part-is-worth
    """
    from .commands.compare import compare_sources

    compare_sources(sources, output=output, jobs=jobs)


@app.command()
def report(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|RUN", callback=_given, help="A model folder, a run folder or a hub name."
        ),
    ],
    length: Annotated[
        int, typer.Option(min=1, max=10_000_000, help="Tokens of the sequence that is counted.")
    ] = 128,
    depth: Annotated[int, typer.Option(min=1, max=1_000, help="How deep the table of modules goes.")] = 3,
    imports: Imports = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Count parameters, multiply-adds and FLOPs of a model, per module and per exit.

    A FLOP is one multiplication or one addition, so FLOPs are twice the multiply-adds. For a run, its
    result is shown as well.

    [bold]Examples[/bold]

      prunekit report runs/costeff
      prunekit report path/to/model --length 64 --depth 2
    """
    from .commands.report import report_on

    report_on(source, length=length, depth=depth)


@app.command()
def predict(
    model: Source,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="Texts; by default lines of standard input."),
    ] = None,
    pair: Annotated[
        bool,
        typer.Option(
            "--pair",
            help="Texts are pairs: two arguments each; a tab between them in lines; two columns of a table.",
        ),
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            parser=_path,
            metavar="PATH",
            help="Read texts from this file: the columns of text of a csv, tsv, json, jsonl or parquet file, "
            "the lines of any other.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, callback=_finite, help="Threshold of the exit policy; the model's own by default."
        ),
    ] = None,
    imports: Imports = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Classify texts: label, confidence and the layer each left at.

    Texts are UTF-8; blank lines are passed over. Into a pipe or a file go tab-separated lines in UTF-8, with
    tabs and control characters of a text as escapes.

    [bold]Examples[/bold]

      prunekit predict runs/costeff "The soup was bland." "Nobody could call the soup bland."
      prunekit predict runs/mrpc --pair "He left." "He went away."
      prunekit predict runs/costeff --file sentences.txt > labels.txt
      prunekit predict runs/costeff --file test.csv
      cat sentences.txt | prunekit predict runs/costeff
    """
    from .commands.predict import predict_texts

    predict_texts(model, texts or [], pair=pair, file=file, threshold=threshold)


@app.command()
def export(
    model: Source,
    to: Annotated[str, typer.Option("--to", help="The runtime: openvino or onnx.")] = "openvino",
    output: Annotated[
        Path | None,
        typer.Option(
            parser=_path,
            metavar="PATH",
            help="Folder of the graphs; by default in the model's, under the runtime's name.",
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="float32; float16 or bfloat16 (openvino); int8 (onnx).")
    ] = "float32",
    exit_layer: Annotated[
        int | None, typer.Option("--exit-layer", min=1, help="One graph that ends at the exit on this layer.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="One graph to the last exit, for other programs.")
    ] = False,
    imports: Imports = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a classifier for a runtime that is faster than PyTorch: OpenVINO or ONNX Runtime.

    A model with exits is cut at its exits, so that easy inputs leave early there too; predict takes the
    folder. The graphs are run and compared with the model before the folder is put in place.

    [bold]Examples[/bold]

      prunekit export runs/costeff
      prunekit export runs/costeff --to onnx --precision int8 --output costeff-int8
      prunekit predict runs/costeff/openvino "The soup was bland."
    """
    from .commands.export import export_model

    export_model(model, to=to, output=output, precision=precision, exit_layer=exit_layer, whole=whole)


@app.command()
def calibrate(
    source: Source,
    max_drop: Annotated[
        str, typer.Option("--max-drop", help="Points of accuracy that may be lost: 1% or 0.01.")
    ] = "1%",
    confidence: Annotated[str, typer.Option(help="How sure that must be: 95% or 0.95.")] = "95%",
    data: Annotated[
        Path | None,
        typer.Option(
            parser=_path,
            metavar="PATH",
            help="Labelled examples that neither training nor any choice has seen; for a run, those it held "
            "out by default.",
        ),
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="Exit policy to choose from; the model's own kind by default.")
    ] = None,
    bound: Annotated[str, typer.Option(help="How it is shown: auto, binomial or betting.")] = "auto",
    all_layers: Annotated[
        bool,
        typer.Option("--all-layers", help="Where no policy is safe, store that all inputs take all layers."),
    ] = False,
    imports: Imports = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Let a model leave early as fast as is shown to lose little accuracy, and store what was shown.

    The exit policy and the guarantee go into the model's config.json; weights stay as they are. Where no
    policy can be shown to be safe, the model is left unchanged.

    [bold]Examples[/bold]

      prunekit calibrate runs/costeff --max-drop 1% --confidence 95%
      prunekit calibrate path/to/model --data fresh.tsv --max-drop 0.5%
      prunekit calibrate runs/mrpc --policy patience --max-drop 2% -v
    """
    from .commands.calibrate import calibrate_model

    calibrate_model(
        source,
        max_drop=max_drop,
        confidence=confidence,
        data=data,
        policy=policy,
        bound=bound,
        all_layers=all_layers,
    )


@app.command("list")
def list_parts(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="One kind, e.g. scorers.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List every part that a recipe can name, and the shipped recipes.

    [bold]Examples[/bold]

      prunekit list
      prunekit list scorers
    """
    from .commands.parts import list_kinds

    list_kinds(kind)


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors that complete and check YAML."""
    from .described import has_parts_of_others, shipped_schema

    if not has_parts_of_others():
        typer.echo(shipped_schema(), nl=False)
        return
    import json

    from .recipes import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code; an error becomes one message, not a traceback."""
    console.setup()
    # Parts that a recipe names by import path may lie in the folder one works in.
    registry.import_folder = Path.cwd()
    code = run(arguments)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # already told, or nobody is there to be told
            _discard(stream)
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    command: Any = typer.main.get_command(app)
    context: Any = None
    try:
        given = sys.argv[1:] if arguments is None else arguments
        typed = [_text(number, argument) for number, argument in enumerate(given, 1)]
        context = command.make_context("prunekit", typed)
        with context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as ended:
        return ended.exit_code
    except (KeyboardInterrupt, typer.Abort):
        again = "; give the same command again to continue" if _continues(context) else ""
        _say(f"stopped{again}", style="yellow")
        return INTERRUPTED
    except _UsageError as error:
        return _misused(error)
    except PrunekitError as error:
        _complain(error.message, error.mend)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output (head, less) has gone: not an error.
        _discard(sys.stdout)
    except BaseException as error:  # a part may raise SystemExit, and the tokenizers' panics are no Exception
        ended_by_rich = isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
        if not ended_by_rich:  # while it showed the help
            return _unexpected(error, _continues(context))
        _discard(sys.stdout)
    return 0


def _text(number: int, argument: str) -> str:
    """An argument as the text it is: what the locale cannot read, Python leaves in it as single bytes.

    Raises:
        PrunekitError: it is not UTF-8, or can be no name and no path.
    """
    wrong = "holds a NUL" if "\0" in argument else None
    if has_surrogates(argument):
        try:
            argument = os.fsencode(argument).decode("utf-8")
        except UnicodeDecodeError as error:
            wrong = f"is not UTF-8: byte {error.start + 1} is 0x{error.object[error.start]:02x}"
        except UnicodeEncodeError:
            wrong = "is not UTF-8: it holds half a character"
    if wrong is not None:
        raise PrunekitError(
            f"command line: argument {number}, {shown(argument, keep='')!r}, {wrong}",
            "give UTF-8 text without NUL; a file with another name can be renamed",
        )
    return argument


def _continues(context: Any) -> bool:
    return context is not None and context.invoked_subcommand in _CONTINUE


def _discard(stream: TextIO) -> None:
    """Send what a stream still holds nowhere, so that nothing is left to fail when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(words: str, style: str = "", end: str = "\n") -> None:
    """A message on standard error, no line of it wrapped in the middle of a path."""
    try:
        console.err().print(words, style=style, end=end, soft_wrap=True)
    except OSError:  # nobody can be told; the exit code stays
        _discard(sys.stderr)


def _complain(message: str, mend: str | None = None) -> None:
    _say("error: ", style="bold red", end="")
    _say(message)
    if mend:
        _say(f"  {mend}")


def _misused(error: Any) -> int:
    """A command line that cannot be parsed; click itself would print it as it came."""
    message = error.format_message()
    if message:  # else the help was shown instead
        help_command = ""
        if error.ctx is not None:
            _say(error.ctx.get_usage())
            help_command = f"{error.ctx.command_path} --help says what can be given"
        _complain(f"command line: {shown(message, keep='')}", help_command)
    return int(error.exit_code)


def _unexpected(error: BaseException, continues: bool) -> int:
    verbose = console.verbosity() is console.Verbosity.VERBOSE
    if verbose:
        _say("".join(traceback.format_exception(error)))
    refused = system_error(error)
    if refused is not None:
        again = "; then the same command continues" if continues else ""
        _complain(refused.message, f"{refused.mend}{again}")
        return refused.exit_code
    more = "" if verbose else "; run again with -v for the traceback"
    if isinstance(error, SystemExit):
        _complain(
            f"a part that the recipe names, or a library, ended the program ({error.code!r})",
            f"no part may do so{more}",
        )
    else:
        _complain(
            f"{type(error).__name__}: {error}",
            f"this is a bug in prunekit, or in a part that the recipe names{more}",
        )
    return _BUG
