# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""One expression of a rule: text → checked JSON tree. The grammar stands in docs/architecture.md §3.4; nothing is ever executed here."""

from __future__ import annotations

import difflib
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.memqos.fleet.plugins.module_utils._rules import MAX_NUMBER
from ansible_collections.memqos.fleet.plugins.module_utils._units import parse_size

if t.TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MAX_LENGTH = 4000
MAX_NODES = 500
MAX_DEPTH = 32
_MAX_DIGITS = 20  # what parse_size reads

Kind = t.Literal["number", "text", "true or false", "list", "any"]
Number = t.Union[int, float]
Nested = t.TypeVar("Nested")
Tree = t.Any  # JSON: a number, text, true, false, null (infinity) or ["op", …]

# What every rule may read. Closed namespaces: each name and its kind. Open ones (their keys depend on the kernel): how many keys follow.
_N: Kind = "number"
_T: Kind = "text"
_B: Kind = "true or false"
_L: Kind = "list"
_A: Kind = "any"
_FACTS: dict[str, Kind] = {
    **dict.fromkeys(("page_size", "uptime_seconds", "cpus", "numa_nodes", "systemd", "swap_total_bytes", "swap_used_bytes", "memory_reserved_bytes",
                     "memory_version"), _N),
    **dict.fromkeys(("kernel", "hierarchy", "architecture", "hostname", "zswap_zpool"), _T),
    **dict.fromkeys(("psi", "mglru", "zram", "zswap_enabled", "kubelet", "vmap_stack", "memory_recursiveprot"), _B),
    "container_runtimes": _L,
}  # fmt: skip
_NODE: dict[str, Kind] = {
    **dict.fromkeys((
        "memtotal_bytes", "hugetlb_bytes", "memory_without_hugetlb_bytes", "unaccounted_bytes", "pcp_bytes", "slab_bytes", "page_tables_bytes", "kernel_bytes",
        "shmem_bytes", "live_memcgs", "dying_memcgs", "dying_bytes", "sum_limit_bytes", "sum_request_bytes", "sum_memory_min_bytes", "tcp_mem_bytes",
        "allocatable_bytes", "workloads", "without_limit", "without_throttle", "stranded_bytes", "stranded_workloads",
        "tcp_mem_pressure_bytes", "hugepages_free_unreserved_bytes", "hugepages_total_bytes", "numa_free_min_share", "numa_free_max_over_min",
        "watermark_gap_bytes", "free_bytes", "low_order_free_share", "swap_devices", "memory_available_bytes",
    ), _N),
    **dict.fromkeys((
        "cmdline_nokmem", "cmdline_nosocket", "redis", "mongodb", "postgresql", "elasticsearch", "cassandra", "kafka", "sap_hana",
        "drop_caches_written_down",
    ), _B),
}  # fmt: skip
_ZONE: dict[str, Kind] = {
    **dict.fromkeys(("node", "free", "min", "low", "high", "promo", "boost", "managed", "present", "reserve", "distance_kswapd", "distance_direct",
                     "low_order_free_share"), _N),
    "name": _T, "highest": _B, "unreclaimable": _B,
}  # fmt: skip
_NUMA: dict[str, Kind] = dict.fromkeys(("id", "memtotal_bytes", "memfree_bytes", "free_share"), _N)
_CGROUP: dict[str, Kind] = {
    **dict.fromkeys(("path", "name", "kind", "runtime", "qos_class", "namespace", "pod", "container", "image", "program"), _T),
    **dict.fromkeys((
        "usage", "peak", "limit", "soft_limit", "high", "low", "min", "swap", "swap_limit", "swappiness", "request", "working_set",
        "working_set_sysom", "hard_set", "dying", "dying_bytes", "effective_min", "effective_low", "kernel_other", "growth", "refaults", "children_usage",
        "children_min", "children_low",
    ), _N),
    **dict.fromkeys(("oom_group", "oom_kill_disable"), _B),
}  # fmt: skip
# A row of the result's C(settings): what the controller made of the node's files.
_SETTING: dict[str, Kind] = {
    **dict.fromkeys(("name", "scope", "subject", "live", "effective", "persisted", "source", "path"), _T),
    **dict.fromkeys(("agrees", "drift", "ours", "overridden"), _B),
}  # fmt: skip

