"""Bytes to values and back, by the papers of the protocols: SunSpec models, CAN signals.

Laws:
- Pure: bytes and a profile in, values out. No clock, no I/O, no memory of earlier bytes but compiled forms.
- Floats, foreign units and foreign signs stop here: what leaves as a reading is integer and in our sign.
- Not implemented, not a number and out of range all become None. None never becomes a number again.
- Nothing a device can send raises. Only encoding raises (CodecError), for a value that does not fit its point.

To add a protocol: one file that turns its bytes into the readings of controller.model, tested against the vendor's
paper or third-party code. To add a SunSpec model to a reading: its id and points in sunspec_readings.py.
"""
