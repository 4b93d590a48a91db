"""Tests of one group run on one worker: the image tests share storage, stories a JupyterLab."""

import os

import pytest


@pytest.mark.xdist_group("kept together")
def test_the_group_of_a_test_reaches_the_workers(request: pytest.FixtureRequest) -> None:
    """xdist hands a group on as the end of a test's id; where that is lost, so is the group."""
    grouped = "PYTEST_XDIST_WORKER" in os.environ and request.config.option.loadgroup
    assert request.node.nodeid.endswith("@kept together") is bool(grouped)