CLOSED: dict[str, dict[str, Kind]] = {"facts": _FACTS, "node": _NODE, "zone": _ZONE, "numa": _NUMA, "cgroup": _CGROUP, "setting": _SETTING}
OPEN: dict[str, int] = {
    "meminfo": 1, "vmstat": 1, "sockstat": 2, "breakdown": 1, "pressure": 3,
    "cgroup.stat": 1, "cgroup.events": 1, "cgroup.events_local": 1, "cgroup.pressure": 2, "cgroup.vendor": 1,
}  # fmt: skip
_CGROUP_KINDS = ("cgroup", "container", "pod", "slice", "service")
# The namespace that only some subjects have, and who has it.
SUBJECTS: dict[str, tuple[str, ...]] = {"zone": ("zone",), "numa": ("numa_node",), "cgroup": _CGROUP_KINDS, "setting": ("setting",)}
EACH = ("node", "zone", "numa_node", *_CGROUP_KINDS, "setting")

# What one audit keeps for the next, and what it reads twice: of a cgroup only these keys of memory.stat, the same as _SAMPLE_KEYS of _read/_cgroupfs.
_DELTA_SPACES = ("vmstat", "cgroup.stat", "cgroup.events", "cgroup.events_local")
_RATE_SPACES = ("vmstat", "cgroup.stat")
SAMPLED_STAT = (
    "anon", "file", "active_file", "inactive_file", "workingset_refault_anon", "workingset_refault_file", "workingset_activate_file", "pgscan_direct",
    "pgsteal_direct", "pgscan_kswapd", "pgsteal_kswapd", "pgmajfault",
)  # fmt: skip
# In vmstat nr_* are levels, these excepted; in memory.stat what counts bytes or pages now is a level.
_VMSTAT_COUNTERS = frozenset(("nr_dirtied", "nr_written", "nr_throttled_written", "nr_vmscan_write", "nr_vmscan_immediate_reclaim", "nr_foll_pin_acquired",
                              "nr_foll_pin_released"))  # fmt: skip
_STAT_LEVELS = frozenset((
    "anon", "file", "kernel", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "sock", "vmalloc", "shmem", "zswap", "zswapped", "file_mapped",
    "file_dirty", "file_writeback", "swapcached", "anon_thp", "file_thp", "shmem_thp", "inactive_anon", "active_anon", "inactive_file", "active_file",
    "unevictable", "slab", "slab_reclaimable", "slab_unreclaimable", "hugetlb",
))  # fmt: skip

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<text>'[^'\n]*'|"[^"\n]*")
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+(?:\((?:anon|file)\))?)*)
    |(?P<op>==|!=|<=|>=|[-+*/<>()\[\],%])""",
    re.VERBOSE,
)
_INSTEAD = {"=": "write ==", "&": "write and", "|": "write or", "!": "write not or !="}
_SIZES = ("KiB", "MiB", "GiB", "TiB")
_SIZE_LIKE = re.compile(r"[kmgtp]i?b?|bytes?|b", re.IGNORECASE)
_WORDS = frozenset(("and", "or", "not", "in", "true", "false", "infinity"))
_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
# Functions over values: how many arguments (fewest, most), their kind, the kind of the result.
_FUNCTIONS: dict[str, tuple[int, int, Kind, Kind]] = {"min": (2, 50, _N, _N), "max": (2, 50, _N, _N), "abs": (1, 1, _N, _N), "matches": (2, 2, _T, _B)}
_REFERENCES = ("has", "knob", "delta", "rate")


class ExpressionError(ValueError):
    """What is wrong, and at which character of the expression (from 0)."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class Token(t.NamedTuple):
    """C(kind) is number, text, name, op or end."""

    kind: str
    text: str
    offset: int


class Term(t.NamedTuple):
    """A part of the tree, its kind, and where it stands."""

    tree: Tree
    kind: Kind
    offset: int


