"""Prints "PASSED FAILED" of a JUnit report; errors count as failures, skipped tests as neither."""

import sys
import xml.etree.ElementTree as ElementTree

passed = failed = 0
for case in ElementTree.parse(sys.argv[1]).getroot().iter("testcase"):
    if case.find("failure") is not None or case.find("error") is not None:
        failed += 1
    elif case.find("skipped") is None and case.get("status") not in ("disabled", "notrun"):
        passed += 1
print(passed, failed)
