"""A loop that awaits one call per element becomes calls that run together, then the loop over their results.

Only where the code shows that it is safe: the call is the loop's first statement, depends on nothing that the loop
computes, only reads (telemetry says so), and the loop does not stop half-way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

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
    names_read,
    parse_python,
    replace_body,
    root_names,
    single,
    with_import,
)
from services.recommender.rule import Finding
from services.recommender.scene import CodePlace
from services.recommender.source import Source
from services.recommender.stack_frames import frames

# More at once would be a burst of its own; then a call for all elements is the remedy.
_MOST_TOGETHER: Final = 20
_SIZED: Final = ("list", "tuple", "dict", "set", "Sequence", "Mapping", "frozenset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A loop that calls.

    Attributes:
        code: The file.
        function: The function that loops.
        owner: Block that holds the loop.
        body: Its statements.
        at: Position of the loop in it.
        loop: The loop.
        result: Name that the call's answer gets.
        call: The call without its await.
        awaited: Whether it is awaited.
    """

    code: Code
    function: Defined
    owner: cst.CSTNode
    body: Sequence[cst.BaseStatement]
    at: int
    loop: cst.For
    result: str
    call: cst.Call
    awaited: bool


@PATCHERS.register("fan_out")
def fan_out(finding: Finding, source: Source) -> Patch | Declined:
    """Patch the loop that makes the calls of a finding."""
    loops = list(_loops(finding, source))
    if not loops:
        return Declined(why="the loop that makes the calls was not found in the code, or has another shape")
    found = loops[0]
    place = found.code.place(found.loop, found.function.name)
    why = _unsafe(found, finding)
    if why:
        return Declined(why=why, place=place, confidence=0.9)
    changed = _changed(found)
    how = "asyncio.gather" if found.awaited else "a ThreadPoolExecutor"
    return Patch(
        files={found.code.path: changed.code},
        place=place,
        says=(
            f"The calls of one {found.function.node.name.value} now start together through {how}, then the loop uses "
            "their answers in the old order. When one fails, its exception reaches the caller as before; the others "
            "have been sent by then. Review: may the callee be asked for all elements of one request at once?"
        ),
        confidence=0.95,
    )


def _loops(finding: Finding, source: Source) -> Iterator[Found]:
    """Loops that make the finding's calls, the one that telemetry names best first."""
    chain = _chain(finding)
    # Innermost first: the line that calls may be in the loop itself, or be a helper that the loop calls.
    for callers, callee in zip(reversed(chain), [None, *reversed(chain)], strict=False):
        path = source.resolve(callers.path)
        text = source.read(path) if path else None
        code = parse_python(path, text) if text is not None else None
        if code is None:
            continue
        function = function_at(code, callers)
        for one in [function] if function else []:
            for owner, body in blocks(one.node):
                for at, statement in enumerate(body):
                    if isinstance(statement, cst.For):
                        made = _calling(code, statement, callers, callee)
                        if made is not None:
                            result, call, awaited = made
                            yield Found(
                                code=code, function=one, owner=owner, body=body, at=at, loop=statement,
                                result=result, call=call, awaited=awaited,
                            )  # fmt: skip


def _chain(finding: Finding) -> list[CodePlace]:
    """Places that led to the call, outermost first: from its stack, else the endpoint and the calling line."""
    stack = [frame.place for frame in frames(finding.hints.get("stack", "")) if frame.own]
    if stack:
        return stack
    endpoint = CodePlace(path=finding.hints.get("endpoint_path", ""), function=finding.hints.get("endpoint", ""))
    return [endpoint, finding.place] if endpoint.path else [finding.place]


def _calling(
    code: Code, loop: cst.For, caller: CodePlace, callee: CodePlace | None
) -> tuple[str, cst.Call, bool] | None:
    """`x = await call(...)` at the head of a loop's body, when it is the call that telemetry means."""
    if not isinstance(loop.body, cst.IndentedBlock) or not loop.body.body:
        return None
    assign = single(loop.body.body[0])
    if not isinstance(assign, cst.Assign) or len(assign.targets) != 1:
        return None
    target = assign.targets[0].target
    call, awaited = awaited_or_plain(assign.value)
    if not isinstance(target, cst.Name) or not isinstance(call, cst.Call):
        return None
    by_line = bool(caller.line) and code.holds(loop.body.body[0], caller.line)
    by_name = callee is not None and called(call) == callee.name
    return (target.value, call, awaited) if by_line or by_name else None


