"""``prunekit calibrate``."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import console
from ..errors import DataError, PrunekitError, RecipeError
from .predict import device, load_classifier, most_tokens
from .sources import is_run, model_folder, run_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..calibration import Calibration, Guarantee
    from ..data import TaskData
    from ..exits import MultiExitForSequenceClassification
    from ..reports import ExitOutputs
    from ..stages.calibrate import CalibrateConfig

logger = logging.getLogger(__name__)

_BATCH = 64


@dataclass(frozen=True)
class _Examples:
    """What the exits said about the calibration examples, and what these are."""

    outputs: ExitOutputs
    source: str
    reservation: str = ""


def calibrate_model(
    source: str,
    *,
    max_drop: str,
    confidence: str,
    data: Path | None,
    policy: str | None,
    bound: str,
    all_layers: bool,
) -> None:
    """Choose a model's exit policy with a guarantee, and store both in its folder."""
    from ..calibration import (
        earlier_tries,
        nothing_safe,
        read_tries,
        record,
        store,
        told,
        tries_words,
        warn_of_large_drop,
        warn_of_missing_classes,
    )
    from ..runs import record_changed
    from ..stages.calibrate import digest_of

    asked = {"max_drop": max_drop, "confidence": confidence, "bound": bound}
    config = _config(**asked, **({} if policy is None else {"policy": policy}))
    warn_of_large_drop(config.max_drop, "--max-drop")
    console.quiet_libraries()
    folder = model_folder(source)
    model, tokenizer = load_classifier(folder)
    if len(model.config.exit_layers) == 1:
        raise RecipeError(
            f"the model in {folder} has one exit, before which nobody can leave",
            "give a model with exits on several layers",
        )
    answers = read_tries(folder)
    if policy is None and model.config.exit_policy is not None:
        config = _config(**asked, policy=model.config.exit_policy["name"])
    if data is not None:
        examples = _of_file(Path(source), model, tokenizer, data, config)
    elif is_run(Path(source)):
        examples = _of_run(Path(source), config)
    else:
        raise DataError(
            f"{source} is a model folder: nothing there says which examples it may be calibrated on",
            "give labelled examples that it was not trained on: --data FILE (or give the run's folder)",
        )
    warn_of_missing_classes(examples.outputs.labels, _label_names(model))
    found = _calibrated(model, examples.outputs, config)
    digest = digest_of(examples.outputs)
    earlier = earlier_tries(answers, told(found, examples.source, digest=digest))
    reservations = (examples.reservation, tries_words(earlier, found.confidence))
    guarantee = told(found, examples.source, " ".join(filter(None, reservations)), digest)
    record(folder, earlier, guarantee)
    record_changed(folder)
    if found.chosen is None and not all_layers:
        given = None if config.bound == "auto" else config.bound
        other = _calibrated(model, examples.outputs, _other_bound(config, found.bound))
        raise nothing_safe(found, examples.source, config.policy, bound=given, other=other)
    store(folder, guarantee)
    record_changed(folder)
    _show(found, guarantee, folder)
    page = Path(source) / "report" / "index.html"
    if is_run(Path(source)) and page.is_file():
        words = f"report     {page} is as it was: it shows the policy that the run was evaluated with"
        console.out().print(words, soft_wrap=True)


def _config(**settings: Any) -> CalibrateConfig:
    """The stage's settings, from the command line's.

    Raises:
        RecipeError: a value that cannot be followed.
    """
    from pydantic import ValidationError

    from ..calibration import read_confidence, read_share
    from ..stages.calibrate import CalibrateConfig

    settings["max_drop"] = read_share(settings["max_drop"], "--max-drop")
    settings["confidence"] = read_confidence(settings["confidence"], "--confidence")
    try:
        return CalibrateConfig(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = f"--{first['loc'][0]}: " if first["loc"] else ""
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, PrunekitError):
            raise RecipeError(place + cause.message, cause.mend) from error
        raise RecipeError(f"{place}{first['msg']}") from error


def _of_run(run: Path, config: CalibrateConfig) -> _Examples:
    from ..calibration import CHOSE_CHECKPOINTS, check_examples
    from ..runs import recipe_of
    from ..stages.calibrate import check_metrics
    from ..stages.outputs import outputs_of

    data = recipe_of(run).data
    check_metrics(data.metrics)
    split = "calibration" if data.calibration_size else "validation"
    if split == "validation":
        logger.warning(
            "the run held out no calibration examples (data.calibration_size is 0): the validation examples "
            "serve, which also chose the model's checkpoints"
        )
    outputs = outputs_of(run, split)
    check_examples(len(outputs.labels), config.max_drop, config.confidence, config.bound)
    return _Examples(
        outputs,
        f"{split} examples of {data.task}",
        CHOSE_CHECKPOINTS if split == "validation" else "",
    )


