# SPDX-License-Identifier: BSD-2-Clause

"""Evaluates compiled rules: JSON trees become closures, which judge one subject after another in three-valued logic."""

from __future__ import annotations

import operator
import typing as t

from ._tuples import NamedTuple

# Beyond every size; keeps hostile numbers from growing without end.
MAX_NUMBER = 2**80
INFINITY = float("inf")

# What a rule reads: namespace -> nested mappings; None is infinity, a missing key is unknown.
Env = t.Mapping[str, t.Any]
Scalar = t.Union[int, float, str, bool, None]
# At run time an int, float, str, bool, list or Unknown.
Value = t.Any
Evaluator = t.Callable[[Env, "Counters"], Value]
_NUMBERS = frozenset((int, float))


class RuleFormatError(ValueError):
    """A compiled rule that cannot be read; the message names it."""


class Unknown:
    """The third truth value."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Reading(NamedTuple):
    """Growth over C(seconds); C(kind): since_last_run, since_boot or window."""

    value: Value
    kind: str
    seconds: t.Optional[float]
    reset: bool = False


class Outcome(NamedTuple):
    """C(status): pass, fail, unknown or not_applicable. C(observed): not of pass. C(window): of the widest counter."""

    status: str
    observed: t.Dict[str, Scalar]
    reason: str
    window: t.Optional[t.Dict[str, t.Union[str, float, None]]]


class Prepared(NamedTuple):
    """C(counters): the C((operation, keys)) that the verdict rests on."""

    id: str
    each: str
    applies: t.Optional[Evaluator]
    when: Evaluator
    observe: t.Tuple[t.Tuple[str, Evaluator], ...]
    counters: t.Tuple[t.Tuple[str, t.Tuple[str, ...]], ...]


PASS = Outcome("pass", {}, "", None)
NOT_APPLICABLE = Outcome("not_applicable", {}, "", None)
_DIVISION = Unknown("division by zero")
_TOO_LARGE = Unknown("a result beyond any real size")
_NO_WINDOW = Unknown("no measuring window, so no rate")


class Counters(NamedTuple):
    """C(previous) was read C(elapsed) seconds before the environment (same boot, same inode), C(window) C(window_seconds) after it."""

    uptime: t.Optional[float]
    previous: t.Optional[Env] = None
    elapsed: t.Optional[float] = None
    window: t.Optional[Env] = None
    window_seconds: t.Optional[float] = None

    def delta(self, keys: t.Sequence[str], env: Env) -> Reading:
        now = _look_up(env, keys)
        before: Value = None if self.previous is None else _look_up(self.previous, keys)
        if now.__class__ not in _NUMBERS:
            return Reading(_not_a_number(now, keys), "since_boot", self.uptime)
        if before.__class__ not in _NUMBERS:
            return Reading(now, "since_boot", self.uptime)
        return _growth(before, now, "since_last_run", self.elapsed)

    def rate(self, keys: t.Sequence[str], env: Env) -> Reading:
        before = _look_up(env, keys)
        after: Value = None if self.window is None else _look_up(self.window, keys)
        if before.__class__ not in _NUMBERS:
            return Reading(_not_a_number(before, keys), "window", self.window_seconds)
        if after.__class__ not in _NUMBERS or not self.window_seconds:
            return Reading(_NO_WINDOW, "window", self.window_seconds)
        growth = _growth(before, after, "window", self.window_seconds)
        return growth._replace(value=growth.value / self.window_seconds)


def prepare(compiled: object) -> t.List[Prepared]:
    if not isinstance(compiled, list):
        raise RuleFormatError("compiled rules are not a list")
    return [_prepare_rule(rule) for rule in compiled]


def evaluate(rule: Prepared, env: Env, counters: Counters) -> Outcome:
    if rule.applies is not None:
        applies = rule.applies(env, counters)
        if applies is False:
            return NOT_APPLICABLE
        if applies is not True:
            return _finding(rule, applies, env, counters)
    verdict = rule.when(env, counters)
    return PASS if verdict is False else _finding(rule, verdict, env, counters)


def passed(rule: Prepared, env: Env, counters: Counters) -> Outcome:
    """What C(evaluate) does not say of a pass: the figures."""
    return _finding(rule, True, env, counters)._replace(status="pass", reason="")


def counter_names(rules: t.Iterable[Prepared]) -> t.List[str]:
    return sorted({".".join(keys) for rule in rules for op, keys in rule.counters if op == "delta"})


def _finding(rule: Prepared, verdict: Value, env: Env, counters: Counters) -> Outcome:
    observed: t.Dict[str, Scalar] = {}
    for label, read in rule.observe:
        value = read(env, counters)
        if isinstance(value, (int, float, str)):
            observed[label] = None if value in (INFINITY, -INFINITY) else value
    readings = [(keys, counters.delta(keys, env) if op == "delta" else counters.rate(keys, env)) for op, keys in rule.counters]
    known = [reading for _keys, reading in readings if not isinstance(reading.value, Unknown)]
    widest = max(known, key=lambda reading: reading.seconds or 0) if known else None
    window: t.Optional[t.Dict[str, t.Union[str, float, None]]] = None if widest is None else {"kind": widest.kind, "seconds": widest.seconds}
    if verdict is not True:
        return Outcome("unknown", observed, _as_unknown(verdict).reason, window)
    resets = ", ".join(_label(keys) for keys, reading in readings if reading.reset)
    return Outcome("fail", observed, f"{resets} was reset: counted from zero" if resets else "", window)


def _label(keys: t.Sequence[str]) -> str:
    return f"knob('{keys[1]}')" if keys[0] == "knob" else ".".join(keys)


def _missing(keys: t.Sequence[str]) -> Unknown:
    return Unknown(f"{_label(keys)} is not known on this node")


def _look_up(env: Env, keys: t.Sequence[str]) -> Value:
    value: t.Any = env
    try:
        for key in keys:
            value = value[key]
    except (KeyError, TypeError):
        return None
    return value


def _not_a_number(value: Value, keys: t.Sequence[str]) -> Unknown:
    return _missing(keys) if value is None else Unknown(f"{_label(keys)} is not a number")


def _growth(before: Value, after: Value, kind: str, seconds: t.Optional[float]) -> Reading:
    # Backwards: written by somebody (v1 failcnt), or a new owner of the name. What counts is what came since.
    return Reading(after, kind, seconds, True) if after < before else Reading(after - before, kind, seconds)


def _name(keys: t.Tuple[str, ...]) -> Evaluator:
    missing = _missing(keys)
    if len(keys) == 2:
        return _short_name(keys[0], keys[1], missing)

    def read(env: Env, _counters: Counters) -> Value:
        value: t.Any = env
        try:
            for key in keys:
                value = value[key]
        except (KeyError, TypeError):
            return missing
        return INFINITY if value is None else value

    return read


def _short_name(first: str, second: str, missing: Unknown) -> Evaluator:
    def read(env: Env, _counters: Counters) -> Value:
        try:
            value = env[first][second]
        except (KeyError, TypeError):
            return missing
        return INFINITY if value is None else value

    return read


def _has(keys: t.Tuple[str, ...]) -> Evaluator:
    read = _name(keys)
    return lambda env, counters: read(env, counters).__class__ is not Unknown


def _delta(keys: t.Tuple[str, ...]) -> Evaluator:
    return lambda env, counters: counters.delta(keys, env).value


def _rate(keys: t.Tuple[str, ...]) -> Evaluator:
    return lambda env, counters: counters.rate(keys, env).value


def _as_unknown(value: Value) -> Unknown:
    return value if isinstance(value, Unknown) else Unknown(f"{value!r:.40} is of the wrong type")


def _mismatch(left: Value, right: Value) -> Unknown:
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return left if isinstance(left, Unknown) else right
    return _as_unknown(right if left.__class__ in _NUMBERS else left)


def _connective(decisive: bool) -> t.Callable[..., Evaluator]:
    """C(or) is decided by the first true, C(and) by the first false; an unknown part counts only if none decides."""

    def build(*parts: Evaluator) -> Evaluator:
        def decide(env: Env, counters: Counters) -> Value:
            verdict: Value = not decisive
            for part in parts:
                value = part(env, counters)
                if value is decisive:
                    return decisive
                if value is not (not decisive) and not isinstance(verdict, Unknown):
                    verdict = _as_unknown(value)
            return verdict

        return decide

    return build


def _not(part: Evaluator) -> Evaluator:
    def decide(env: Env, counters: Counters) -> Value:
        value = part(env, counters)
        return not value if value is True or value is False else _as_unknown(value)

    return decide


def _order(compare: t.Callable[[t.Any, t.Any], bool]) -> t.Callable[..., Evaluator]:
    def build(left: Evaluator, right: Evaluator) -> Evaluator:
        def decide(env: Env, counters: Counters) -> Value:
            a, b = left(env, counters), right(env, counters)
            if a.__class__ in _NUMBERS and b.__class__ in _NUMBERS:
                return compare(a, b)
            return _mismatch(a, b)

        return decide

    return build


def _equal(wanted: bool) -> t.Callable[..., Evaluator]:
    def build(left: Evaluator, right: Evaluator) -> Evaluator:
        def decide(env: Env, counters: Counters) -> Value:
            a, b = left(env, counters), right(env, counters)
            kind = a.__class__
            if (kind is b.__class__ and kind is not Unknown) or (kind in _NUMBERS and b.__class__ in _NUMBERS):
                return (a == b) is wanted
            return _mismatch(a, b)

        return decide

    return build


def _binary(judge: t.Callable[[Value, Value], Value]) -> t.Callable[..., Evaluator]:
    def build(left: Evaluator, right: Evaluator) -> Evaluator:
        return lambda env, counters: judge(left(env, counters), right(env, counters))

    return build


def _is_in(value: Value, known: Value) -> Value:
    if not isinstance(value, (int, float, str)):
        return _as_unknown(value)
    return value in known if isinstance(known, (list, tuple)) else _as_unknown(known)


_in = _binary(_is_in)


def _arithmetic(compute: t.Callable[[t.Any, t.Any], t.Any]) -> t.Callable[..., Evaluator]:
    def step(a: Value, b: Value) -> Value:
        if a.__class__ not in _NUMBERS or b.__class__ not in _NUMBERS:
            return _mismatch(a, b)
        try:
            value = compute(a, b)
        except ZeroDivisionError:
            return _DIVISION
        except OverflowError:
            return _TOO_LARGE
        # NaN (infinity - infinity) is equal to nothing and falls through as well.
        return value if -MAX_NUMBER <= value <= MAX_NUMBER or value in (INFINITY, -INFINITY) else _TOO_LARGE

    def build(*parts: Evaluator) -> Evaluator:
        first, rest = parts[0], parts[1:]

        def result(env: Env, counters: Counters) -> Value:
            value = first(env, counters)
            for part in rest:
                value = step(value, part(env, counters))
            return value

        return result

    return build


def _matches(value: Value, glob: Value) -> Value:
    if not isinstance(value, str):
        return _as_unknown(value)
    return is_like(value, glob) if isinstance(glob, str) else _as_unknown(glob)


def is_like(text: str, pattern: str) -> bool:
    """Only C(*) is special; linear, so no pattern is slow."""
    head, star, rest = pattern.partition("*")
    if not star:
        return text == pattern
    middle, _star, tail = rest.rpartition("*")
    if not (text.startswith(head) and text.endswith(tail)):
        return False
    at, end = len(head), len(text) - len(tail)
    for part in middle.split("*"):
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


_READS: t.Dict[str, t.Callable[[t.Tuple[str, ...]], Evaluator]] = {"name": _name, "has": _has, "delta": _delta, "rate": _rate}
_OPERATIONS: t.Dict[str, t.Callable[..., Evaluator]] = {
    "and": _connective(False),
    "or": _connective(True),
    "not": _not,
    "in": _in,
    "==": _equal(True),
    "!=": _equal(False),
    "<": _order(operator.lt),
    "<=": _order(operator.le),
    ">": _order(operator.gt),
    ">=": _order(operator.ge),
    "+": _arithmetic(operator.add),
    "-": _arithmetic(operator.sub),
    "*": _arithmetic(operator.mul),
    "/": _arithmetic(operator.truediv),
    "min": _arithmetic(min),
    "max": _arithmetic(max),
    "abs": lambda part: _arithmetic(lambda value, _zero: abs(value))(part, _literal(0)),
    "matches": _binary(_matches),
}


def _literal(value: Value) -> Evaluator:
    return lambda _env, _counters: value


class _Builder:
    def __init__(self) -> None:
        self.counters: t.Dict[t.Tuple[str, t.Tuple[str, ...]], None] = {}

    def build(self, tree: t.Any) -> Evaluator:
        """The controller has checked kinds and sizes. Raises what a wrong shape raises."""
        if not isinstance(tree, list):
            return _literal(INFINITY if tree is None else tree)
        op, parts = tree[0], tree[1:]
        if op in _READS:
            keys = (str(parts[0]), str(parts[1]), *map(str, parts[2:]))
            if op in ("delta", "rate"):
                self.counters[op, keys] = None
            return _READS[op](keys)
        if op == "in" and parts[1][0] == "list":
            return _in(self.build(parts[0]), _literal(parts[1][1:]))
        return _OPERATIONS[op](*map(self.build, parts))


def _prepare_rule(rule: t.Any) -> Prepared:
    try:
        verdict = _Builder()
        applies = verdict.build(rule["applies"]) if "applies" in rule else None
        when = verdict.build(rule["when"])
        observed = tuple((str(label), _Builder().build(tree)) for label, tree in rule.get("observe", {}).items())
        return Prepared(rule["id"], rule["each"], applies, when, observed, tuple(verdict.counters))
    except (LookupError, TypeError, AttributeError, RecursionError) as exc:
        known = rule.get("id") if isinstance(rule, dict) else None
        raise RuleFormatError(f"rule {known}: compiled, but cannot be read ({exc!r:.80})") from exc
