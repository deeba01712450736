"""Read and edit Python source with its layout kept: functions by place, names that code reads and binds, imports."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from services.recommender.scene import CodePlace

Function = cst.FunctionDef
_LONGEST_LINE: Final = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One parsed file.

    Attributes:
        path: Path from the repository root.
        module: Its tree.
        lines: First and last line of every statement, function and call, by node.
    """

    path: str
    module: cst.Module
    lines: dict[cst.CSTNode, tuple[int, int]]

    def place(self, node: cst.CSTNode, function: str) -> CodePlace:
        """Where a node is."""
        return CodePlace(path=self.path, line=self.lines[node][0], function=function)

    def holds(self, node: cst.CSTNode, line: int) -> bool:
        """Whether a line is one of a node's."""
        first, last = self.lines[node]
        return first <= line <= last

    def text(self, node: cst.CSTNode) -> str:
        """Source text of a node."""
        return self.module.code_for_node(node)


def parse_python(path: str, text: str) -> Code | None:
    """Parse a file, None when it is no valid Python."""
    try:
        wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
        positions = wrapper.resolve(PositionProvider)
    except (cst.ParserSyntaxError, RecursionError):
        return None
    lines = {node: (span.start.line, span.end.line) for node, span in positions.items()}
    return Code(path=path, module=wrapper.module, lines=lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defined:
    """A function with its qualified name inside the module (`Carts.show`)."""

    name: str
    node: Function


def functions(module: cst.Module) -> tuple[Defined, ...]:
    """Every function of a module, outer ones first."""
    found: list[Defined] = []

    class Collect(cst.CSTVisitor):
        def __init__(self) -> None:
            self.within: list[str] = []

        def visit_ClassDef(self, node: cst.ClassDef) -> None:
            self.within.append(node.name.value)

        def leave_ClassDef(self, original_node: cst.ClassDef) -> None:
            self.within.pop()

        def visit_FunctionDef(self, node: Function) -> None:
            self.within.append(node.name.value)
            found.append(Defined(name=".".join(self.within), node=node))

        def leave_FunctionDef(self, original_node: Function) -> None:
            self.within.pop()

    module.visit(Collect())
    return tuple(found)


def function_at(code: Code, place: CodePlace) -> Defined | None:
    """The function that telemetry means: by its line when the name agrees, else by its name alone when that is unique.

    A name that is not at its line means that the revision read is not exactly what is deployed.
    """
    known = functions(code.module)
    plain = place.function.replace(".<locals>", "")
    named = [one for one in known if plain == one.name or plain.endswith("." + one.name)]
    most = max((len(one.name) for one in named), default=0)
    named = [one for one in named if len(one.name) == most]
    if place.line:
        inside = [one for one in (named if plain else known) if code.holds(one.node, place.line)]
        if inside:
            return inside[-1]
    return named[0] if len(named) == 1 else None


def names_read(node: cst.CSTNode) -> frozenset[str]:
    """Every bare name in an expression or statement."""
    found: set[str] = set()

    class Collect(cst.CSTVisitor):
        def visit_Name(self, node: cst.Name) -> None:
            found.add(node.value)

        def visit_Attribute(self, node: cst.Attribute) -> bool:
            node.value.visit(self)
            return False

        def visit_Arg(self, node: cst.Arg) -> bool:
            node.value.visit(self)
            return False

    node.visit(Collect())
    return frozenset(found)


def names_bound(nodes: Sequence[cst.CSTNode]) -> frozenset[str]:
    """Names that statements bind or change in place (`x = `, `x += `, `x[...] = `, `x.append(...)`)."""
    found: set[str] = set()

    class Collect(cst.CSTVisitor):
        def visit_AssignTarget(self, node: cst.AssignTarget) -> None:
            found.update(root_names(node.target))

        def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
            found.update(root_names(node.target))

        def visit_AugAssign(self, node: cst.AugAssign) -> None:
            found.update(root_names(node.target))

        def visit_NamedExpr(self, node: cst.NamedExpr) -> None:
            found.update(root_names(node.target))

        def visit_For(self, node: cst.For) -> None:
            found.update(root_names(node.target))

        def visit_AsName(self, node: cst.AsName) -> None:
            found.update(root_names(node.name))

        def visit_Del(self, node: cst.Del) -> None:
            found.update(root_names(node.target))

        def visit_Expr(self, node: cst.Expr) -> None:
            call = node.value
            if isinstance(call, cst.Call) and isinstance(call.func, cst.Attribute):
                found.update(root_names(call.func.value))

    for node in nodes:
        node.visit(Collect())
    return frozenset(found)


def root_names(target: cst.BaseExpression) -> frozenset[str]:
    """Names at the root of a target: `x` of `x`, `x.y`, `x[1]`; both of `x, y`."""
    match target:
        case cst.Name():
            return frozenset((target.value,))
        case cst.Attribute() | cst.Subscript():
            return root_names(target.value)
        case cst.Tuple() | cst.List():
            return frozenset().union(*(root_names(element.value) for element in target.elements))
        case cst.Call():
            return root_names(target.func)
        case _:
            return frozenset()


def called(node: cst.BaseExpression) -> str:
    """Last name of what a call calls (`_product` of `self._product(x)`), "" for none."""
    if not isinstance(node, cst.Call):
        return ""
    function = node.func
    if isinstance(function, cst.Attribute):
        return function.attr.value
    return function.value if isinstance(function, cst.Name) else ""


def names_called(node: cst.CSTNode) -> frozenset[str]:
    """Last names of everything that is called or handed over by name below a node."""
    found: set[str] = set()

    class Collect(cst.CSTVisitor):
        def visit_Call(self, node: cst.Call) -> None:
            found.add(called(node))
            for argument in node.args:
                value = argument.value
                if isinstance(value, cst.Name):
                    found.add(value.value)
                elif isinstance(value, cst.Attribute):
                    found.add(value.attr.value)

    node.visit(Collect())
    return frozenset(found - {""})


def awaited_or_plain(node: cst.BaseExpression) -> tuple[cst.BaseExpression, bool]:
    """An expression without its await, and whether it had one."""
    return (node.expression, True) if isinstance(node, cst.Await) else (node, False)


def blocks(function: Function) -> Iterator[tuple[cst.CSTNode, Sequence[cst.BaseStatement]]]:
    """Every block of statements in a function with the node that owns it, nested functions left out."""
    waiting: list[cst.CSTNode] = [function.body]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, cst.IndentedBlock):
            yield node, node.body
        waiting += [one for one in node.children if not isinstance(one, cst.FunctionDef | cst.ClassDef | cst.Lambda)]