@dataclass
class Scope:
    """What one rule's expressions may name; C(used_thresholds) and C(read) are filled while parsing: what was named, in order."""

    each: str
    thresholds: Mapping[str, Number]
    knob_problem: t.Callable[[str], str]
    used_thresholds: set[str] = field(default_factory=set)
    read: dict[str, Tree] = field(default_factory=dict)


def compile_expression(text: str, scope: Scope) -> Term:
    """The whole expression as a tree within the bounds. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters", MAX_LENGTH)
    parser = _Parser(text, scope)
    term = parser.whole()
    nodes, depth = _measure(term.tree)
    if nodes > MAX_NODES or depth > MAX_DEPTH:
        raise ExpressionError(f"too large: {nodes} parts, {depth} levels; at most {MAX_NODES} and {MAX_DEPTH}", 0)
    return term


def parse_number(text: str) -> Number:
    """C(50%), C(2 GiB), C(-3): a number as expressions write them. Raises ExpressionError."""
    tokens = _Tokens(text)
    negative = tokens.take("-")
    number = _number(tokens)
    if number is None or tokens.now.kind != "end":
        raise ExpressionError(f"{text!r} is not a number: write 5, 0.5, 5% or 2 GiB", 0)
    return -number if negative else number


def nearest(word: str, known: Collection[str]) -> str:
    """C(: did you mean 'x'?), or nothing."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f": did you mean '{found[0]}'?" if found else ""


def _measure(tree: Tree) -> tuple[int, int]:
    if not isinstance(tree, list):
        return 1, 1
    parts = [_measure(part) for part in tree[1:]] if tree[0] not in _READS else []
    return 1 + sum(nodes for nodes, _depth in parts), 1 + max((depth for _nodes, depth in parts), default=0)


_READS = frozenset(("name", "has", "delta", "rate"))


