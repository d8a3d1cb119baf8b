from __future__ import annotations

import pytest
from report_sample import make_report


@pytest.fixture
def report():
    return make_report()
