"""Look for known weaknesses in the dependencies of ``constraints.txt``; 1: there are some.

Whether the advisories can be reached is not taken for granted: a release that is known to
be weak is asked about first. Only if that is found does an empty answer mean anything;
else nothing was audited, and this says so and ends well, since no change is to blame.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

#: CVE-2025-43859: lines of chunked bodies were taken leniently (request smuggling).
KNOWN_WEAK: Final = "h11==0.14.0"
_ROOT: Final = Path(__file__).parents[1]


def main() -> int:
    """Audit; return the exit status."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--program", default=str(_ROOT / ".venv/bin/pip-audit"))
    words.add_argument("--file", type=Path, default=_ROOT / "constraints.txt")
    options = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        control = Path(folder) / "control.txt"
        control.write_text(f"{KNOWN_WEAK}\n")
        found = ask(options.program, control)
    if found is None or not any(each.get("vulns") for each in found):
        print("audit: not run: no advisories can be reached (the control was missed)")
        return 0
    found = ask(options.program, options.file)
    if found is None:
        print("audit: the control was found, but the audit failed")
        return 1
    weak = [each for each in found if each.get("vulns")]
    unknown = [each for each in found if "skip_reason" in each]
    for each in weak:
        names = ", ".join(
            f"{one['id']} (mended in {', '.join(one['fix_versions']) or 'no release'})"
            for one in each["vulns"]
        )
        print(f"audit: {each['name']} {each['version']}: {names}")
    for each in unknown:
        print(f"audit: {each['name']}: nothing is known of it: {each['skip_reason']}")
    print(
        f"audit: {len(found)} dependencies, {len(weak)} with known weaknesses, "
        f"{len(unknown)} unknown; control caught"
    )
    return 1 if weak or unknown or not found else 0


def ask(program: str, requirements: Path) -> list[dict[str, Any]] | None:
    """Return what is known of each requirement; ``None`` if there is no answer."""
    done = subprocess.run(
        [
            *(program, "--requirement", str(requirements), "--no-deps"),
            *("--disable-pip", "--format", "json", "--progress-spinner", "off"),
        ],
        capture_output=True,
        text=True,
        check=False,  # 1 says that something was found
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        return None
    dependencies: list[dict[str, Any]] = answer["dependencies"]
    return dependencies


if __name__ == "__main__":
    sys.exit(main())
