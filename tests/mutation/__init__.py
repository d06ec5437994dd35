"""Mutation testing: every small wrong change to gate, rules and engine must make a test fail.

Laws:
- All mutants of a file are built into one syntax tree, each behind a number (points.py). Which one acts is chosen at
  run time, so that start, imports and collection are paid for once; each mutant then runs in a forked child.
- A mutant is tried with the tests that reach its very point, as a first run of all tests has found (workers.py).
  Without a mutant that run must pass, or nothing is measured.
- A failed test, a crash and a test that no longer ends all kill.
- What survives is listed with a reason (survivors.txt) or fails. An entry whose mutant is killed now fails as well: the
  list may only shrink.
- Left alone: texts, annotations, asserts, imports, default values and whatever else runs at import, except constants.

To add an operator: a row or a case in points.py, and a line in the table of tests/test_mutation.py.
"""