def _of_file(
    source: Path,
    model: MultiExitForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    data: Path,
    config: CalibrateConfig,
) -> _Examples:
    from ..architectures import id_limits
    from ..calibration import check_examples, usable
    from ..data import collator, encode_examples, load_examples
    from ..models import check_ids
    from ..runs import recipe_of
    from ..stages.outputs import examples_outputs

    recipe = recipe_of(source) if is_run(source) else None
    columns = None if recipe is None else recipe.data
    examples = load_examples(str(data), "--data", _label_names(model), columns)
    used, reservation = _made_of(source)
    examples, known = usable(examples, data.name, used)
    # What no file of this size can show is said before anything is computed.
    check_examples(len(examples), config.max_drop, config.confidence, config.bound)
    length = most_tokens(model, tokenizer) if recipe is None else recipe.training.max_length
    encoded, lengths, _ = encode_examples(examples, str(data), tokenizer, length)
    check_ids(encoded, id_limits(model), str(data), str(source))
    # transformers wraps `to` such that type checkers lose its arguments.
    model.to(device())  # type: ignore[arg-type]
    outputs = examples_outputs(model, examples, encoded, lengths, collator(tokenizer), _BATCH)
    return _Examples(outputs, f"examples of {data.name}", known or reservation)


def _made_of(source: Path) -> tuple[TaskData | None, str]:
    """The examples that made a run's model, and what to say where they cannot be read any more.

    A model folder that lies in its run is the run's.
    """
    from ..calibration import UNKNOWN
    from ..data import load_task
    from ..runs import recipe_of

    run = run_of(source)
    if run is None:
        return None, ""
    try:
        recipe = recipe_of(run)
        return load_task(recipe.data, recipe.seed), ""
    except PrunekitError as error:
        logger.warning("whether the model was trained on these examples is not checked: %s", error.message)
        return None, UNKNOWN


def _label_names(model: MultiExitForSequenceClassification) -> list[str]:
    names: Any = model.config.id2label
    return [str(names[number]) for number in range(len(names))]


def _other_bound(config: CalibrateConfig, bound: str) -> CalibrateConfig:
    return config.model_copy(update={"bound": "binomial" if bound == "betting" else "betting"})


def _calibrated(
    model: MultiExitForSequenceClassification, outputs: ExitOutputs, config: CalibrateConfig
) -> Calibration:
    from ..stages.calibrate import calibrated
    from ..stages.evaluate import check_policies

    check_policies(model.config, config.sweep(len(outputs.exit_layers), outputs.logits.shape[2]), "--policy")
    found: Calibration = calibrated(model, outputs, config)
    return found


def _show(found: Calibration, guarantee: Guarantee, folder: Path) -> None:
    """Policy, what it saves, what it did to the examples, the guarantee in words."""
    from ..exits.policies import policy_words

    out = console.out()
    out.print(f"policy     {policy_words(guarantee['policy'])}", style="bold")
    if found.chosen is not None:
        accuracy = found.accuracy - found.chosen.drop
        out.print(
            f"saves      {guarantee['saved']:.1%} of the FLOPs of all layers, on these examples\n"
            f"accuracy   {accuracy:.1%} on these examples, {found.accuracy:.1%} by all layers; leaving early "
            f"made {found.chosen.harmed} right answers wrong and {found.chosen.helped} wrong ones right",
            soft_wrap=True,
        )  # fmt: skip
    out.print(f"guarantee  {guarantee['words']}", soft_wrap=True)
    out.print(f"stored in  {folder / 'config.json'}", soft_wrap=True)
    if console.verbosity() is console.Verbosity.VERBOSE:
        table = console.table("", "policy", "FLOPs", "accuracy", "harmed", "helped", "p-value", "safe")
        for tried in found.tried:
            table.add_row(
                policy_words(tried.policy), f"{tried.cost:.1%}", f"{found.accuracy - tried.drop:.1%}",
                str(tried.harmed), str(tried.helped), f"{tried.p_value:.3g}", "yes" if tried.safe else "no",
            )  # fmt: skip
        out.print(table)
