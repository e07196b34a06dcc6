"""Shared by all packages.  Each entry point imports from here first, so a Python that is too old is named here."""

import sys

if sys.version_info < (3, 11, 4):  # as in pyproject.toml; no syntax here that an older Python cannot read
    sys.exit("error: Python 3.11.4 or newer is needed; %s is %s" % (sys.executable, sys.version.split()[0]))  # noqa: UP031
