"""Small mistakes in a module's source: mutmut's, and three more that money is afraid of.

Left as they are: annotations, decorators, docstrings, and sentences for people, in which a letter
changes no behaviour.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_arg_removal


@dataclass(frozen=True, slots=True)
class Mistake:
    """A module's source with one mistake, at that line; the statement is on `lines`."""

    source: str
    line: int
    lines: range
    before: str
    after: str


def _argument_left_out(node: cst.Call) -> Iterable[cst.Call]:
    """Each argument is missing, but sentences; one that is alone is None."""
    for place, arg in enumerate(node.args):
        words = isinstance(arg.value, cst.FormattedString | cst.ConcatenatedString)
        if words or _is_sentence(arg.value):
            continue
        if len(node.args) > 1:
            yield node.with_changes(args=[*node.args[:place], *node.args[place + 1 :]])
        elif not arg.star:
            yield node.with_changes(args=[arg.with_changes(value=cst.Name("None"))])


def _left_out(node: cst.Expr | cst.Raise) -> Iterable[cst.CSTNode]:
    """A call or a refusal that is forgotten."""
    if isinstance(node, cst.Raise) or isinstance(node.value, cst.Call):
        yield cst.Pass()


LEFT_AS_IT_IS = (cst.Annotation, cst.Decorator, cst.FormattedString)
OPERATORS: Sequence[tuple[Any, Any]] = (
    *(one for one in mutation_operators if one[1] is not operator_arg_removal),
    (cst.Call, _argument_left_out),
    (cst.Expr, _left_out),
    (cst.Raise, _left_out),
)


def mistakes_of(source: str) -> Iterator[Mistake]:
    """Every mistake that can be made in that source, from top to bottom, none twice."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    places = wrapper.resolve(PositionProvider)
    offsets = list(accumulate((len(line) for line in source.splitlines(True)), initial=0))
    seen = {ast.dump(ast.parse(source))}
    for node, other, lines in _changes(wrapper.module, places, None):
        place = places[node]
        start = offsets[place.start.line - 1] + place.start.column
        end = offsets[place.end.line - 1] + place.end.column
        after = wrapper.module.code_for_node(other)
        changed = source[:start] + after + source[end:]
        try:
            tree = ast.dump(ast.parse(changed))
        except SyntaxError:
            continue
        if tree not in seen:
            seen.add(tree)
            yield Mistake(changed, place.start.line, lines, source[start:end], after)


def _changes(
    node: cst.CSTNode, places: Mapping[cst.CSTNode, CodeRange], statement: range | None
) -> Iterator[tuple[cst.CSTNode, cst.CSTNode, range]]:
    """(node, what stands there instead, lines of the statement), from that node downwards."""
    if isinstance(node, LEFT_AS_IT_IS) or _is_sentence(node):
        return
    if isinstance(node, cst.SimpleStatementLine):
        statement = _lines(places[node])
    if isinstance(node, cst.If | cst.While | cst.CompIf):
        inner = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        other = cst.UnaryOperation(cst.Not(), inner)
        yield node.test, other, statement or _lines(places[node.test])
    for kind, operator in OPERATORS:
        if isinstance(node, kind):
            changed = list(operator(node))
            if isinstance(node, cst.SimpleString):
                changed = changed[:1]  # written otherwise is enough: not in capitals, too
            for other in changed:
                yield node, other, statement or _lines(places[node])
    for child in node.children:
        yield from _changes(child, places, statement)


def _lines(place: CodeRange) -> range:
    return range(place.start.line, place.end.line + 1)


def _is_sentence(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.SimpleString) and " " in node.value
