"""narrator <- tyler <- lye: who may import whom, no circles, and nothing runs at import."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"narrator": {"narrator"}, "tyler": {"narrator", "tyler"}, "lye": {"narrator", "tyler", "lye"}}
SOURCES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
MAX_LINES = 470  # think again at 300; this one is where a review begins


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in SOURCES}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in it, `from package import module` resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in SOURCES:
        yield path, ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_arrows_point_one_way(package: str) -> None:
    ours = set(MAY_IMPORT)
    for path, tree in trees():
        if path.relative_to(ROOT).parts[0] == package:
            used = {name.partition(".")[0] for name in imports(tree)} & ours
            assert used <= MAY_IMPORT[package], f"{path}: {used - MAY_IMPORT[package]}"


def test_there_are_no_circles() -> None:
    """Imports for types and inside functions count too; a package's own __init__ does not."""
    graph = {
        module_of(path): {name for name in imports(tree) if name in MODULES and "." in name}
        for path, tree in trees()
        if path.name != "__init__.py"
    }
    list(TopologicalSorter(graph).static_order())  # CycleError names the circle


HARMLESS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def happens(node: ast.stmt) -> bool:
    """Whether a module's statement does something when it is imported."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)  # a docstring
    if isinstance(node, ast.If):
        return ast.unparse(node.test) not in ("TYPE_CHECKING", "__name__ == '__main__'", "sys.platform == 'win32'")
    return not isinstance(node, HARMLESS)


ALLOWED = {
    "narrator._tracked": "wraps the methods of its own classes",
    "narrator.migrations.env": "alembic runs this file as a script",
}


def test_nothing_happens_at_import() -> None:
    for path, tree in trees():
        module = module_of(path)
        if module in ALLOWED:
            continue
        done = [ast.unparse(node) for node in tree.body if happens(node)]
        assert done == [] or all(line.startswith(("app.", "@", "for _name")) for line in done), f"{module}: {done}"


def test_every_module_says_its_job() -> None:
    without = [str(path) for path, tree in trees() if path.stat().st_size and not ast.get_docstring(tree)]
    assert without == []


def test_no_file_has_grown_too_long() -> None:
    long = {str(path): n for path in SOURCES if (n := len(path.read_text().splitlines())) > MAX_LINES}
    assert long == {}
