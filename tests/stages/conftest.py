import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """The tiny recipe, applied without a break."""
    from tiny import apply

    return apply(tmp_path_factory.mktemp("unbroken"))
