"""A few kills of the harness; ``make fuzz-kills KILLS=100`` does many."""

import random

import pytest
from fuzz.kill import Harness, differences, picture


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_a_few_times_a_run_ends_as_if_it_never_was(tmp_path):
    seed = random.SystemRandom().randrange(10**6)
    print(f"moments drawn from seed {seed}")
    harness = Harness(tmp_path, seed)
    harness.run(5)
    print(harness.words())
    assert harness.bad == []
    assert sum(harness.kills.values()) == 5
    # What the harness would not see it could not miss.
    unbroken = tmp_path / "unbroken" / "runs"
    (unbroken / "micro" / ".left.tmp").touch()
    weights = unbroken / "micro" / "stages" / "4-recover" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert differences(harness.unbroken, picture(unbroken)) == [
        "differs: micro/stages/4-recover/model/model.safetensors",
        "left over: micro/.left.tmp",
    ]
