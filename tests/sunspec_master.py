"""A utility's client for tests of the SunSpec door: pysunspec2's layout, no socket, a clock moved by hand."""

import msgspec
from sunspec2.device import Model, Point

from controller.link.clock import Clock
from controller.link.modbus_server import Request
from controller.model import Bound, Decision, FaultName, Order, Site, Utility
from controller.utility.sunspec import SunSpecDoor
from tests.words import a_site

ANN, BOB = "192.0.2.1:40001", "192.0.2.2:40002"
LEASE_MS = 60_000
START_MS = 1_000_000


class HandClock(Clock):
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.ms = START_MS

    def now_ms(self) -> int:
        return self.ms


class Book:
    """Keeps what the door placed, and every call in its order."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.notices: dict[FaultName, str] = {}
        self.calls: list[str] = []

    def order(self, order: Order) -> None:
        self.orders[order.name] = order
        self.calls.append(f"order {order.name}")

    def withdraw(self, name: str) -> None:
        del self.orders[name]
        self.calls.append(f"withdraw {name}")

    def utility_heard(self) -> None:
        self.calls.append("heard")

    def noticed(self, fault: FaultName, device: str, detail: str | None) -> None:
        assert device == "utility"
        if detail is None:
            del self.notices[fault]
        else:
            self.notices[fault] = detail


class Master:
    """A utility's client that knows the layout from pysunspec2 and talks to the door without a socket."""

    def __init__(self, site: Site | None = None) -> None:
        self.clock, self.book = HandClock(), Book()
        self.door = SunSpecDoor(site or battery_site(), self.book, self.clock)
        self.models: dict[int, Model] = {}
        self.points: dict[str, tuple[int, Point]] = {}
        address = 40_002
        while (head := self.read(address, 2))[:2] != b"\xff\xff":
            model_id, length = int.from_bytes(head[:2], "big"), int.from_bytes(head[2:], "big")
            data = b"".join(self.read(address + at, 1) for at in range(length + 2))
            model = Model(model_id, model_addr=address, model_len=length, data=data)
            self.models[model_id] = model
            for name, point in model.points.items():
                self.points[f"{model_id}.{name}"] = (address + point.offset, point)
            address += 2 + length
        self.end = address

    def ask(self, function: int, address: int, count: int, registers: bytes = b"", peer: str = ANN) -> object:
        request = Request(unit=1, function=function, address=address, count=count, registers=registers, peer=peer)
        return self.door.answer(request)

    def read(self, address: int, count: int) -> bytes:
        answer = self.ask(3, address, count)
        assert isinstance(answer, bytes)
        return answer

    def write(self, peer: str = ANN, **values: int) -> object:
        """Write neighbouring points of one model in one request, as W704_WSet=5000."""
        data, address = b"", 0
        for name, value in values.items():
            at, point = self.points[name[1:].replace("_", ".", 1)]
            address = address or at
            assert at == address + len(data) // 2, "not neighbours"
            data += point.info.to_data(value, 2 * point.len)
        return self.ask(6 if len(data) == 2 else 16, address, len(data) // 2, data, peer)

    def value(self, name: str) -> object:
        """Read one point as pysunspec2 decodes it, unscaled; None = not implemented."""
        address, point = self.points[name]
        point.set_mb(self.read(address, point.len))
        return point.value

    def put(self, name: str, value: int) -> object:
        """Write one point."""
        address, point = self.points[name]
        data = point.info.to_data(value, 2 * point.len)
        return self.ask(6 if len(data) == 2 else 16, address, len(data) // 2, data)

    def fail(self, address: int, data: bytes) -> object:
        """Write registers that must be refused, and see that not a byte of the map and no order changed."""
        before, orders = self.image(), dict(self.book.orders)
        answer = self.ask(6 if len(data) == 2 else 16, address, len(data) // 2, data)
        assert self.image() == before
        assert self.book.orders == orders
        return answer

    def image(self) -> bytes:
        return b"".join(self.read(at, 1) for at in range(40_000, self.end + 2))

    def engage(self, power_w: int, reversion_s: int = 0, peer: str = ANN) -> None:
        assert self.write(peer, W704_WSetRvrtTms=reversion_s) == b""
        assert self.write(peer, W704_WSetEna=1, W704_WSetMod=1, W704_WSet=power_w) == b""


def battery_site(domain: str = "battery", **changes: object) -> Site:
    """Return a site of one unit that charges with at most 5 kW and discharges with at most 10 kW."""
    site = a_site()
    unit = msgspec.structs.replace(site.unit[0], charge_max_w=5000, **changes)
    utility = Utility(listen="127.0.0.1:0", domain=domain, lease_s=LEASE_MS // 1000)  # type: ignore[arg-type]
    return msgspec.structs.replace(site, unit=(unit,), utility=utility)


def a_decision(target_w: int = 0, **changes: object) -> Decision:
    bound = Bound(value_w=0, rule="nameplate", because="")
    decision = Decision(
        now_ms=0, mode="follow", target_w=target_w, wish_w=target_w, wish_because="", why="wish", low=bound, high=bound
    )
    return msgspec.structs.replace(decision, **changes)
