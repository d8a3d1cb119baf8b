"""Checks of what a pruned model is written to: folders and ONNX."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, PreTrainedModel

from ..architectures import backbone_of
from ..checkpoints import save
from ..pruner import Pruner
from ..runtime import export_onnx
from .cases import SIDES, Case, Inputs, distance, floats, output_of, refusal
from .running import same_bits, with_exits


def saving(case: Case) -> None:
    """A cut model, read back by its class, and its backbone by ``AutoModel``."""
    model = case.twin(torch.float32)
    names = [name for name, groups in case.groups(model).items() if groups]
    if not names:
        return case.skipped("", f"nothing of the model can be cut: {next(iter(case.reasons.values()))}")
    Pruner(model, names, "random", budget={"name": "ratio", "keep": 0.5}).step()
    inputs = floats(case.inputs)
    for how in ("prunekit.save", "save_pretrained"):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "model"
            if how == "prunekit.save":
                save(model, folder)
            else:
                model.save_pretrained(folder)
            _compare(case, model, folder, inputs, how)
    return None


def _compare(case: Case, model: PreTrainedModel, folder: Path, inputs: Inputs, how: str) -> None:
    attention = model.config._attn_implementation
    try:
        again = case.reader.from_pretrained(folder, attn_implementation=attention).eval()
    except Exception as error:
        return case.failed(how, f"it cannot be read: {refusal(error)}", "prunekit.sizes.record")
    if type(again) is not type(model):
        return case.failed(how, f"it is read as a {type(again).__name__}", "the class that auto= gives")
    wrong = _differences(model, again)
    if wrong:
        return case.failed(how, f"{wrong} is other after reading", "prunekit.sizes.record")
    found, expected = output_of(again, inputs), output_of(model, inputs)
    if not same_bits(found, expected):
        problem = f"what is read gives other numbers, off by {distance(found, expected):.1e}"
        return case.failed(how, problem, "the numbers that modules keep: Block.counts")
    backbone: Any = backbone_of(model)
    if backbone is model:
        return case.held(how)
    if type(backbone).base_model_prefix != model.base_model_prefix:
        reason = f"transformers does not find it: it is called {model.base_model_prefix!r}"
        case.skipped(f"{how}, backbone", reason)
        return case.held(how)
    try:
        bare = AutoModel.from_pretrained(folder, attn_implementation=attention).eval()
    except Exception as error:
        return case.failed(
            how, f"AutoModel cannot read its backbone: {refusal(error)}", "prunekit.sizes.apply"
        )
    if type(bare) is not type(backbone):
        case.skipped(f"{how}, backbone", f"AutoModel makes a {type(bare).__name__} of this configuration")
    elif wrong := _differences(backbone, bare):
        return case.failed(how, f"AutoModel reads another {wrong}", "prunekit.sizes.apply: names")
    return case.held(how)


def _differences(model: PreTrainedModel, again: PreTrainedModel) -> str:
    """Name of the first parameter that is not the same, ``""`` where all are."""
    others = again.state_dict()
    for name, tensor in model.state_dict().items():
        if name not in others or not torch.equal(others[name], tensor):
            return name
    return ""


def onnx(case: Case) -> None:
    """The graph with exits, cut and run by ONNX Runtime."""
    if case.no_text is not None:
        return case.skipped("", case.no_text)
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")):
        return case.skipped("", "onnx and onnxruntime are not installed: pip install 'prunekit[export]'")
    import onnxruntime

    model = with_exits(case)
    names = [name for name, groups in case.groups(model).items() if groups]
    if names:
        Pruner(model, names, "random", budget={"name": "ratio", "keep": 0.5}).step()
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = export_onnx(model, Path(folder) / "model.onnx")
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:
            return case.skipped("", f"the exporter refuses: {refusal(error)}")
    for side in SIDES:
        padded = case.padded(side)
        inputs = {name: padded[name] for name in ("input_ids", "attention_mask")}
        if "token_type_ids" in [one.name for one in session.get_inputs()]:
            inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
        with torch.no_grad():
            expected = model(**inputs, all_exits=True).exit_logits
        try:
            found = torch.from_numpy(session.run(None, {n: v.numpy() for n, v in inputs.items()})[0])
        except Exception as error:
            return case.failed(side, f"the graph does not run: {refusal(error)}", "export_onnx")
        off = distance([found], [expected])
        if off > 1e-3 * max(1.0, float(expected.abs().max())):
            return case.failed(
                side, f"the graph is off by {off:.1e}", "export_onnx: what the trace made constant"
            )
        case.held(side)
    return None
