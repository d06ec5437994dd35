"""The compiled decoder agrees with pysunspec2 on every model, and differs only where it says so."""

import json
import math
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sunspec2 import device, mb

from controller.codec.sunspec import CodecError, Value, bit_names, boundary, decode, encode, known, spoiled
from controller.codec.sunspec_control import heartbeat_write, power_writes, reactive_disabling_write, reactive_writes
from controller.codec.sunspec_readings import reading, remote, used, wanted
from controller.model import Battery, Inverter, Meter, Profile

PEER = Path(device.__file__).parent
SHIPPED = sorted(int(file.stem.removeprefix("model_")) for file in (PEER / "models" / "json").glob("model_*.json"))
IMAGES = sorted((PEER / "tests" / "test_data").glob("*.json"))
SEEDS = 4
COUNTED = 3  # how often a group repeats in a random block, at most


def points(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and pysunspec2 point of everything but pads."""
    yield from ((prefix + name, point) for name, point in group.points.items() if point.pdef["type"] != "pad")
    for name, inner in group.groups.items():
        for index, one in enumerate(inner if isinstance(inner, list) else (inner,)):
            yield from points(one, f"{prefix}{name}[{index}]." if isinstance(inner, list) else f"{prefix}{name}.")


def definitions(group: Any) -> Iterator[dict[str, Any]]:
    yield group
    for inner in group.get("groups", ()):
        yield from definitions(inner)


def random_block(model_id: int, rng: random.Random) -> bytes:
    """Return registers of one model: random values, a fifth not implemented, legal scale factors, text in texts."""
    root = device.get_model_def(model_id)["group"]
    size = sum(point["size"] for point in root["points"])
    counts = {group.get("count") for group in definitions(root)}
    fill = next((group for group in root.get("groups", ()) if group.get("count") == 0), None)
    length = size - 2 + (rng.randint(1, COUNTED) * sum(point["size"] for point in fill["points"]) if fill else 0)
    start = b""
    for point in root["points"]:
        value = rng.randint(1, COUNTED) if point["name"] in counts else {"ID": model_id, "L": length}.get(point["name"])
        start += _random_point(point, rng) if value is None else struct.pack(">H", value)
    empty = device.Model(model_id, model_len=length if fill else 0, data=start + bytes(2 * (length + 2) - len(start)))
    block = b"".join(
        start[2 * point.offset : 2 * (point.offset + point.len)]
        if point.offset + point.len <= size
        else _random_point(point.pdef, rng)
        for point in _in_order(empty)
    )
    return block[:2] + struct.pack(">H", len(block) // 2 - 2) + block[4:]


def _in_order(model: Any) -> list[Any]:
    found = []

    def take(group: Any) -> None:
        found.extend(group.points.values())
        for inner in group.groups.values():
            for one in inner if isinstance(inner, list) else (inner,):
                take(one)

    take(model)
    return sorted(found, key=lambda point: int(point.offset))


def _random_point(point: dict[str, Any], rng: random.Random) -> bytes:
    size = 2 * point["size"]
    if point["type"] == "sunssf":
        return struct.pack(">h", rng.randint(-10, 10))
    if point["type"] == "string":
        text = "".join(rng.choices("Linepäck 1", k=rng.randrange(0, point["size"])))
        return text.encode().ljust(size, b"\0")
    if rng.random() < 0.2 and not point["type"].startswith("acc"):
        return bytes(mb.create_unimpl_value(point["type"], len=size)).ljust(size, b"\xff")[:size]
    return rng.randbytes(size).replace(b"\0", b"\1") if point["type"].startswith("acc") else rng.randbytes(size)


def same(ours: Value, theirs: Any, registers: int) -> bool:
    if isinstance(theirs, (int, float)) and isinstance(ours, (int, float)):
        if registers == 4:
            return math.isclose(ours, theirs, rel_tol=1e-15)
        return float(ours) == float(theirs)
    if isinstance(theirs, float) and math.isinf(theirs):
        return ours is None
    return bool(ours == theirs)


def test_every_shipped_definition_is_known() -> None:
    assert len(SHIPPED) == 112
    assert all(known(model_id) for model_id in SHIPPED)
    assert not known(64999)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("model_id", SHIPPED)
def test_decodes_every_model_as_pysunspec2_does(model_id: int, seed: int) -> None:
    block = random_block(model_id, random.Random(1000 * model_id + seed))
    peer = device.Model(model_id, model_len=len(block) // 2 - 2, data=block)
    assert not peer.error_info
    theirs = dict(points(peer))
    ours = decode(block)
    assert set(ours) == set(theirs)
    wrong = {
        path: (ours[path], point.cvalue)
        for path, point in theirs.items()
        if not same(ours[path], point.cvalue, point.len)
    }
    assert wrong == {}


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.stem)
def test_decodes_the_device_images_of_pysunspec2(image: Path) -> None:
    for values in json.loads(image.read_text())["models"]:
        model = device.Model(values["ID"], data=values)
        ours = decode(model.get_mb())
        for path, point in points(model):
            theirs = point.cvalue
            unscaled = point.sf_required and point.sf_value is None
            if not unscaled and not point.pdef["type"].startswith("acc"):
                assert same(ours[path], theirs, point.len), (model.model_id, path)


@given(st.sampled_from(SHIPPED), st.binary(max_size=800))
def test_nothing_that_a_device_can_send_raises(model_id: int, registers: bytes) -> None:
    for block in (registers, struct.pack(">H", model_id) + registers):
        decode(block)
        spoiled(block)
        if len(block) >= 4:
            boundary(block, 125)


def model_701(**raw: int) -> bytes:
    return bytes(device.Model(701, data={"ID": 701, "L": 153, **raw}).get_mb())


@pytest.mark.parametrize("factor", [-0x8000, -11, 11, 300, 32767])
def test_a_scale_factor_that_cannot_be_makes_the_power_unknown_and_says_so(factor: int) -> None:
    block = model_701(W=1234, Var=5, W_SF=factor, Var_SF=0)
    assert decode(block)["W"] is None
    assert decode(block)["Var"] == 5
    assert used(701, spoiled(block)) == ("W",)


@pytest.mark.parametrize(
    ("factor", "expected"), [(-10, 1234e-10), (-1, 123.4), (0, 1234), (1, 12340), (10, 1234 * 10**10)]
)
def test_every_legal_scale_factor_is_applied(factor: int, expected: float) -> None:
    block = model_701(W=1234, W_SF=factor)
    assert decode(block)["W"] == expected
    assert spoiled(block) == ()


def test_points_that_are_not_implemented_are_none_and_not_spoiled() -> None:
    block = model_701()
    assert {path for path, value in decode(block).items() if value is not None} == {"ID", "L"}
    assert spoiled(block) == ()


def test_a_meter_that_has_counted_nothing_tells_zero_and_not_unknown() -> None:
    block = device.Model(203, data={"ID": 203, "L": 105, "TotWhExp": 0, "TotWh_SF": 0}).get_mb()
    assert decode(block)["TotWhExp"] == 0


def test_a_float_that_is_infinite_or_not_a_number_is_none() -> None:
    block = bytearray(device.Model(213, data={"ID": 213, "L": 124}).get_mb())
    for pattern in ("7f800000", "ff800000", "7fc00000", "ffc00001", "7f800001"):
        block[2 * 28 : 2 * 30] = bytes.fromhex(pattern)
        assert decode(bytes(block))["W"] is None
    block[2 * 28 : 2 * 30] = struct.pack(">f", 2143289344.0)
    assert decode(bytes(block))["W"] == 2143289344.0


def test_a_64_bit_counter_keeps_all_its_digits() -> None:
    block = model_701(TotWhInj=2**63 + 1, TotWh_SF=1)
    assert decode(block)["TotWhInj"] == (2**63 + 1) * 10


@pytest.mark.parametrize("count", [0, 0xFFFF])
def test_a_count_of_none_leaves_out_the_groups_and_keeps_the_rest(count: int) -> None:
    block = struct.pack(">HHHHH", 714, 18, 0, 0, count) + bytes(2 * 15)
    assert decode(block)["NPrt"] == (None if count else 0)
    assert not any(path.startswith("Prt[") for path in decode(block))


def test_a_count_beyond_the_registers_gives_the_groups_that_fit() -> None:
    data = {"ID": 714, "L": 43, "NPrt": 1, "DCW_SF": 0, "Prt": [{"DCW": 700}]}
    block = bytearray(device.Model(714, data=data).get_mb())
    block[8:10] = b"\xff\xfe"
    values = decode(bytes(block))
    assert values["Prt[0].DCW"] == 700
    assert not any(path.startswith("Prt[1]") for path in values)


def test_a_shorter_model_gives_the_points_that_fit_and_a_longer_one_ignores_the_rest() -> None:
    block = model_701(W=500, W_SF=0)
    short = block[:2] + struct.pack(">H", 118) + block[4 : 2 * 120]
    assert decode(short)["W"] == 500
    assert "Var_SF" in decode(short)
    assert "TotWh_SF" not in decode(short)
    longer = block[:2] + struct.pack(">H", 160) + block[4:] + b"\x12\x34" * 7
    assert {**decode(longer), "L": 153} == decode(block)


def test_power_is_unknown_where_the_model_ends_before_its_scale_factor() -> None:
    block = model_701(W=500, W_SF=0)
    short = block[:2] + struct.pack(">H", 100) + block[4 : 2 * 102]
    assert decode(short)["W"] is None
    assert "W" in spoiled(short)


def test_a_vendor_model_decodes_to_nothing() -> None:
    assert decode(struct.pack(">HHHH", 64201, 2, 1, 2)) == {}
    assert spoiled(struct.pack(">HHHH", 64201, 2, 1, 2)) == ()


@pytest.mark.parametrize(("model_id", "registers"), [(701, 123), (213, 124), (103, 52), (704, 67), (64201, 0)])
def test_a_model_is_cut_between_points(model_id: int, registers: int) -> None:
    length = 500 if model_id == 64201 else device.Model(model_id).len - 2
    assert boundary(struct.pack(">HH", model_id, length), 125) == registers


def test_alarm_bits_have_the_names_of_the_paper() -> None:
    assert bit_names(701, "Alrm", 0b10_0000_0000_0001_0001) == ("GROUND_FAULT", "GRID_DISCONNECT", "bit 17")
    assert bit_names(701, "Alrm", 0x8000_0000) == ()
    assert bit_names(701, "Alrm", None) == ()


# --- commands ---------------------------------------------------------------------------------------------------


def peer_bytes(model_id: int, point: str, value: float, factor: str, exponent: int) -> bytes:
    """Return what pysunspec2 would write."""
    model = device.Model(model_id)
    model.points[factor].value = exponent
    model.points[point].cvalue = value
    return bytes(model.points[point].get_mb())


@pytest.mark.parametrize("exponent", [-2, -1, 0, 1, 3])
@pytest.mark.parametrize("value", [0, 5000, -5000, 12000, -12000])
def test_encodes_set_points_as_pysunspec2_does(value: int, exponent: int) -> None:
    assert encode(704, "WSet", value, exponent) == peer_bytes(704, "WSet", value, "WSet_SF", exponent)


@pytest.mark.parametrize(("value", "expected"), [(5999, 59), (-5999, -59), (99, 0), (-99, 0)])
def test_rounding_never_exceeds_what_was_decided(value: int, expected: int) -> None:
    assert encode(704, "WSet", value, 2) == struct.pack(">i", expected)


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 99.9])
def test_decimal_fractions_are_encoded_as_they_are_written(value: float) -> None:
    assert encode(704, "WMaxLimPct", value, -1) == struct.pack(">H", round(value * 10))


@pytest.mark.parametrize(
    ("point", "value", "exponent"),
    [
        ("WSet", 2**31, 0),
        ("WSet", -(2**31), 0),  # the number that means not implemented
        ("WSetRvrtTms", 2**32 - 1, 0),
        ("WSetRvrtTms", -1, 0),
        ("WSetPct", 32768, 0),
        ("WSet", 1, -0x8000),
        ("WSet", 1, 11),
        ("WSet", math.nan, 0),
        ("WSet", math.inf, 0),
        ("WSetRvrtRem", 1, 0),  # read only
    ],
)
def test_what_does_not_fit_a_point_is_refused(point: str, value: float, exponent: int) -> None:
    with pytest.raises(CodecError, match=point):
        encode(704, point, value, exponent)


def model_704(**raw: int) -> Any:
    values = {"WSetEna": 0, "WSetMod": 0, "WSet": 0, "WSetRvrt": 99, "WSetPct": 250, "WSetPctRvrt": 7}
    values |= {"WSetEnaRvrt": 1, "WSetRvrtTms": 0, "WSetRvrtRem": 0, "WSet_SF": 1, "WSetPct_SF": -1, "VarSet": 17}
    return device.Model(704, data={"ID": 704, "L": 65, **values, **raw})


def applied(model: Any, power_w: int, valid_ms: int) -> Any:
    """Return the model as pysunspec2 reads it after the writes."""
    block = bytearray(model.get_mb())
    for write in power_writes(bytes(block), power_w, valid_ms):
        block[2 * write.offset : 2 * write.offset + len(write.registers)] = write.registers
    return device.Model(704, model_len=65, data=bytes(block))


@pytest.mark.parametrize("power_w", [0, 5000, -5000, 4321])
def test_a_set_point_reads_back_with_its_lease_and_touches_nothing_else(power_w: int) -> None:
    model = model_704()
    after = applied(model, power_w, 10_001)
    changed = {
        "WSetEna": 1,
        "WSetMod": 1,
        "WSet": power_w // 10 * 10,
        "WSetRvrt": 0,
        "WSetEnaRvrt": 0,
        "WSetRvrtTms": 11,
    }
    for path, point in points(model):
        assert dict(points(after))[path].cvalue == changed.get(path, point.cvalue), path


def test_a_set_point_goes_out_in_one_block() -> None:
    assert [(write.offset, len(write.registers)) for write in power_writes(model_704().get_mb(), 1, 1000)] == [(22, 22)]


def test_points_a_device_lacks_are_not_written_and_the_timer_goes_before_the_enabling() -> None:
    block = bytearray(model_704().get_mb())
    block[2 * 28 : 2 * 30] = b"\x80\x00\x80\x00"
    assert [(write.offset, len(write.registers)) for write in power_writes(bytes(block), 1, 1000)] == [
        (30, 6),
        (22, 12),
    ]


@pytest.mark.parametrize(
    ("offset", "unimplemented", "told"),
    [
        (22, "ffff", "WSetEna"),
        (23, "ffff", "WSetMod"),
        (24, "80000000", "WSet"),
        (31, "ffffffff", "WSetRvrtTms"),
        (55, "8000", "scale factor"),
        (55, "012c", "scale factor"),
    ],
)
def test_a_device_without_a_lease_or_a_scale_is_not_commanded(offset: int, unimplemented: str, told: str) -> None:
    block = bytearray(model_704().get_mb())
    registers = bytes.fromhex(unimplemented)
    block[2 * offset : 2 * offset + len(registers)] = registers
    with pytest.raises(CodecError, match=told):
        power_writes(bytes(block), 1000, 10_000)
    with pytest.raises(CodecError):
        power_writes(bytes(block[:80]), 1000, 10_000)


# Model definition 704: VarSetEna is register 35, VarSetMod 4 means vars, VarSet is in var by VarSet_SF, RvrtTms in s.
REACTIVE = {"VarSetEna": 0, "VarSetMod": 1, "VarSetPri": 2, "VarSet": 17, "VarSetRvrt": 5, "VarSetPct": -30}
REACTIVE |= {"VarSetPctRvrt": 40, "VarSetEnaRvrt": 1, "VarSetRvrtTms": 0, "VarSetRvrtRem": 0, "VarSet_SF": 1}


@pytest.mark.parametrize(("reactive_var", "stored_var"), [(2000, 2000), (-2000, -2000), (1239, 1230), (-1239, -1230)])
def test_a_reactive_power_reads_back_with_its_lease_and_touches_nothing_else(
    reactive_var: int, stored_var: int
) -> None:
    model = model_704(**REACTIVE)
    block = bytearray(model.get_mb())
    writes = reactive_writes(bytes(block), reactive_var, 10_001)
    assert [(write.offset, len(write.registers)) for write in writes] == [(35, 24)]
    for write in writes:
        block[2 * write.offset : 2 * write.offset + len(write.registers)] = write.registers
    after = dict(points(device.Model(704, model_len=65, data=bytes(block))))
    changed = {"VarSetEna": 1, "VarSetMod": 4, "VarSet": stored_var, "VarSetRvrt": 0, "VarSetEnaRvrt": 0}
    changed["VarSetRvrtTms"] = 11
    for path, point in points(model):
        assert after[path].cvalue == changed.get(path, point.cvalue), path


def test_a_device_without_a_priority_takes_the_timer_before_the_enabling() -> None:
    block = model_704(**{**REACTIVE, "VarSetPri": None}).get_mb()  # type: ignore[arg-type]
    assert [(write.offset, write.registers.hex(" ", 2)) for write in reactive_writes(block, -50, 9000)] == [
        (38, "ffff fffb 0000 0000 ffe2 0028 0000 0000 0009"),
        (35, "0001 0004"),
    ]


@pytest.mark.parametrize("point", ["VarSetEna", "VarSetMod", "VarSet", "VarSetRvrtTms"])
def test_a_device_without_a_leased_reactive_power_still_takes_active_power(point: str) -> None:
    block = model_704(**{**REACTIVE, point: None}).get_mb()  # type: ignore[arg-type]
    with pytest.raises(CodecError, match=f"model 704 does not implement {point}:"):
        reactive_writes(block, 1000, 10_000)
    assert len(power_writes(block, 1000, 10_000)) == 1


@pytest.mark.parametrize("factor", [None, 11])
def test_a_device_without_a_scale_of_vars_takes_none(factor: int | None) -> None:
    block = model_704(**{**REACTIVE, "VarSet_SF": factor}).get_mb()  # type: ignore[arg-type]
    with pytest.raises(CodecError, match="scale factor"):
        reactive_writes(block, 1000, 10_000)
    with pytest.raises(CodecError, match="too short to tell the scale factor of VarSet"):
        reactive_writes(block[:112], 1000, 10_000)


def test_reactive_power_is_taken_back_by_its_own_enable() -> None:
    write = reactive_disabling_write()
    assert (write.offset, write.registers.hex()) == (35, "0000")


@pytest.mark.parametrize(
    ("counter", "registers"), [(1, "00000001"), (0xFFFF_FFFE, "fffffffe"), (0xFFFF_FFFF, "00000000")]
)
def test_the_heartbeat_wraps_before_the_number_that_means_nothing(counter: int, registers: str) -> None:
    write = heartbeat_write(counter)
    assert (write.offset, write.registers.hex()) == (5, registers)


# --- readings ---------------------------------------------------------------------------------------------------

INVERTER = Profile(name="t", kind="inverter", protocol="sunspec", source="t", latency_ms=40)
METER = Profile(name="t", kind="meter", protocol="sunspec", source="t", power_sign=-1)
BATTERY = Profile(name="t", kind="battery", protocol="sunspec", source="t", power_sign=-1)


def models(**raw: dict[str, int]) -> dict[int, Any]:
    """Return decoded models from raw values, m701={"W": 1}."""
    ids = {int(name[1:]): values for name, values in raw.items()}
    return {number: decode(device.Model(number, data=values).get_mb()) for number, values in ids.items()}


def test_an_inverter_tells_every_word_of_its_reading() -> None:
    told = models(
        m701={"W": -312, "W_SF": 1, "Var": 45, "Var_SF": 0, "InvSt": 3, "ConnSt": 1, "Alrm": 0b10_0000_0000},
        m702={"WMax": 50, "WChaRteMax": 40, "WDisChaRteMax": 60, "W_SF": 2, "VAMax": 66, "VA_SF": 2},
        m715={"LocRemCtl": 1},
        m122={"Ris": 51_299, "Ris_SF": 1},
    )
    assert reading("inverter", INVERTER, told, 5000) == Inverter(
        device="inverter",
        sampled_ms=4960,
        heard_ms=5000,
        power_w=-3120,
        reactive_var=45,
        state="run",
        remote=False,
        connected=True,
        charge_max_w=4000,
        discharge_max_w=5000,
        apparent_max_va=6600,
        isolation_kohm=512,
        alarms=("UNDER_FREQUENCY",),
    )


def test_an_older_inverter_is_read_by_103_120_and_121() -> None:
    told = models(
        m103={"W": 250, "W_SF": 1, "VAr": -3, "VAr_SF": 2, "St": 8, "Evt1": 1},
        m120={"WRtg": 6000, "WRtg_SF": 0, "MaxChaRte": 30, "MaxChaRte_SF": 2, "MaxDisChaRte": 55, "MaxDisChaRte_SF": 2},
        m121={"WMax": 50, "WMax_SF": 2, "VAMax": 520, "VAMax_SF": 1},
    )
    assert reading("inverter", INVERTER, told, 40) == Inverter(
        device="inverter",
        sampled_ms=0,
        heard_ms=40,
        power_w=2500,
        reactive_var=-300,
        state="standby",
        charge_max_w=3000,
        discharge_max_w=5000,
        apparent_max_va=5200,
        alarms=("GROUND_FAULT",),
    )


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        ({}, "run"),
        ({"St": 0}, "off"),
        ({"St": 1}, "run"),
        ({"InvSt": 0}, "off"),
        ({"InvSt": 1}, "standby"),
        ({"InvSt": 2}, "starting"),
        ({"InvSt": 4}, "run"),
        ({"InvSt": 3, "ConnSt": 0}, "standby"),
        ({"InvSt": 5}, "off"),
        ({"InvSt": 6}, "fault"),
        ({"InvSt": 6, "ConnSt": 0}, "fault"),
        ({"InvSt": 77}, "fault"),
    ],
)
def test_an_inverter_state_means_what_the_paper_says(raw: dict[str, int], state: str) -> None:
    told = reading("inverter", INVERTER, models(m701=raw), 0)
    assert isinstance(told, Inverter)
    assert told.state == state
    assert told.alarms == (("unknown state 77",) if raw.get("InvSt") == 77 else ())


def test_an_inverter_at_night_tells_no_power_and_not_zero() -> None:
    told = reading("inverter", INVERTER, models(m701={"W_SF": 0, "InvSt": 1}), 0)
    assert isinstance(told, Inverter)
    assert told.power_w is None


@pytest.mark.parametrize(
    ("raw", "obeys"), [({"LocRemCtl": 0}, True), ({"LocRemCtl": 1}, False), ({}, True), ({"LocRemCtl": 9}, False)]
)
def test_only_a_device_that_does_not_say_local_obeys(raw: dict[str, int], obeys: bool) -> None:
    assert remote(models(m715=raw)) is obeys


def test_a_switch_that_could_not_be_read_does_not_mean_remote() -> None:
    assert remote({715: {}}) is False
    assert remote({}) is True


def test_a_meter_that_counts_import_positive_is_turned() -> None:
    told = models(m203={"W": 420, "W_SF": 1, "PhV": 2301, "V_SF": -1, "Hz": 4998, "Hz_SF": -2})
    assert reading("meter", METER, told, 70) == Meter(
        device="meter", sampled_ms=70, heard_ms=70, power_w=-4200, voltage_mv=230_100, frequency_mhz=49_980
    )
    assert reading("meter", METER, models(m203={"W_SF": 1}), 70) is None


@pytest.mark.parametrize(("raw", "connected"), [({"ConnSt": 0}, False), ({"ConnSt": 1}, True), ({}, None)])
def test_only_an_inverter_that_says_so_is_connected_or_not(raw: dict[str, int], connected: bool | None) -> None:
    told = reading("inverter", INVERTER, models(m701=raw), 0)
    assert isinstance(told, Inverter) and told.connected is connected
    older = reading("inverter", INVERTER, models(m103={"St": 4}), 0)
    assert isinstance(older, Inverter) and older.connected is None


def test_the_smaller_of_two_apparent_powers_counts_and_none_is_none() -> None:
    told = {"m701": {"InvSt": 3}, "m121": {"VAMax": 5000, "VAMax_SF": 0}, "m702": {"VAMax": 6000, "VA_SF": 0}}
    both = reading("inverter", INVERTER, models(**told), 0)
    assert isinstance(both, Inverter) and both.apparent_max_va == 5000
    neither = reading("inverter", INVERTER, models(m701={"InvSt": 3}, m702={"WMax": 1, "W_SF": 0}), 0)
    assert isinstance(neither, Inverter) and (neither.apparent_max_va, neither.isolation_kohm) == (None, None)


PHASES = {"WphA": 100, "WphB": -50, "WphC": 370, "PhVphA": 2301, "PhVphB": 2311, "PhVphC": 2292, "V_SF": -1}
PHASES |= {"AphA": 44, "AphB": -22, "AphC": 161, "A_SF": -1, "W": 420, "W_SF": 1}


@pytest.mark.parametrize("number", [202, 203, 204])
def test_a_meter_tells_its_phases_in_our_sign(number: int) -> None:
    told = reading("meter", METER, models(**{f"m{number}": PHASES}), 0)
    assert isinstance(told, Meter)
    assert (told.power_w, told.phase_w) == (-4200, (-1000, 500, -3700))
    assert told.phase_mv == (230_100, 231_100, 229_200)
    assert told.phase_ma == (4400, 2200, 16_100)


def test_a_meter_of_floats_tells_its_phases_and_its_own_sign_where_export_is_positive() -> None:
    raw = {"WphA": 100.4, "WphB": -50.0, "WphC": 370.0, "W": 420.0, "AphA": 1.5, "AphB": 2.5, "AphC": 3.5}
    values = decode(device.Model(213, data=raw).get_mb())
    export = Profile(name="t", kind="meter", protocol="sunspec", source="t")
    told = reading("meter", export, {213: values}, 0)
    assert isinstance(told, Meter)
    assert (told.power_w, told.phase_w, told.phase_ma) == (420, (100, -50, 370), (1500, 2500, 3500))
    assert told.phase_mv is None


@pytest.mark.parametrize("lost", ["WphA", "WphB", "WphC"])
def test_phases_are_unknown_unless_all_three_are_told(lost: str) -> None:
    told = reading("meter", METER, models(m203={name: value for name, value in PHASES.items() if name != lost}), 0)
    assert isinstance(told, Meter) and told.phase_w is None and told.phase_mv is not None


@pytest.mark.parametrize("number", [201, 211])
def test_a_meter_of_one_phase_has_no_phases_whatever_it_fills_in(number: int) -> None:
    told = reading("meter", METER, {number: decode(device.Model(number, data={**PHASES}).get_mb())}, 0)
    assert isinstance(told, Meter)
    assert (told.phase_w, told.phase_mv, told.phase_ma) == (None, None, None)


def test_what_a_scale_factor_spoils_of_the_phases_is_named() -> None:
    block = device.Model(203, data={**PHASES, "A_SF": 11}).get_mb()
    assert used(203, spoiled(block)) == ("AphA", "AphB", "AphC")
    assert used(122, spoiled(device.Model(122, data={"Ris": 1, "Ris_SF": -11}).get_mb())) == ("Ris",)
    assert used(702, spoiled(device.Model(702, data={"VAMax": 1, "VA_SF": 99}).get_mb())) == ("VAMax",)
    assert used(121, spoiled(device.Model(121, data={"VAMax": 1, "VAMax_SF": 99}).get_mb())) == ("VAMax",)


def test_a_battery_bank_tells_every_word_of_its_reading() -> None:
    told = models(
        m802={
            "SoC": 555,
            "SoC_SF": -1,
            "SoH": 99,
            "SoH_SF": 0,
            "V": 512,
            "V_SF": -1,
            "A": -200,
            "A_SF": -1,
            "AChaMax": 25,
            "ADisChaMax": 50,
            "AMax_SF": 0,
            "VMax": 560,
            "VMin": 450,
            "State": 3,
            "CellVMin": 3201,
            "CellVMax": 3302,
            "CellV_SF": -3,
            "Evt1": 0b110,
        },
        m713={"WHRtg": 0, "SoC": 0, "Pct_SF": 0, "WH_SF": 0, "Sta": 2},
    )
    assert reading("battery", BATTERY, told, 70) == Battery(
        device="battery",
        sampled_ms=70,
        heard_ms=70,
        soc_bp=5550,
        soh_bp=9900,
        voltage_mv=51_200,
        current_ma=20_000,
        charge_max_ma=25_000,
        discharge_max_ma=50_000,
        charge_max_mv=56_000,
        discharge_min_mv=45_000,
        contactor_closed=True,
        cell_min_mv=3201,
        cell_max_mv=3302,
        alarms=("OVER_TEMP_ALARM",),
        warnings=("OVER_TEMP_WARNING",),
    )


@pytest.mark.parametrize(("rated", "soc_bp"), [(0, None), (None, None), (10_000, 4200)])
def test_storage_counts_only_where_there_is_some(rated: int | None, soc_bp: int | None) -> None:
    values = {"SoC": 42, "Pct_SF": 0, "WH_SF": 0} | ({} if rated is None else {"WHRtg": rated})
    told = reading("battery", BATTERY, models(m713=values), 0)
    assert isinstance(told, Battery)
    assert told.soc_bp == soc_bp


def test_basic_storage_tells_charge_and_its_charge_limit_as_a_current() -> None:
    values = {"ChaState": 65, "ChaState_SF": 0, "WChaMax": 3000, "WChaMax_SF": 0, "InBatV": 500, "InBatV_SF": -1}
    told = reading("battery", BATTERY, models(m124=values), 0)
    assert isinstance(told, Battery)
    assert (told.soc_bp, told.voltage_mv, told.charge_max_ma) == (6500, 50_000, 60_000)


@pytest.mark.parametrize(
    ("kind", "present", "fast", "slow"),
    [
        ("inverter", {1, 103, 120, 121, 701, 702, 704, 715}, (701,), (702, 120, 121, 704, 715)),
        ("inverter", {1, 103, 120}, (103,), (120,)),
        ("inverter", {1, 203}, (), ()),
        ("meter", {1, 203, 701}, (203,), ()),
        ("meter", {1, 213}, (213,), ()),
        ("battery", {1, 124, 713, 802}, (802, 713, 124), ()),
    ],
)
def test_only_the_models_a_device_is_read_by_are_polled(
    kind: str, present: set[int], fast: tuple[int, ...], slow: tuple[int, ...]
) -> None:
    assert wanted(kind, present) == (fast, slow)
