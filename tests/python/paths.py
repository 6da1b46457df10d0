"""Where things are."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLAIT = pathlib.Path(os.environ.get("PLAIT", ROOT / "build" / "release" / "bin" / "plait"))
CHECK_PACKAGES = pathlib.Path(os.environ.get("PLAIT_CHECK_PACKAGES", PLAIT.with_name("check_packages")))  # tests/backend/CheckPackages.cpp
CHECK_PROGRAMS = PLAIT.with_name("check_programs")  # tests/generate/CheckPrograms.cpp
BUILD = PLAIT.resolve().parents[1]
