"""Tests: a folder for each package that they test, and one for each kind of whole-system test."""

import os

# One key for every process of a test run, so that a template that one has filled can be read by
# all.
os.environ.setdefault("GRIDLOOP_SECRET_KEYS", "dGVzdC1rZXktdGVzdC1rZXktdGVzdC1rZXktMTIzNDU=")
