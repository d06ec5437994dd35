"""The catalogue: a hundred faults that happen in the field, each with what has to hold all the same.

A row names a verb with its parameters; a fault of a scenario may give others. A row without a verb cannot be done yet
and says why. The rows come from what harnesses for autopilots, databases and inverters inject (ArduPilot, PX4,
TigerBeetle, Toxiproxy, SVP) and from what owners of such sites report.

To add a row: in the file of its kind, with the next number.
"""

from hil.faults import catalogue_host, catalogue_site, catalogue_wires
from hil.faults.words import Row

ROWS: dict[str, Row] = {row.id: row for row in (*catalogue_wires.ROWS, *catalogue_site.ROWS, *catalogue_host.ROWS)}