class _Tokens:
    """The words of an expression, one ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokenise(text))
        self._at = 0
        self.now = self._tokens[0]

    def next(self) -> Token:
        token = self.now
        self._at = min(self._at + 1, len(self._tokens) - 1)
        self.now = self._tokens[self._at]
        return token

    def take(self, *texts: str) -> Token | None:
        """The next token if it is one of these operators or words."""
        return self.next() if self.now.text in texts and self.now.kind in ("op", "name") else None

    def need(self, text: str) -> Token:
        found = self.take(text)
        if found is None:
            raise ExpressionError(f"'{text}' expected before {self.describe()}", self.now.offset)
        return found

    def describe(self) -> str:
        return "the end" if self.now.kind == "end" else f"'{self.now.text}'" if self.now.kind != "text" else self.now.text


def _tokenise(text: str) -> t.Iterator[Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(_bad_character(text[at]), at)
        if match.lastgroup != "space":
            yield Token(match.lastgroup or "", match.group(), at)
        at = match.end()
    yield Token("end", "", at)


def _bad_character(char: str) -> str:
    if char in "'\"":
        return f"text that starts with {char} has no end"
    return f"unexpected {char!r}" + (f": {_INSTEAD[char]}" if char in _INSTEAD else "")


def _number(tokens: _Tokens) -> Number | None:
    """A number with its unit, or None when the next token is no number."""
    if tokens.now.kind != "number":
        return None
    token = tokens.next()
    if len(token.text) > _MAX_DIGITS:
        raise ExpressionError(f"a number of more than {_MAX_DIGITS} characters", token.offset)
    value = float(token.text) if set(token.text) & set(".eE") else int(token.text)
    unit = tokens.now
    if tokens.take("%"):
        value = value / 100
    elif unit.kind == "name" and unit.text in _SIZES and "e" not in token.text.lower():
        value = parse_size(token.text + tokens.next().text)
    elif unit.kind == "name" and unit.text not in _WORDS and (_SIZE_LIKE.fullmatch(unit.text) or unit.offset == token.offset + len(token.text)):
        raise ExpressionError(f"unknown unit '{unit.text}': sizes are written with {', '.join(_SIZES)}, shares with %", unit.offset)
    if value > MAX_NUMBER:
        raise ExpressionError("a number beyond 2**80", token.offset)
    return value


class _Parser:
    """Recursive descent, one method a level of precedence: or, and, not, comparison, sum, product, sign, primary."""

    def __init__(self, text: str, scope: Scope) -> None:
        self._tokens = _Tokens(text)
        self._scope = scope
        self._depth = 0

    def whole(self) -> Term:
        term = self._or()
        if self._tokens.now.kind != "end":
            raise ExpressionError(f"unexpected {self._tokens.describe()}", self._tokens.now.offset)
        return term

    def _or(self) -> Term:
        return self._logic("or", self._and)

    def _and(self) -> Term:
        return self._logic("and", self._not)

    def _logic(self, word: str, part: t.Callable[[], Term]) -> Term:
        first = part()
        if self._tokens.now.text != word:
            return first
        terms = [first]
        while self._tokens.take(word):
            terms.append(part())
        for term in terms:
            _demand(term, _B, f"'{word}'")
        return Term(_flat(word, terms), _B, first.offset)

    def _not(self) -> Term:
        token = self._tokens.take("not")
        if token is None:
            return self._comparison()
        term = self._nested(self._not, token.offset)
        _demand(term, _B, "'not'")
        return Term(["not", term.tree], _B, token.offset)

    def _comparison(self) -> Term:
        left = self._sum()
        token = self._tokens.now
        if self._tokens.take("in"):
            return self._membership(left)
        if token.text not in _COMPARISONS or token.kind != "op":
            return left
        self._tokens.next()
        right = self._sum()
        if self._tokens.now.text in _COMPARISONS and self._tokens.now.kind == "op":
            raise ExpressionError("comparisons do not chain: write 'a < b and b < c'", self._tokens.now.offset)
        _demand_comparable(left, right, token)
        return Term([token.text, left.tree, right.tree], _B, left.offset)

    def _membership(self, left: Term) -> Term:
        if left.kind not in (_N, _T, _A):
            raise ExpressionError(f"'in' looks for a number or text, this is {_words(left.kind)}", left.offset)
        bracket = self._tokens.take("[")
        if bracket is None:
            right = self._sum()
            if right.kind != _L:
                raise ExpressionError("'in' needs a list such as ['a', 'b']", right.offset)
            return Term(["in", left.tree, right.tree], _B, left.offset)
        items = self._arguments("]")
        if not items:
            raise ExpressionError("the list is empty", bracket.offset)
        for item in items:
            if isinstance(item.tree, list) or item.tree is None or item.kind not in (_N, _T):
                raise ExpressionError("a list holds only numbers and text", item.offset)
            _demand_comparable(left, item, Token("op", "in", item.offset))
        return Term(["in", left.tree, ["list", *(item.tree for item in items)]], _B, left.offset)

    def _sum(self) -> Term:
        return self._chain(("+", "-"), self._product)

    def _product(self) -> Term:
        return self._chain(("*", "/"), self._sign)

    def _chain(self, operators: tuple[str, str], part: t.Callable[[], Term]) -> Term:
        left = part()
        while True:
            token = self._tokens.now
            if token.kind != "op" or token.text not in operators:
                return left
            self._tokens.next()
            right = part()
            for term in (left, right):
                _demand(term, _N, f"'{token.text}'")
            tree = _flat(token.text, [left, right]) if token.text in "+*" else [token.text, left.tree, right.tree]
            left = Term(tree, _N, left.offset)

    def _sign(self) -> Term:
        token = self._tokens.take("-")
        if token is None:
            return self._primary()
        term = self._nested(self._sign, token.offset)
        _demand(term, _N, "'-'")
        return Term(-term.tree if isinstance(term.tree, (int, float)) else ["-", 0, term.tree], _N, token.offset)

    def _primary(self) -> Term:
        token = self._tokens.now
        number = _number(self._tokens)
        if number is not None:
            return Term(number, _N, token.offset)
        if token.kind == "text":
            self._tokens.next()
            return Term(token.text[1:-1], _T, token.offset)
        if self._tokens.take("("):
            term = self._nested(self._or, token.offset)
            self._tokens.need(")")
            return term
        if token.kind != "name" or token.text in ("and", "or", "in"):
            raise ExpressionError(f"a value expected before {self._tokens.describe()}", token.offset)
        self._tokens.next()
        return self._word(token)

    def _word(self, token: Token) -> Term:
        if token.text in ("true", "false"):
            return Term(token.text == "true", _B, token.offset)
        if token.text == "infinity":
            return Term(None, _N, token.offset)
        if self._tokens.now.text == "(" and self._tokens.now.kind == "op":
            return self._call(token)
        term = resolve(token, self._scope)
        if isinstance(term.tree, list):
            self._scope.read.setdefault(token.text, term.tree)
        return term

    def _call(self, token: Token) -> Term:
        self._tokens.next()
        if token.text in _REFERENCES:
            return self._reference(token)
        if token.text not in _FUNCTIONS:
            raise ExpressionError(f"unknown function '{token.text}'" + nearest(token.text, (*_FUNCTIONS, *_REFERENCES)), token.offset)
        fewest, most, wanted, result = _FUNCTIONS[token.text]
        terms = self._nested(lambda: self._arguments(")"), token.offset)
        if not fewest <= len(terms) <= most:
            raise ExpressionError(f"{token.text}() takes {fewest if fewest == most else f'{fewest} or more'} values, not {len(terms)}", token.offset)
        for term in terms:
            _demand(term, wanted, f"{token.text}()")
        return Term([token.text, *(term.tree for term in terms)], result, token.offset)

    def _arguments(self, end: str) -> list[Term]:
        if self._tokens.take(end):
            return []
        terms = [self._or()]
        while self._tokens.take(","):
            terms.append(self._or())
        self._tokens.need(end)
        return terms

    def _reference(self, function: Token) -> Term:
        """has, delta, rate and knob look at a name, not at its value."""
        token = self._tokens.next()
        if function.text == "knob" or (function.text == "has" and token.text == "knob" and self._tokens.take("(")):
            term = self._knob(self._tokens.next() if function.text == "has" else token)
            if function.text == "has":
                self._tokens.need(")")
                return Term(["has", *term.tree[1:]], _B, function.offset)
            self._scope.read.setdefault(term.tree[2], term.tree)
            return term
        if token.kind != "name":
            raise ExpressionError(f"{function.text}() takes a name, such as vmstat.oom_kill", token.offset)
        term = resolve(token, self._scope, wanted=function.text)
        self._tokens.need(")")
        if function.text == "has":
            return Term(["has", *term.tree[1:]], _B, function.offset)
        tree = [function.text, *term.tree[1:]]
        self._scope.read.setdefault(f"{function.text}({token.text})", tree)
        return Term(tree, _N, function.offset)

    def _knob(self, token: Token) -> Term:
        if token.kind != "text":
            raise ExpressionError("knob() takes a name in quotes, such as knob('vm.swappiness')", token.offset)
        name = token.text[1:-1]
        problem = self._scope.knob_problem(name)
        if problem:
            raise ExpressionError(problem, token.offset)
        self._tokens.need(")")
        return Term(["name", "knob", name], _A, token.offset)

    def _nested(self, part: t.Callable[[], Nested], offset: int) -> Nested:
        # Brackets leave no trace in the tree, so nesting is bounded here as well: the parser recurses.
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH}", offset)
        result = part()
        self._depth -= 1
        return result


def _flat(op: str, terms: list[Term]) -> Tree:
    """C(a + b + c) is one operation, so long sums stay shallow."""
    head = terms[0].tree
    start = head if isinstance(head, list) and head[0] == op else [op, head]
    return [*start, *(term.tree for term in terms[1:])]


def _words(kind: Kind) -> str:
    return {"number": "a number", "text": "text", "list": "a list"}.get(kind, kind)


def _demand(term: Term, wanted: Kind, where: str) -> None:
    if term.kind not in (wanted, _A):
        raise ExpressionError(f"{where} needs {_words(wanted)}, this is {_words(term.kind)}", term.offset)


def _demand_comparable(left: Term, right: Term, token: Token) -> None:
    for term in (left, right):
        if term.kind == _L:
            raise ExpressionError("a list can only be asked with 'in'", term.offset)
        if token.text not in ("==", "!=", "in"):
            _demand(term, _N, f"'{token.text}'")
    if _A not in (left.kind, right.kind) and left.kind != right.kind:
        raise ExpressionError(f"'{token.text}' compares {_words(left.kind)} with {_words(right.kind)}", right.offset)


# Names


def resolve(token: Token, scope: Scope, *, wanted: str = "value") -> Term:
    """A dotted name as C(["name", key, …]) (a threshold as its number). C(wanted) is value, has, delta or rate. Raises ExpressionError."""
    space, _dot, rest = token.text.partition(".")
    if space == "threshold" and wanted == "value":
        return _threshold(token, rest, scope)
    if scope.each not in SUBJECTS.get(space, (scope.each,)):
        raise ExpressionError(f"'{token.text}' is not there for each: {scope.each}; write each: {' or '.join(SUBJECTS[space])}", token.offset)
    keys, kind = _open(token) or _closed(token, scope)
    if wanted in ("delta", "rate"):
        _check_counter(token, keys, wanted)
    return Term(["name", *keys], kind, token.offset)


def _threshold(token: Token, name: str, scope: Scope) -> Term:
    if name not in scope.thresholds:
        raise ExpressionError(f"unknown threshold '{name}'" + nearest(name, scope.thresholds), token.offset)
    scope.used_thresholds.add(name)
    return Term(scope.thresholds[name], _N, token.offset)


def _open(token: Token) -> tuple[list[str], Kind] | None:
    """Keys of a name in an open namespace; None for other names."""
    for space, count in OPEN.items():
        if not token.text.startswith(space + "."):
            continue
        rest = token.text[len(space) + 1 :]
        if space == "cgroup.vendor":  # files are named memory.wmark_ratio: one key with a dot
            return ["cgroup", "vendor", rest], _A
        keys = rest.split(".")
        if len(keys) != count:
            raise ExpressionError(f"'{token.text}': {count} {'key follows' if count == 1 else 'keys follow'} after '{space}', not {len(keys)}", token.offset)
        return [*space.split("."), *keys], _N
    return None


def _closed(token: Token, scope: Scope) -> tuple[list[str], Kind]:
    space, _dot, name = token.text.partition(".")
    kind = CLOSED.get(space, {}).get(name)
    if kind is not None:
        return [space, name], kind
    spaces = [known for known in CLOSED if scope.each in SUBJECTS.get(known, (scope.each,))]
    # Open namespaces are offered as well: 'memifno.Slab' is a slip in the namespace.
    rest = f".{name}" if name else ""
    candidates = [f"{known}.{key}" for known in spaces for key in CLOSED[known]] + [known + rest for known in OPEN]
    raise ExpressionError(f"unknown name '{token.text}'" + nearest(token.text, candidates), token.offset)


def _check_counter(token: Token, keys: list[str], wanted: str) -> None:
    """That the name is a counter, and that its earlier (delta) or later (rate) value is read at all: else the rule would never be decided."""
    space = ".".join(keys[:2]) if keys[0] == "cgroup" else keys[0]
    last = keys[-1]
    spaces = _DELTA_SPACES if wanted == "delta" else _RATE_SPACES
    if space not in spaces:
        raise ExpressionError(f"{wanted}() takes a counter of {', '.join(spaces)}; '{token.text}' is none", token.offset)
    is_level = (space == "vmstat" and last.startswith("nr_") and last not in _VMSTAT_COUNTERS) or (space == "cgroup.stat" and last in _STAT_LEVELS)
    if is_level:
        raise ExpressionError(f"{wanted}() takes a counter; '{token.text}' is a level that goes up and down", token.offset)
    if wanted == "rate" and space == "cgroup.stat" and last not in SAMPLED_STAT:
        sampled = ", ".join(key for key in SAMPLED_STAT if key not in _STAT_LEVELS)
        raise ExpressionError(f"rate() of a cgroup is there for {sampled} of cgroup.stat; '{last}' is read only once in an audit", token.offset)
