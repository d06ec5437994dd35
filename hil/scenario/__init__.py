"""Scenarios: what is played to a site, told in a TOML file.

Laws:
- Pure: a scenario is a value. What it plays is a function of the time and of its seed, asked in any order.
- Recordings are kept beside the repository and never in it (recording.py says where).
- Unknown keys and numbers out of their range are errors that name their path.

To add a kind of signal: a struct in signals.py, a field in Signal, a line in _parts.
"""
