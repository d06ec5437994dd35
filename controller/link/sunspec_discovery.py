"""Find the SunSpec models of a device in few requests and with patience for maps that break the rules.

One request reads a model's body together with the next model's header. A device that refuses to be read across that
border is walked plainly: header, body, header. What cannot be read is named in problems and spoils nothing else.
Source: SunSpec Device Information Model Specification 1.2.1, 6.1.1 (base addresses), 6.5 (model chain).
"""

from collections.abc import Sequence

import msgspec

from controller.codec.sunspec import END_MODEL_ID, HEADER, REQUEST_MAX_REGISTERS, boundary, known
from controller.link import LinkError
from controller.link.modbus import ModbusException, ModbusLine

BASES = (40000, 0, 50000)
MARKER = b"SunS"
MODELS_MAX = 128
ADDRESSES = 0x10000
BODY_MAX_REGISTERS = 1000  # beyond it a header is taken for broken; ten battery strings of model 803 make 346


class FoundModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model of the chain. block: its registers from ID on, only the header where the body was not read."""

    model_id: int
    address: int
    length: int
    block: bytes


class DeviceMap(msgspec.Struct, frozen=True, kw_only=True):
    """The models of a device in their order, and what was wrong with the chain."""

    base: int
    models: tuple[FoundModel, ...]
    problems: tuple[str, ...]

    @property
    def readable(self) -> frozenset[int]:
        """Return the ids of the models whose body was read."""
        return frozenset(model.model_id for model in self.models if len(model.block) > HEADER.size)

    def model(self, model_id: int) -> FoundModel:
        """Return the first readable model of an id that is among readable."""
        return next(one for one in self.models if one.model_id == model_id and len(one.block) > HEADER.size)


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """What one request reads: models that lie back to back, and how many registers of each from its ID point on."""

    address: int
    parts: tuple[tuple[FoundModel, int], ...]

    @property
    def count(self) -> int:
        """Return the registers of all parts."""
        return sum(registers for _model, registers in self.parts)


async def discover(line: ModbusLine, unit: int) -> DeviceMap:
    """Walk the model chain and return it with a first reading of every model whose definition is known.

    Raises LinkError when the device falls silent or shows no SunSpec marker at any of the base addresses.
    """
    for base in BASES:
        try:
            start = await _patient(line, unit, base, 4)
        except ModbusException:
            continue
        if start.startswith(MARKER):
            return await _Walk(line, unit).chain(base, start[4:])
    raise LinkError(
        f"unit {unit} shows no SunSpec map at {', '.join(map(str, BASES))}; "
        "check its unit number and whether SunSpec is switched on in the device"
    )


def spans(models: Sequence[FoundModel], *, joined: bool) -> tuple[Span, ...]:
    """Return the requests that read the models, of each as much as fits one request.

    joined: models that lie back to back are read together as far as they fit.
    """
    found: list[Span] = []
    for model in sorted(models, key=lambda one: one.address):
        registers = boundary(model.block, REQUEST_MAX_REGISTERS)
        parts: tuple[tuple[FoundModel, int], ...] = ((model, registers),)
        last = found[-1] if found else None
        touches = last is not None and last.address + last.count == model.address
        if joined and last and touches and last.count + registers <= REQUEST_MAX_REGISTERS:
            found[-1] = Span(address=last.address, parts=last.parts + parts)
        else:
            found.append(Span(address=model.address, parts=parts))
    return tuple(found)


async def _patient(line: ModbusLine, unit: int, address: int, count: int) -> bytes:
    """Return registers, asked for once more where the reply was lost: one loss must not cost the whole walk."""
    try:
        return await line.read(unit, address, count)
    except ModbusException:
        raise
    except LinkError:
        if not line.connected:
            raise
    return await line.read(unit, address, count)


class _Walk:
    """One walk along the model chain of one unit."""

    def __init__(self, line: ModbusLine, unit: int) -> None:
        self._line, self._unit = line, unit
        self._joined = True  # until the device refuses to be read across a model's border
        self._problems: list[str] = []

    async def chain(self, base: int, header: bytes) -> DeviceMap:
        """Follow the chain from the first header on."""
        models: list[FoundModel] = []
        address, following = base + 2, header
        while len(following) == HEADER.size:
            model_id, length = HEADER.unpack(following)
            if model_id == END_MODEL_ID:
                break
            if len(models) == MODELS_MAX:
                self._problems.append(f"no end after {MODELS_MAX} models: the chain runs in a circle")
                break
            if address + 4 + length > ADDRESSES:
                self._problems.append(f"model {model_id} at {address} would end beyond the last register")
                break
            block, following = await self._step(address, following, length)
            models.append(FoundModel(model_id=model_id, address=address, length=length, block=block))
            address += 2 + length
        return DeviceMap(base=base, models=tuple(models), problems=tuple(self._problems))

    async def _step(self, address: int, header: bytes, length: int) -> tuple[bytes, bytes]:
        """Return the block of the model at address and the header behind it, less where the device refuses."""
        model_id = HEADER.unpack(header)[0]
        readable = known(model_id) and length <= BODY_MAX_REGISTERS
        if self._joined and readable:
            try:
                both = await self._read(address, header, length + 4)
                return both[:-4], both[-4:]
            except ModbusException:
                pass  # which of the two it was shows below
        block = header
        if readable:
            try:
                block = await self._read(address, header, length + 2)
            except ModbusException as error:
                self._problems.append(f"model {model_id} at {address} cannot be read: {error}")
        elif known(model_id):
            self._problems.append(f"model {model_id} at {address} tells a length of {length}")
        following = await self._header(address + 2 + length)
        if readable and len(block) > len(header) and len(following) == HEADER.size:
            self._joined = False
        return block, following

    async def _header(self, address: int) -> bytes:
        """Return the header at address, empty where none can be read. The end may be one register, without a length."""
        try:
            return await _patient(self._line, self._unit, address, 2)
        except ModbusException:
            pass
        try:
            end = await _patient(self._line, self._unit, address, 1)
        except ModbusException as error:
            self._problems.append(f"the chain breaks off at {address}: {error}")
            return b""
        if int.from_bytes(end, "big") != END_MODEL_ID:
            self._problems.append(f"the chain breaks off at {address} within a header")
        return b""

    async def _read(self, address: int, header: bytes, registers: int) -> bytes:
        """Return that many registers from address on, of which the header is at hand, cut only between points."""
        block = header
        while (at := len(block) // 2) < registers:
            count = registers - at
            if count > REQUEST_MAX_REGISTERS:
                end = boundary(block, at + REQUEST_MAX_REGISTERS)
                count = end - at if end > at else REQUEST_MAX_REGISTERS
            block += await _patient(self._line, self._unit, address + at, count)
        return block
