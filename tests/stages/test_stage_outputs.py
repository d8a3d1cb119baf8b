"""What a run keeps of what its exits said."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from prunekit.errors import RunError
from prunekit.reports import read_report
from prunekit.stages.outputs import outputs_of


@pytest.mark.parametrize("split", ["validation", "test"])
def test_computed_again_from_the_run_as_they_were_saved(tiny_run, tmp_path, split):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_run, copy, ignore=shutil.ignore_patterns("outputs"))
    saved, computed = outputs_of(tiny_run, split), outputs_of(copy, split)
    assert not (copy / "outputs").exists()
    assert saved.texts is None and len(computed.texts) == len(saved.labels) == 30
    assert saved.digest == computed.digest
    np.testing.assert_allclose(saved.logits, computed.logits, atol=1e-5)
    for name in ("labels", "lengths", "dense_predictions", "exit_layers", "difficulty"):
        assert np.array_equal(getattr(saved, name), getattr(computed, name)), name
    assert list(saved.difficulties) == list(computed.difficulties)


def test_they_are_what_the_report_says(tiny_run):
    said, report = outputs_of(tiny_run, "test"), read_report(tiny_run / "report")
    evaluation = report.systems[0].evaluation
    for at_exit, scores in zip(said.logits, evaluation.exit_scores, strict=True):
        assert np.mean(at_exit.argmax(axis=1) == said.labels) == pytest.approx(scores["accuracy"])
    assert np.mean(said.dense_predictions == said.labels) == pytest.approx(
        evaluation.dense.scores["accuracy"]
    )


def test_a_run_that_did_not_end_is_refused(tmp_path):
    with pytest.raises(RunError, match="not a finished run"):
        outputs_of(tmp_path, "test")
