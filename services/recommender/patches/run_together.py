"""Two awaits in a row become one `asyncio.gather`, where the code proves that the second does not need the first.

Everything that is not proven declines as refuted: a sequence is ordinary, only independence makes it a weakness.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import libcst as cst

from services.recommender.patch import PATCHERS, Declined, Patch
from services.recommender.python_code import (
    Code,
    Defined,
    awaited_or_plain,
    blocks,
    call_text,
    called,
    contains,
    function_at,
    functions,
    names_bound,
    names_called,
    names_read,
    parse_python,
    replace_body,
    root_names,
    single,
    statement_of,
    with_import,
)
from services.recommender.rule import Finding
from services.recommender.scene import CodePlace
from services.recommender.source import Source
from services.recommender.stack_frames import frames

_UNPROVEN = "independence is not proven by the code: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two awaiting statements of one block.

    Attributes:
        code: The file.
        function: The function.
        owner: The block.
        body: Its statements.
        first: Position of the first.
        second: Position of the second.
    """

    code: Code
    function: Defined
    owner: cst.CSTNode
    body: Sequence[cst.BaseStatement]
    first: int
    second: int


@PATCHERS.register("run_together")
def run_together(finding: Finding, source: Source) -> Patch | Declined:
    """Patch the two statements that make the calls of a finding."""
    pairs = list(_pairs(finding, source))
    if len(pairs) != 1:
        found = "the two statements were not found in one block" if not pairs else "several statements could be meant"
        return Declined(why=_UNPROVEN + found, refuted=True)
    pair = pairs[0]
    why = _dependent(pair)
    if why:
        return Declined(why=_UNPROVEN + why, refuted=True)
    place = pair.code.place(pair.body[pair.second], pair.function.name)
    between = pair.body[pair.first + 1 : pair.second]
    guard = (
        " A request that the check between them refuses now makes the second call too; it only reads."
        if between
        else ""
    )
    return Patch(
        files={pair.code.path: _changed(pair).code},
        place=place,
        says=f"Both reads of {pair.function.node.name.value} now run at once through asyncio.gather; the second uses "
        f"no name that the first or anything between them binds.{guard} Review: must the second see what the first "
        "changes elsewhere, and may either error be the one that is seen when both fail?",
        confidence=0.85,
    )


def _pairs(finding: Finding, source: Source) -> Iterator[Pair]:
    hints = finding.hints
    first = CodePlace(path=hints["first_path"], line=int(hints["first_line"] or 0), function=hints["first_function"])
    stack = [frame.place for frame in frames(hints.get("second_stack", "")) if frame.own]
    second_names = {place.name for place in (*stack, finding.place) if place.name}
    second_lines = [place for place in (*stack, finding.place) if place.line]
    paths = (finding.place.path, *(place.path for place in stack), first.path, hints.get("endpoint_path", ""))
    seen: set[str] = set()
    for named in paths:
        path = source.resolve(named) if named else ""
        text = source.read(path) if path and path not in seen else None
        seen.add(path)
        code = parse_python(path, text) if text is not None else None
        if code is None:
            continue
        lines = {one.line for one in second_lines if source.resolve(one.path) == path and function_at(code, one)}
        for function in _on_the_way(code, finding):
            for owner, body in blocks(function.node):
                firsts = [at for at, one in enumerate(body) if _means(code, one, {first.name}, {first.line})]
                seconds = [at for at, one in enumerate(body) if _means(code, one, second_names, lines)]
                for at in firsts:
                    after = [other for other in seconds if other > at]
                    if after:
                        yield Pair(code=code, function=function, owner=owner, body=body, first=at, second=after[0])


