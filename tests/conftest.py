"""For all tests: the peers that scenarios need are there, and figures are shown."""

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

from fakes.privileges import missing

#: Package by the program that is looked for.
PEERS = {
    "postfix": "postfix",
    "opendkim": "opendkim",
    "rspamd": "rspamd",
    "smtp-sink": "postfix",
    "saslpasswd2": "sasl2-bin",
    "swaks": "swaks",
    "unbound": "unbound",
    "knotd": "knot",
    "strace": "strace",
    "faketime": "faketime",
    "mkfs.ext4": "e2fsprogs",
    "systemd-analyze": "systemd",
    "promtool": "prometheus",
}
# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
_FIGURES = pytest.StashKey[list[str]]()
# Debian keeps daemons where only root's shell looks.
os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fail, and say what to install, before the first scenario: a skip hides a gap."""
    if not any(item.get_closest_marker("scenario") for item in items):
        return
    missing = sorted(
        {package for name, package in PEERS.items() if shutil.which(name) is None}
    )
    if missing:
        raise pytest.UsageError(
            f"the scenarios need {', '.join(missing)}: "
            f"apt-get install -y --no-install-recommends {' '.join(missing)} "
            '(or run -m "not scenario")'
        )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine does not let us do; ``-rs`` tells it at the end."""
    needs = [need for mark in item.iter_markers("needs") for need in mark.args]
    if item.get_closest_marker("scenario"):
        needs.insert(0, "root")
    for need in needs:
        if why := missing(need):
            pytest.skip(f"needs {why}")


@pytest.fixture
def publish(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return what takes a line for the end of the run: figures that people should see."""
    return request.config.stash.setdefault(_FIGURES, []).append


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the figures of a worker to the process that shows them."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["figures"] = session.config.stash.get(_FIGURES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take them over."""
    shown = node.config.stash.setdefault(_FIGURES, [])
    shown += getattr(node, "workeroutput", {}).get("figures", [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show the figures."""
    for line in config.stash.get(_FIGURES, []):
        terminalreporter.write_line(line)
