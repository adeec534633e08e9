"""The audit of dependencies never takes silence for an answer."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
AUDIT = ROOT / ".ci/audit.py"
#: Stands for pip-audit: what it knows of the control and of everything else.
PROGRAM = """\
#!{python}
import json, sys
names = [line.strip() for line in open(sys.argv[2])]
known = {known}
said = []
for each in names:
    name, _, version = each.partition("==")
    found = known[name == "h11"]
    if found is None:
        sys.exit("no network")
    said.append({{"name": name, "version": version, **found}})
print(json.dumps({{"dependencies": said, "fixes": []}}))
sys.exit(any(each.get("vulns") for each in said))
"""
FINE: dict[str, object] = {"vulns": []}
WEAK: dict[str, object] = {
    "vulns": [{"id": "PYSEC-0-0", "fix_versions": ["2.0"], "aliases": []}]
}
UNKNOWN: dict[str, object] = {"skip_reason": "not found"}


def audit(
    folder: Path, *, others: dict[str, object] | None, control: dict[str, object] | None
) -> tuple[int, str]:
    """Return status and text of an audit; ``None`` is no network."""
    program = folder / "pip-audit"
    known = repr([others, control])
    program.write_text(PROGRAM.format(python=sys.executable, known=known))
    program.chmod(0o755)
    constraints = folder / "constraints.txt"
    constraints.write_text("one==1.0\ntwo==1.0\n")
    done = subprocess.run(
        [sys.executable, AUDIT, "--program", program, "--file", constraints],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("control", [None, UNKNOWN, FINE])
def test_without_advisories_it_says_that_it_did_not_run(
    tmp_path: Path, control: dict[str, object] | None
) -> None:
    status, text = audit(tmp_path, others=FINE, control=control)
    assert (status, text.startswith("audit: not run: ")) == (0, True)


def test_a_known_weakness_fails(tmp_path: Path) -> None:
    status, text = audit(tmp_path, others=WEAK, control=WEAK)
    assert status == 1
    assert "audit: one 1.0: PYSEC-0-0 (mended in 2.0)" in text
    assert "2 dependencies, 2 with known weaknesses" in text


@pytest.mark.parametrize("others", [UNKNOWN, None])
def test_what_cannot_be_audited_fails_when_the_control_was_found(
    tmp_path: Path, others: dict[str, object] | None
) -> None:
    assert audit(tmp_path, others=others, control=WEAK)[0] == 1


def test_dependencies_without_known_weaknesses_pass(tmp_path: Path) -> None:
    status, text = audit(tmp_path, others=FINE, control=WEAK)
    assert status == 0
    assert "2 dependencies, 0 with known weaknesses, 0 unknown; control caught" in text


def test_ci_audits() -> None:
    assert ".ci/audit.py" in (ROOT / ".ci/run").read_text("utf-8")
