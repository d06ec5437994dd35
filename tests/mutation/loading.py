"""Import the files under mutation with all their mutants built in, and switch one on."""

import ast
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import CodeType, ModuleType

from tests.mutation.points import SWITCH, Mutant, instrument


def module_name(file: str) -> str:
    """Return the dotted name of a file of the house."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


class Reached:
    """Stands in place of the chosen number and notes each mutant whose point is reached."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, number: object) -> bool:
        assert isinstance(number, int)
        self.numbers.add(number)
        return False

    def __ne__(self, number: object) -> bool:
        return not self == number


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self.code = code

    def get_code(self, fullname: str) -> CodeType:
        return self.code

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, SWITCH, 0)
        super().exec_module(module)


class House:
    """The files under mutation and their mutants. To be made before anything imports one of the files."""

    def __init__(self, root: Path, files: Sequence[str]) -> None:
        self.mutants: list[Mutant] = []
        self.names = {file: module_name(file) for file in files}
        self._found: dict[str, tuple[Path, CodeType]] = {}
        early = sorted(set(self.names.values()) & set(sys.modules))
        assert not early, f"imported before their mutants could be built in: {', '.join(early)}"
        for file in files:
            path = root / file
            tree, mutants = instrument(path.read_text("utf-8"), file, len(self.mutants) + 1)
            self.mutants += mutants
            self._found[self.names[file]] = path, compile(tree, str(path), "exec", dont_inherit=True)
        sys.meta_path.insert(0, self)  # type: ignore[arg-type]

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return where to import a file under mutation from, None for any other."""
        if fullname not in self._found:
            return None
        file, code = self._found[fullname]
        places = [str(file.parent)] if file.name == "__init__.py" else None
        loader = _Loader(fullname, str(file), code)
        return importlib.util.spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=places)

    def watch(self, reached: Reached) -> None:
        """Note from now on which points are reached."""
        for name in self.names.values():
            setattr(sys.modules[name], SWITCH, reached)

    def switch_on(self, mutant: Mutant, importers: Callable[[str, str], Iterable[tuple[ModuleType, str]]]) -> None:
        """Make one mutant act, in this process and for good."""
        module = sys.modules[self.names[mutant.file]]
        if mutant.constant is None:
            setattr(module, SWITCH, mutant.number)
            return
        setattr(module, mutant.constant, mutant.value)
        for importer, name in importers(module.__name__, mutant.constant):
            setattr(importer, name, mutant.value)


class Importers:
    """Who has imported which name from which module, as the sources say."""

    def __init__(self, rooms: tuple[str, ...]) -> None:
        self._rows: dict[tuple[str, str], list[tuple[ModuleType, str]]] = {}
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if name.partition(".")[0] in rooms and path and path.endswith(".py"):
                self._read(module, Path(path))

    def _read(self, module: ModuleType, path: Path) -> None:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                for row in node.names:
                    self._rows.setdefault((node.module, row.name), []).append((module, row.asname or row.name))

    def __call__(self, module: str, name: str) -> list[tuple[ModuleType, str]]:
        """Return each module that has the name of that module, with what it calls it."""
        return self._rows.get((module, name), [])
