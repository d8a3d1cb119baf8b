"""A model as a folder of graphs that the engine runs."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ..architectures import id_limits, longest_input
from ..errors import CheckpointError, UnsupportedModelError
from ..exits import MultiExitForSequenceClassification
from ..files import write_folder
from ..machine import versions
from ..modes import evaluating
from ..pretrained import special_ids
from .backends import open_backend
from .graphs import (
    example_inputs,
    export_onnx,
    exportable,
    label_names,
    onnx_segments,
    padding_of,
)
from .manifest import NAME, Manifest

Format = Literal["openvino", "onnx"]
Precision = Literal["float32", "float16", "bfloat16", "int8"]
# Off by more than this, relative to the largest logit, the graph is not the model.
_TOLERANCE = {"float32": 1e-3, "float16": 5e-2, "bfloat16": 5e-2, "int8": None}
_TAKES: dict[str, tuple[str, ...]] = {
    "openvino": ("float32", "float16", "bfloat16"),
    "onnx": ("float32", "int8"),
}
_CONTEXTS = "contexts.onnx"


def export(
    model: Any,
    folder: str | Path,
    to: Format = "openvino",
    *,
    precision: Precision = "float32",
    exit_layer: int | None = None,
    whole: bool = False,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Manifest:
    """Write a classifier as a folder of graphs, which :func:`prunekit.runtime.load` runs without PyTorch.

    A model with exits is cut at its exits, so that examples leave between the graphs; any other is one graph.
    The graphs are run on random inputs of several lengths, with and without padding, and compared with the
    model: by how much they differ is in the result.

    Args:
        model: a classifier of texts, pruned or not.
        folder: made, or replaced where it holds an earlier export.
        to: the runtime.
        precision: ``float32``; ``float16``: weights are stored so, and computed in float32 where the
            processor has no float16; ``bfloat16``: computed so where the processor has the instructions;
            ``int8``: weights, and what meets them, as it comes.
        exit_layer: one graph that ends at the exit on this layer (from 1).
        whole: one graph to the last exit.
        tokenizer: written beside them.

    Raises:
        CheckpointError: a package is not installed, or the folder holds something else.
        UnsupportedModelError: the model is no classifier of texts, or its graphs do not give its answers.
    """
    if to not in get_args(Format):
        raise CheckpointError(f"there is no format {to!r}", f"known: {', '.join(get_args(Format))}")
    if precision not in _TAKES[to]:
        raise CheckpointError(
            f"{to} has no {precision} here", f"take one of {', '.join(_TAKES[to])}, or another format"
        )
    _require(to)
    target = Path(folder)
    if target.exists() and any(target.iterdir()) and not (target / NAME).is_file():
        raise CheckpointError(f"{target} exists and holds no export", "give another folder, or move it away")
    model = exportable(model)
    labels = _labels(model)

    def fill(new: Path) -> None:
        layers = _graphs(model, new, exit_layer, whole)
        names = sorted(path.name for path in new.glob("graph_*.onnx"))
        if (new / _CONTEXTS).exists():
            names.append(_CONTEXTS)
        names = [_converted(new / name, to, precision) for name in names]
        draft = Manifest(
            backend=to,
            precision=precision,
            graphs=names[: len(layers)],
            exit_layers=layers,
            inputs=list(example_inputs(model)),
            padding=padding_of(model),
            longest=_longest(model, tokenizer),
            labels=labels,
            policy=_policy(model, len(layers)),
            contexts=next(iter(names[len(layers) :]), None),
            id_limits=id_limits(model),
            unknown=getattr(tokenizer, "unk_token_id", None),
            special=[] if tokenizer is None else sorted(special_ids(tokenizer)),
            versions=versions(),
        )
        made = replace(draft, differences=_differences(model, draft, new))
        (new / NAME).write_text(made.to_json(), "utf-8")
        if tokenizer is not None:
            tokenizer.save_pretrained(new)

    try:
        write_folder(target, fill)
    except OSError as error:
        raise CheckpointError(
            f"cannot write the export to {target}: {error}",
            "make room or give a folder that can be written; what was there before is untouched",
        ) from error
    return Manifest.read(target)


def _require(to: Format) -> None:
    for package in ("onnx", {"openvino": "openvino", "onnx": "onnxruntime"}[to]):
        if importlib.util.find_spec(package) is None:
            raise CheckpointError(
                f"the export for {to} needs the package {package}", f"pip install 'prunekit[{to}]'"
            )


def _labels(model: Any) -> list[str]:
    if "ForSequenceClassification" not in type(model).__name__ or not model.config.id2label:
        raise UnsupportedModelError(
            f"{type(model).__name__} is no classifier of texts, which is what the engine runs",
            "write one graph of it for other runtimes: prunekit.runtime.export_onnx",
        )
    return label_names(model)


def _longest(model: Any, tokenizer: PreTrainedTokenizerBase | None) -> int | None:
    found = [longest_input(model), getattr(tokenizer, "model_max_length", None)]
    lengths = [int(one) for one in found if one is not None]
    return min(lengths) if lengths and min(lengths) < 1 << 30 else None  # "any number" is a huge one there


def _policy(model: Any, graphs: int) -> dict[str, Any] | None:
    policy = getattr(model.config, "exit_policy", None)
    return dict(policy) if policy is not None and graphs > 1 else None


def _graphs(model: Any, folder: Path, exit_layer: int | None, whole: bool) -> list[int]:
    """Write the graphs as ONNX; the layer after each."""
    exits = isinstance(model, MultiExitForSequenceClassification)
    if exits and exit_layer is None and not whole:
        graphs, contexts = onnx_segments(model)
        for number, graph in enumerate(graphs):
            (folder / f"graph_{number:02}.onnx").write_bytes(graph)
        if contexts is not None and len(graphs) > 1:
            (folder / _CONTEXTS).write_bytes(contexts)
        return list(model.config.exit_layers)
    if exits and exit_layer is None:
        exit_layer = int(model.config.exit_layers[-1])
    export_onnx(model, folder / "graph_00.onnx", exit_layer=exit_layer)
    return [exit_layer if exit_layer is not None else int(model.config.num_hidden_layers)]


def _converted(path: Path, to: Format, precision: Precision) -> str:
    """The file of a graph in another format or precision, in the ONNX file's place; its name."""
    if to == "openvino":
        import onnx
        import openvino

        described = onnx.load(str(path)).graph
        # Not by convert_model, which may report to its makers.
        graph = openvino.Core().read_model(str(path))
        # OpenVINO adds the names of nodes that it folds into what goes in and out.
        for ports, values in ((graph.inputs, described.input), (graph.outputs, described.output)):
            for port, value in zip(ports, values, strict=True):
                port.tensor.set_names({value.name})
        made = path.with_suffix(".xml")
        openvino.save_model(graph, str(made), compress_to_fp16=precision == "float16")
        path.unlink()
        return made.name
    if precision == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        narrow = path.with_suffix(".int8.onnx")
        logging.disable(logging.WARNING)  # it advises a step that changes nothing here
        try:
            quantize_dynamic(str(path), str(narrow), weight_type=QuantType.QInt8, per_channel=True)
        finally:
            logging.disable(logging.NOTSET)
        narrow.replace(path)
    return path.name


