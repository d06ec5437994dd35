"""Linepack, the controller of a battery site: freeze the inputs, decide purely, check once more, then write.

The stairs, imports run downwards only: app; link, utility, journal; engine, gate, codec; rules, programs; model.
"""
