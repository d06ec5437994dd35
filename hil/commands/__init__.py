"""The commands of linepack-hil, one file each: arguments(parser) says what it takes, run(chosen) does it.

Exit codes, of all of them: 0 everything held, 1 something did not, 2 it could not be set up: a wrong command line, a
scenario with an error, a port that is taken.
"""

HELD, FAILED, NO_SETUP = 0, 1, 2
