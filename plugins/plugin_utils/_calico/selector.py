# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Calico's selector language: parse, evaluate against labels, write canonically, identify.

Grammar (Calico: libcalico-go/lib/selector): `||` of `&&` of negated or plain terms; a term is `all()`,
`global()`, `has(key)`, a parenthesis, or `key OP value`. Only space and tab are white space. Strings have
no escapes. Word operators are operators only right after a label, so a label may be called `in`.
"""

from __future__ import annotations

import abc
import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

Labels = Mapping[str, str]

MAX_DEPTH = 64  # keeps evaluation within Python's stack; Calico has no such bound

_LABEL = re.compile(r"[A-Za-z0-9_./-]{1,512}")
_LABEL_CHARACTER = re.compile(r"[A-Za-z0-9_./-]")
_CALL = {
    "all": re.compile(r"all\([ \t]*\)"),
    "global": re.compile(r"global\([ \t]*\)"),
    "has": re.compile(r"has\([ \t]*([A-Za-z0-9_./-]{1,512})[ \t]*\)"),
}
# Longest first. A word needs a boundary behind it: `inf` is not the operator `in`.
_OPERATOR = re.compile(
    r"(?P<symbol>==|!=)"
    r"|(?P<word>contains|starts[ \t]*with|ends[ \t]*with|not[ \t]*in|in)(?![A-Za-z0-9_./-])"
)
_STRING = re.compile(r"\"([^\"]*)\"|'([^']*)'")
_SPACE = re.compile(r"[ \t]*")


class SelectorError(ValueError):
    """The selector cannot be read. `column` counts from 1."""

    def __init__(self, text: str, position: int, expected: str) -> None:
        self.column = position + 1
        found = text[position : position + 12]
        super().__init__(
            f"column {self.column}: expected {expected}, found {repr(found) if found else 'the end'}"
        )


class Selector(abc.ABC):
    """A parsed selector. Every node knows its canonical text and whether labels match it."""

    @abc.abstractmethod
    def matches(self, labels: Labels) -> bool:
        """Whether an object with these labels is selected."""

    @property
    @abc.abstractmethod
    def canonical(self) -> str:
        """The text that every equal selector has (Calico's own form; it parses back to an equal selector)."""

    @property
    def unique_id(self) -> str:
        """Calico's id of the selector: `s:` and 38 characters (libcalico-go/lib/hash/unique_id.go)."""
        digest = hashlib.sha224(f"s:{self.canonical}".encode(errors="surrogatepass")).digest()
        return f"s:{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


@dataclass(frozen=True)
class _Everything(Selector):
    name: str  # all or global

    def matches(self, labels: Labels) -> bool:  # noqa: ARG002  # the interface of all nodes
        return True

    @property
    def canonical(self) -> str:
        return f"{self.name}()"


@dataclass(frozen=True)
class _Has(Selector):
    key: str

    def matches(self, labels: Labels) -> bool:
        return self.key in labels

    @property
    def canonical(self) -> str:
        return f"has({self.key})"


@dataclass(frozen=True)
class _Compare(Selector):
    key: str
    operator: str
    value: str

    def matches(self, labels: Labels) -> bool:
        found = labels.get(self.key)
        return _COMPARE[self.operator](found, self.value)

    @property
    def canonical(self) -> str:
        return f"{self.key} {self.operator} {_quoted(self.value)}"


# A missing label is None: it equals nothing, so it differs from everything.
_COMPARE: dict[str, Callable[[str | None, str], bool]] = {
    "==": lambda found, value: found == value,
    "!=": lambda found, value: found != value,
    "contains": lambda found, value: found is not None and value in found,
    "starts with": lambda found, value: found is not None and found.startswith(value),
    "ends with": lambda found, value: found is not None and found.endswith(value),
}


@dataclass(frozen=True)
class _Member(Selector):
    key: str
    values: tuple[str, ...]
    negated: bool

    def matches(self, labels: Labels) -> bool:
        return (labels.get(self.key) in self.values) != self.negated

    @property
    def canonical(self) -> str:
        members = ", ".join(_quoted(value) for value in self.values)
        return f"{self.key} {'not in' if self.negated else 'in'} {{{members}}}"


@dataclass(frozen=True)
class _Not(Selector):
    operand: Selector

    def matches(self, labels: Labels) -> bool:
        return not self.operand.matches(labels)

    @property
    def canonical(self) -> str:
        return f"!{self.operand.canonical}"


@dataclass(frozen=True)
class _All(Selector):
    operands: tuple[Selector, ...]

    def matches(self, labels: Labels) -> bool:
        return all(operand.matches(labels) for operand in self.operands)

    @property
    def canonical(self) -> str:
        return f"({' && '.join(operand.canonical for operand in self.operands)})"


@dataclass(frozen=True)
class _Any(Selector):
    operands: tuple[Selector, ...]

    def matches(self, labels: Labels) -> bool:
        return any(operand.matches(labels) for operand in self.operands)

    @property
    def canonical(self) -> str:
        return f"({' || '.join(operand.canonical for operand in self.operands)})"


def excluding(chosen: Selector, excluded: Selector) -> Selector:
    """What one selector picks and another does not, as one selector (Calico: felix/calc/rule_scanner.go)."""
    return _All((chosen, _Not(excluded)))


def _quoted(value: str) -> str:
    return f"'{value}'" if '"' in value else f'"{value}"'


@lru_cache(maxsize=4096)
def parse(text: str) -> Selector:
    """Parse a selector; empty or blank selects everything. Raises SelectorError with the column."""
    return _Parser(str(text)).selector()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def selector(self) -> Selector:
        self._skip_space()
        if self._at == len(self._text):
            return _Everything("all")
        found = self._any()
        self._skip_space()
        if self._at != len(self._text):
            raise self._error("'&&', '||' or the end")
        return found

    def _any(self) -> Selector:
        return self._operands("||", self._all, _Any)

    def _all(self) -> Selector:
        return self._operands("&&", self._negation, _All)

    def _operands(
        self,
        operator: str,
        operand: Callable[[], Selector],
        node: Callable[[tuple[Selector, ...]], Selector],
    ) -> Selector:
        operands = [operand()]
        while self._take(operator):
            operands.append(operand())
        return operands[0] if len(operands) == 1 else node(tuple(operands))

    def _negation(self) -> Selector:
        negated = False
        while self._take("!"):
            negated = not negated
        found = self._term()
        return _Not(found) if negated else found

    def _term(self) -> Selector:
        if self._take("("):
            return self._parenthesis()
        for name, pattern in _CALL.items():
            call = pattern.match(self._text, self._at)
            if call:
                self._at = call.end()
                return _Has(call.group(1)) if name == "has" else _Everything(name)
        label = _LABEL.match(self._text, self._at)
        if not label:
            raise self._error("a label, 'has(', 'all()', '!' or '('")
        self._at = label.end()
        if _LABEL_CHARACTER.match(self._text, self._at):
            raise self._error("an operator (a label has at most 512 characters)")
        return self._comparison(label.group())

    def _parenthesis(self) -> Selector:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"at most {MAX_DEPTH} parentheses inside each other")
        found = self._any()
        if not self._take(")"):
            raise self._error("')'")
        self._depth -= 1
        return found

    def _comparison(self, key: str) -> Selector:
        self._skip_space()
        operator = _OPERATOR.match(self._text, self._at)
        if not operator:
            raise self._error("an operator (==, !=, in, not in, contains, starts with, ends with)")
        self._at = operator.end()
        name = operator.group("symbol") or _WORDS[re.sub(r"[ \t]", "", operator.group("word"))]
        if name in ("in", "not in"):
            return _Member(key, self._set(), negated=name == "not in")
        return _Compare(key, name, self._string())

    def _set(self) -> tuple[str, ...]:
        if not self._take("{"):
            raise self._error("'{'")
        values: set[str] = set()
        while not self._take("}"):
            values.add(self._string())
            if not self._take(","):
                if not self._take("}"):
                    raise self._error("',' or '}'")
                break
        return tuple(sorted(values))

    def _string(self) -> str:
        self._skip_space()
        found = _STRING.match(self._text, self._at)
        if not found:
            raise self._error("a quoted string")
        self._at = found.end()
        return found.group()[1:-1]

    def _take(self, token: str) -> bool:
        self._skip_space()
        if not self._text.startswith(token, self._at):
            return False
        self._at += len(token)
        return True

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _error(self, expected: str) -> SelectorError:
        return SelectorError(self._text, self._at, expected)


_WORDS = {
    "contains": "contains",
    "startswith": "starts with",
    "endswith": "ends with",
    "notin": "not in",
    "in": "in",
}
