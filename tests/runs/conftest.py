import shutil
import sys
from pathlib import Path

import pytest

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "stages"):
    sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def short_run(tmp_path_factory):
    """Three stages, applied without a break; not to be changed."""
    from short import SHORT
    from tiny import apply

    return apply(tmp_path_factory.mktemp("short"), **SHORT)


@pytest.fixture
def run(short_run, tmp_path):
    """A copy of that run, whose folder is ``tmp_path / "tiny"``."""
    return Path(shutil.copytree(short_run, tmp_path / "tiny"))


@pytest.fixture
def again(tmp_path):
    """Applies that recipe as ``prunekit apply`` does, and gives the keys of the stages that were run."""
    from short import SHORT
    from tiny import tiny_recipe

    from prunekit import comparison
    from prunekit.recipes import expand
    from prunekit.runs import Run
    from prunekit.stages import pipeline

    def apply(output=tmp_path, **changes):
        recipe = tiny_recipe(output, **{**SHORT, **changes})
        runs, ran, before = expand(recipe), [], pipeline._run_stage
        with pytest.MonkeyPatch.context() as patched, Run(recipe) as held:
            patched.setattr(
                pipeline,
                "_run_stage",
                lambda context, *rest: (ran.append(context.key), before(context, *rest)),
            )
            comparison.reopen(runs)
            comparison.train([(held, runs)])
        assert held.finished
        return ran

    return apply