def single(statement: cst.BaseStatement) -> cst.BaseSmallStatement | None:
    """The one small statement of a line, None for compound statements and lines with several."""
    if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1:
        return statement.body[0]
    return None


def contains(node: cst.CSTNode, kinds: type[cst.CSTNode] | tuple[type[cst.CSTNode], ...]) -> bool:
    """Whether a node or anything below it is of a kind; nested functions are not looked into."""
    if isinstance(node, kinds):
        return True
    return any(contains(child, kinds) for child in node.children if not isinstance(child, cst.FunctionDef))


def with_import(module: cst.Module, statement: str) -> cst.Module:
    """The module with a line of `import x` or `from x import y` among its first imports, in order; once."""
    if any(module.code_for_node(line).strip() == statement for line in module.body):
        return module
    line = cst.parse_statement(statement, config=module.config_for_parsing)
    imports = [at for at, one in enumerate(module.body) if _is_import(one)]
    at = _import_position(module, imports, statement)
    body = list(module.body)
    if imports and at <= imports[0] and isinstance(body[imports[0]], cst.SimpleStatementLine):
        # The first import keeps no blank lines above it: they belong to the new first one.
        first = cst.ensure_type(body[imports[0]], cst.SimpleStatementLine)
        line = cst.ensure_type(line, cst.SimpleStatementLine).with_changes(leading_lines=first.leading_lines)
        body[imports[0]] = first.with_changes(leading_lines=())
    body.insert(at, line)
    return module.with_changes(body=body)


def _is_import(statement: cst.CSTNode) -> bool:
    if not isinstance(statement, cst.SimpleStatementLine) or not statement.body:
        return False
    first = statement.body[0]
    if isinstance(first, cst.ImportFrom):
        return not (isinstance(first.module, cst.Name) and first.module.value == "__future__")
    return isinstance(first, cst.Import)


def _import_position(module: cst.Module, imports: Sequence[int], statement: str) -> int:
    if not imports:
        return next((at for at, one in enumerate(module.body) if not _is_head(one)), len(module.body))
    order = (statement.startswith("from "), statement.split()[1].lower())
    block = [imports[0]]
    for at in imports[1:]:
        line = module.body[at]
        if at != block[-1] + 1 or (isinstance(line, cst.SimpleStatementLine) and line.leading_lines):
            break
        block.append(at)
    for at in block:
        text = module.code_for_node(module.body[at]).strip()
        if (text.startswith("from "), text.split()[1].lower()) > order:
            return at
    return block[-1] + 1


def _is_head(statement: cst.CSTNode) -> bool:
    """A docstring or an import from __future__."""
    if not isinstance(statement, cst.SimpleStatementLine) or not statement.body:
        return False
    first = statement.body[0]
    if isinstance(first, cst.Expr):
        return isinstance(first.value, cst.SimpleString | cst.ConcatenatedString)
    return isinstance(first, cst.ImportFrom)


def call_text(head: str, arguments: Sequence[str], indent: int) -> str:
    """`head(a, b)` on one line, or one argument a line where that is too long."""
    line = f"{head}({', '.join(arguments)})"
    if indent + len(line) <= _LONGEST_LINE and "\n" not in line:
        return line
    inner = "".join(f"    {argument},\n" for argument in arguments)
    return f"{head}(\n{inner})"


def replace_body(module: cst.Module, owner: cst.CSTNode, body: Sequence[cst.BaseStatement]) -> cst.Module:
    """The module with other statements in one block."""
    changed = module.deep_replace(owner, cst.ensure_type(owner, cst.IndentedBlock).with_changes(body=tuple(body)))
    return cst.ensure_type(changed, cst.Module)


def statement_of(module: cst.Module, text: str) -> cst.SimpleStatementLine | cst.BaseCompoundStatement:
    """Parse one statement as the module would write it."""
    return cst.parse_statement(text, config=module.config_for_parsing)
