import sys
from pathlib import Path

import pytest

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "stages"):
    sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A comparison of three systems with two seeds, trained without a break: its folder and runs."""
    from comparing import apply

    output = tmp_path_factory.mktemp("whole")
    return output, apply(output)