def _differences(model: Any, manifest: Manifest, folder: Path) -> dict[str, float]:
    """Largest difference of a logit from the model's, for batches of several shapes, and the largest logit.

    Raises:
        UnsupportedModelError: it is too large for the precision.
    """
    backend = open_backend(manifest, folder)
    generator = np.random.default_rng(0)
    off = largest = 0.0
    for rows, tokens in ((1, 3), (3, 17), (5, 8)):
        inputs = _random(generator, manifest, model, rows, min(tokens, manifest.longest or tokens))
        expected = _logits(model, inputs, manifest.exit_layers)
        notes: dict[str, Any] = {}
        step = backend.first(inputs, notes)
        for number, answer in enumerate(expected):
            if number:
                step = backend.following(number, step.hidden, inputs["attention_mask"], notes)
            off = max(off, float(np.abs(step.logits - answer).max()))
            largest = max(largest, float(np.abs(answer).max()))
            if number == 1:
                notes = {}  # from here on with contexts made of the mask
    tolerance = _TOLERANCE[manifest.precision]
    if not np.isfinite(off) or (tolerance is not None and off > tolerance * max(1.0, largest)):
        raise UnsupportedModelError(
            f"the exported graphs of {type(model).__name__} are off by {off:.1e}, where logits reach "
            f"{largest:.1e}: the exporter made something constant that depends on the input",
            "export it in another format or precision, or use the backend torch",
        )
    return {"logits": off, "largest_logit": largest}


def _random(
    generator: np.random.Generator, manifest: Manifest, model: Any, rows: int, tokens: int
) -> dict[str, np.ndarray[Any, Any]]:
    limits = id_limits(model)
    lengths = generator.integers(1, tokens + 1, rows)
    lengths[0] = tokens
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    inputs = {"attention_mask": mask}
    for name in manifest.inputs:
        if name != "attention_mask":
            drawn = generator.integers(0, limits.get(name, 1), (rows, tokens))
            inputs[name] = np.where(mask == 1, drawn, manifest.padding.get(name, 0)).astype(np.int64)
    return inputs


def _logits(
    model: Any, inputs: dict[str, np.ndarray[Any, Any]], layers: Sequence[int]
) -> list[np.ndarray[Any, Any]]:
    tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
    with torch.no_grad(), evaluating(model):
        if not isinstance(model, MultiExitForSequenceClassification):
            return [model(**tensors).logits.numpy()]
        every = model(**tensors, all_exits=True).exit_logits.numpy()
    return [every[model.config.exit_layers.index(layer)] for layer in layers]
