"""Holds what `plait inspect --json` says of a package against what it said of another one.

    compare_sizes.py LAST.json NOW.json [--allow PERCENT]

A table of the sizes goes to the standard output. The exit status is 1
where the weight file, or the weights of a function that both have, grew by more than PERCENT (2).
"""

import argparse
import json
import sys


def sizes(summary):
    """{what: bytes} of the weight file and of each function's weights."""
    found = {"weight file": summary["weights"]["file_bytes"]}
    found.update({f"function {function['name']}": function["weight_bytes"] for function in summary["functions"]})
    return found


def compare(last, now, allowed):
    """The rows of the table, and what grew too much."""
    before, after = sizes(last), sizes(now)
    rows, grown = [], []
    for what in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(what), after.get(what)
        if old is None or new is None:
            rows.append((what, old, new, "new" if old is None else "gone"))
            continue
        change = 100 * (new - old) / old if old else 100.0 * (new > 0)
        rows.append((what, old, new, f"{change:+.2f} %"))
        if change > allowed:
            grown.append(f"{what}: {old:,} bytes became {new:,}, {change:+.2f} %; {allowed:g} % is allowed")
    return rows, grown


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("last")
    parser.add_argument("now")
    parser.add_argument("--allow", type=float, default=2.0, metavar="PERCENT")
    arguments = parser.parse_args()
    with open(arguments.last) as last, open(arguments.now) as now:
        rows, grown = compare(json.load(last), json.load(now), arguments.allow)
    print(f"{'bytes of':<32}{'last release':>16}{'now':>16}")
    for what, old, new, change in rows:
        print(f"{what:<32}{'' if old is None else f'{old:,}':>16}{'' if new is None else f'{new:,}':>16}  {change}")
    for message in grown:
        print(f"error: {message}", file=sys.stderr)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