def _on_the_way(code: Code, finding: Finding) -> list[Defined]:
    """Functions of a file that a request of the finding's operation can be in: its endpoint and what that calls."""
    known = functions(code.module)
    stack = finding.hints.get("second_stack", "")
    passed = {frame.place.name for frame in frames(stack)}
    endpoint = function_at(code, CodePlace(function=finding.hints.get("endpoint", "")))
    waiting = [endpoint] if endpoint else [one for one in known if one.node.name.value in passed]
    reached: list[Defined] = []
    while waiting:
        one = waiting.pop()
        if one in reached:
            continue
        reached.append(one)
        named = names_called(one.node)
        waiting += [other for other in known if other.node.name.value in named]
    return [one for one in known if one in reached and (not passed or one.node.name.value in passed)]


def _means(code: Code, statement: cst.BaseStatement, names: set[str], lines: set[int]) -> bool:
    """Whether a statement waits for a call of one of some functions, handed in by name or called, or at a line."""
    value = _awaited(statement)
    if value is None:
        return False
    by_name = bool(({called(value)} | names_read(value)) & (names - {""}))
    return by_name or any(code.holds(statement, line) for line in lines if line)


def _awaited(statement: cst.BaseStatement) -> cst.BaseExpression | None:
    """The call that `x = await call(...)` or `await call(...)` waits for."""
    small = single(statement)
    if not isinstance(small, cst.Assign | cst.Expr):
        return None
    if isinstance(small, cst.Assign) and len(small.targets) != 1:
        return None
    value, awaited = awaited_or_plain(small.value)
    return value if awaited and isinstance(value, cst.Call) else None


def _target(pair: Pair, at: int) -> cst.BaseExpression | None:
    small = single(pair.body[at])
    return small.targets[0].target if isinstance(small, cst.Assign) else None


def _dependent(pair: Pair) -> str:
    """Why the second may need the first, "" when it cannot."""
    body, code = pair.body, pair.code
    first, second = _awaited(body[pair.first]), _awaited(body[pair.second])
    assert first is not None
    assert second is not None
    for at in (pair.first, pair.second):
        target = _target(pair, at)
        if target is not None and not isinstance(target, cst.Name):
            return "an answer goes into something other than a name"
    between = body[pair.first + 1 : pair.second]
    for statement in between:
        if not _is_guard(statement):
            return f"something happens between them ({code.text(statement).strip().splitlines()[0][:60]})"
    bound = names_bound(body[pair.first : pair.second])
    needed = names_read(second) & bound
    if needed:
        return f"the second needs {', '.join(sorted(needed))}"
    target = _target(pair, pair.second)
    given = root_names(target) if target is not None else frozenset()
    if any(names_read(statement) & given for statement in (*between, body[pair.first])):
        return "what the second gives is used before it"
    if contains(first, cst.Await) or contains(second, cst.Await) or contains(second, cst.NamedExpr):
        return "a call waits for another one"
    return ""


def _is_guard(statement: cst.BaseStatement) -> bool:
    """`if ...: raise ...` or `if ...: return ...` without anything else, and without awaiting."""
    if not isinstance(statement, cst.If) or statement.orelse is not None or contains(statement, cst.Await):
        return False
    block = statement.body
    if not isinstance(block, cst.IndentedBlock) or len(block.body) != 1:
        return False
    return isinstance(single(block.body[0]), cst.Raise | cst.Return)


def _changed(pair: Pair) -> cst.Module:
    code, body = pair.code, pair.body
    texts, names = [], []
    for at in (pair.first, pair.second):
        value = _awaited(body[at])
        assert value is not None
        texts.append(code.text(value))
        target = _target(pair, at)
        names.append(code.text(target) if target is not None else "_")
    head = "await asyncio.gather" if names == ["_", "_"] else f"{', '.join(names)} = await asyncio.gather"
    new = cst.ensure_type(statement_of(code.module, call_text(head, texts, 8)), cst.SimpleStatementLine)
    first, second = (cst.ensure_type(body[at], cst.SimpleStatementLine) for at in (pair.first, pair.second))
    new = new.with_changes(
        leading_lines=(*first.leading_lines, *(line for line in second.leading_lines if line.comment is not None))
    )
    statements = [*body[: pair.first], new, *body[pair.first + 1 : pair.second], *body[pair.second + 1 :]]
    return with_import(replace_body(code.module, pair.owner, statements), "import asyncio")