def _unsafe(found: Found, finding: Finding) -> str:
    """Why the loop must stay as it is, "" when it may change."""
    loop = found.loop
    inner = cst.ensure_type(loop.body, cst.IndentedBlock).body
    if finding.hints.get("reads") != "yes":
        return "the calls change something, so their order may matter"
    if int(finding.hints.get("most", "0") or 0) > _MOST_TOGETHER:
        return f"up to {finding.hints['most']} calls at once would be a burst: the callee should offer one call for all"
    if loop.asynchronous or loop.orelse or contains(loop.body, (cst.Break, cst.Return, cst.Yield)):
        return "the loop is asynchronous or may stop half-way"
    if not found.awaited and found.function.node.asynchronous:
        return "the call blocks inside an asynchronous function"
    carried = names_bound(inner) - root_names(loop.target)
    if names_read(found.call) & carried:
        return f"a call needs what the loop computes ({', '.join(sorted(names_read(found.call) & carried))})"
    if contains(found.call, cst.Await):
        return "a call waits for another one"
    if isinstance(loop.iter, cst.Name) and loop.iter.value in carried:
        return "the loop changes what it iterates over"
    return ""


def _changed(found: Found) -> cst.Module:
    code, loop = found.code, found.loop
    taken = names_read(found.function.node) | names_bound([found.function.node])
    results = next(
        name for name in (f"{found.result}s", f"all_{found.result}s", f"{found.result}_list") if name not in taken
    )
    lines: list[str] = []
    elements = code.text(loop.iter)
    if not (isinstance(loop.iter, cst.Name) and _is_sized(found, loop.iter.value)):
        # It is gone through twice, which an iterator allows once.
        elements = next(name for name in ("elements", "all_elements") if name not in taken)
        lines.append(f"{elements} = list({code.text(loop.iter)})")
    target = code.text(loop.target)
    used = _only_used(code, loop.target, names_read(found.call))
    call = code.text(found.call)
    if found.awaited:
        lines.append(f"{results} = await asyncio.gather(*({call} for {used} in {elements}))")
    else:
        arguments = [code.text(argument).rstrip().rstrip(",") for argument in found.call.args]
        submitted = call_text("pool.submit", ["copy_context().run", code.text(found.call.func), *arguments], 8)
        lines += [
            f"with ThreadPoolExecutor(max_workers=8) as pool:\n    futures = [{submitted} for {used} in {elements}]",
            f"{results} = [future.result() for future in futures]",
        ]
    module_config = code.module.config_for_parsing
    new = [cst.parse_statement(line, config=module_config) for line in lines]
    if loop.leading_lines and isinstance(new[0], cst.SimpleStatementLine):
        new[0] = new[0].with_changes(leading_lines=loop.leading_lines)
    loop_target = f"({target}), " if isinstance(loop.target, cst.Tuple) and not loop.target.lpar else f"{target}, "
    header = cst.ensure_type(
        cst.parse_statement(
            f"for {loop_target}{found.result} in zip({elements}, {results}, strict=True):\n    pass",
            config=module_config,
        ),
        cst.For,
    )
    rest = cst.ensure_type(loop.body, cst.IndentedBlock).body[1:]
    block = cst.ensure_type(loop.body, cst.IndentedBlock)
    if not rest:
        rest = (cst.parse_statement("pass", config=module_config),)
    new.append(header.with_changes(body=block.with_changes(body=rest), leading_lines=()))
    module = replace_body(code.module, found.owner, [*found.body[: found.at], *new, *found.body[found.at + 1 :]])
    if found.awaited:
        return with_import(module, "import asyncio")
    module = with_import(module, "from concurrent.futures import ThreadPoolExecutor")
    return with_import(module, "from contextvars import copy_context")


def _only_used(code: Code, target: cst.BaseExpression, used: frozenset[str]) -> str:
    """The loop's target with `_` for what the call does not need."""
    if isinstance(target, cst.Tuple) and all(isinstance(one.value, cst.Name) for one in target.elements):
        names = [cst.ensure_type(one.value, cst.Name).value for one in target.elements]
        return ", ".join(name if name in used else "_" for name in names)
    return code.text(target)


def _is_sized(found: Found, name: str) -> bool:
    """Whether the code shows that a name holds a collection rather than an iterator."""
    node = found.function.node
    for parameter in node.params.params:
        if parameter.name.value == name and parameter.annotation is not None:
            return _is_collection(found.code, parameter.annotation.annotation)
    text = found.code.text(node)
    if f"len({name})" in text or f"{name}[" in text:
        return True
    returns = {
        one.node.name.value: one.node.returns.annotation
        for one in functions(found.code.module)
        if one.node.returns is not None
    }
    for _, body in blocks(node):
        for statement in body:
            assign = single(statement)
            if isinstance(assign, cst.Assign) and name in root_names(assign.targets[0].target):
                value, _ = awaited_or_plain(assign.value)
                if isinstance(value, cst.List | cst.Tuple | cst.ListComp):
                    return True
                mentioned = (names_read(value) | {called(value)}) & set(returns)
                if any(_is_collection(found.code, returns[one]) for one in mentioned):
                    return True
    return False


def _is_collection(code: Code, annotation: cst.BaseExpression) -> bool:
    return code.text(annotation).partition("[")[0].rpartition(".")[2] in _SIZED
