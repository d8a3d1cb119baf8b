from __future__ import annotations

import pytest
from browser import Browser
from report_sample import make_report


@pytest.fixture
def report():
    return make_report()


@pytest.fixture(scope="module")
def browser():
    with Browser() as one:
        yield one
