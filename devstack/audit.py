"""Ask PyPI for known vulnerabilities of the packages that ship: `python -m devstack.audit`.

Fails if there is one. If PyPI can't be asked, it says so in one line and succeeds, because a machine without network must be
able to run the checks.
"""

import json
import subprocess
import sys
from typing import Any

from devstack.folder import PROJECT

LONGEST_S = 15
COMMAND = [
    *(sys.executable, "-m", "pip_audit", "--requirement", str(PROJECT / "requirements.lock")),
    # The lock file has all versions, so nothing needs to be resolved or installed.
    *("--disable-pip", "--progress-spinner", "off", "--timeout", "5", "--format", "json"),
]


def main() -> int:
    packages, failure = read_report()
    audited = [package for package in packages if "vulns" in package]
    found = [(package, each) for package in audited for each in package["vulns"]]
    for package, each in found:
        fixed = ", ".join(each["fix_versions"]) or "none"
        print(f"{package['name']} {package['version']} has a known vulnerability: {each['id']}; fixed in: {fixed}")
    if len(audited) < len(packages) or not packages:
        print(f"Not audited for known vulnerabilities: {len(packages) - len(audited) or 'all'} package(s) ({failure}).")
    return 1 if found else 0


def read_report() -> tuple[list[dict[str, Any]], str]:
    """Return each package with its `vulns`, if PyPI knows it, and why others have none."""
    try:
        run = subprocess.run(COMMAND, capture_output=True, text=True, check=False, timeout=LONGEST_S)
        # Its exit code is 1 for a vulnerability as for a failure.
        return list(json.loads(run.stdout)["dependencies"]), "PyPI does not know them here"
    except subprocess.TimeoutExpired:
        return [], f"no answer within {LONGEST_S} s"
    except (json.JSONDecodeError, KeyError):
        return [], "PyPI can't be reached"


if __name__ == "__main__":
    sys.exit(main())
