"""The exported graph, run by ONNX Runtime, against the model itself."""

from __future__ import annotations

import pytest
import torch
from families import ENCODERS, backbone, batch

from prunekit.exits import MultiExitForSequenceClassification
from prunekit.granularities import registry
from prunekit.runtime import export_onnx

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
pytest.importorskip("onnx", reason="the extra 'export' is not installed")


@pytest.mark.parametrize(
    ("reads", "certainty"), [("first", False), ("mean", True), ("learned", False), ("learned", True)]
)
@pytest.mark.parametrize("family", ENCODERS)
def test_every_exit_is_the_same_for_other_batches_and_lengths(family, reads, certainty, tmp_path):
    model = MultiExitForSequenceClassification.from_backbone(
        backbone(family), num_labels=3, reads=reads
    ).eval()
    with torch.no_grad():
        for head in model.exits:
            head.classifier.weight.mul_(40)
            if head.query is not None:
                head.query.weight.normal_()
    for granularity in ("heads", "neurons", "rank"):
        for index, group in enumerate(registry.build(granularity).groups(model)):
            group.keep(torch.arange(max(1, group.size // 2 - index)))
    if certainty:
        torch.nn.init.normal_(model.add_exit_certainty().linear.weight)
    model.set_exit_policy("learned" if certainty else "entropy")
    session = onnxruntime.InferenceSession(
        str(export_onnx(model, tmp_path / "model.onnx")), providers=["CPUExecutionProvider"]
    )
    assert not model.training
    for inputs in (batch(), batch(size=1, length=4, seed=3), batch(size=7, length=30, seed=4)):
        if "token_type_ids" in [one.name for one in session.get_inputs()]:
            inputs["token_type_ids"] = (inputs["input_ids"] % 2) * inputs["attention_mask"]
        found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        with torch.no_grad():
            output = model(**inputs, all_exits=True)
        expected = [output.exit_logits, *([output.exit_certainty] if certainty else [])]
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(torch.from_numpy(one), other, atol=1e-4)
    names = [output.name for output in session.get_outputs()]
    assert names == ["exit_logits", *(["exit_certainty"] if certainty else [])]
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_the_mode_is_left_as_it_was(tmp_path):
    model = MultiExitForSequenceClassification.from_backbone(backbone("bert")).train()
    export_onnx(model, tmp_path / "model.onnx")
    assert model.training
    assert all(module.training for module in model.modules())
