"""The commissioning record: a person saw this site's devices obey. Without one the gate lets nothing out."""

import msgspec


class Commission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who commissioned what. fingerprint is of the devices, the units and their ratings (gate.fingerprint)."""

    site: str
    fingerprint: str
    by: str
    at: str  # ISO 8601, with its offset
