"""Print how much of XAPI's API the simulator has: a table in Markdown, class by class.

python tools/simulator_coverage.py
"""

from xoproxy.simulator.coverage import coverage
from xoproxy.simulator.datamodel import DataModel


def main() -> None:
    found = sorted(coverage(DataModel.load()), key=lambda c: c.cls.lower())
    there = sum(len(c.implemented) for c in found)
    total = there + sum(len(c.missing) for c in found)
    print(f"{there} of {total} public calls.\n\n| Class | Calls | Missing |\n|---|---|---|")
    for one in found:
        calls = f"{len(one.implemented)} of {len(one.implemented) + len(one.missing)}"
        print(f"| {one.cls} | {calls} | {', '.join(one.missing)} |")


if __name__ == "__main__":
    main()
