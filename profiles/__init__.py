"""Kinds of devices, as data: one TOML file each (and a DBC beside it for a battery on CAN), and ready-made sites.

Laws: every fact names its source; every controlling profile declares its watchdog; no code.
To add a device of a known protocol: its file, and the builders its conformance tests ask for.
"""
