"""Templates: MiniJinja with what a mail needs and nothing else.

Promises: a template sees the values that it is given and nothing of the node: no files, no
other templates, no clock, no random number, no Python object. The same values give the same
text. Values are escaped in html and nowhere else. A rendering ends within its fuel, some
milliseconds; how much memory it takes meanwhile (``x ~ x`` doubles, again and again) cannot
be bounded here, so renderings run in a process of their own
(:mod:`mailwright.mta.renderers`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import minijinja

from mailwright.errors import MailwrightError
from mailwright.mta.compose.plain import plain_value, template_from_html
from mailwright.mta.compose.values import Members, Plain, pairs

#: Instructions of one rendering of one template: twice what a list of 500 products
#: takes, and at most some 50 ms.
FUEL: Final = 20_000
#: Characters of one rendered template.
MAX_OUTPUT_CHARS: Final = 2_000_000

#: What templates may call. Pure, all of them.
FILTERS: Final = frozenset(
    (
        *("abs", "batch", "bool", "capitalize", "count", "d", "default", "e", "escape"),
        *("filesizeformat", "first", "float", "indent", "int", "items", "join", "last"),
        *("length", "lines", "list", "lower", "map", "max", "min", "pluralize"),
        *("reject", "rejectattr", "replace", "reverse", "round", "safe", "select"),
        *("selectattr", "slice", "sort", "split", "string", "striptags", "sum"),
        *("title", "trim", "truncate", "unique", "upper", "urlencode"),
    )
)
FUNCTIONS: Final = frozenset({"namespace", "range"})
#: What this release has beside these; a test finds what a later one adds.
_UNWANTED_FILTERS: Final = (
    *("attr", "chain", "dictsort", "format", "groupby", "pprint", "tojson"),
    *("wordwrap", "zip"),
)
_UNWANTED_FUNCTIONS: Final = ("cycler", "debug", "dict", "joiner")

#: The fields as one object, for names that are no identifiers: ``fields["First name"]``.
ALL_FIELDS: Final = "fields"
#: MiniJinja would find these on the Python dict that holds the variables.
_DICT_METHODS: Final = frozenset(name for name in dir(dict) if name[0] != "_")

_IS_MARKED: Final = re.compile(r"\{[{%#]")
_FORBIDDEN: Final = re.compile(
    r"\{%[-+]?\s*(include|import|from|extends|block|call|do|autoescape)\b"
)
#: Comments and what is not to be read as a template.
_NOT_MARKED: Final = re.compile(
    r"\{#.*?#\}|\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw", re.DOTALL
)
_TAG: Final = re.compile(r"\{[{%](.*?)[%}]\}", re.DOTALL)
_STRING: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", re.DOTALL)
_FILTER: Final = re.compile(r"\|\s*([A-Za-z_]\w*)|^\s*[-+]?\s*filter\s+(\w+)")
#: What MiniJinja may say of a value that is not there.
_OF_MISSING: Final = frozenset({"UndefinedError", "InvalidOperation"})
_TAG_ENDS: Final = re.compile(r"[}%]\}")
_MAX_SHOWN_CHARS: Final = 60
_BY_KEY: Final = re.compile(rf"\b{ALL_FIELDS}\[\s*(['\"])([^'\"]*)\1\s*\]")
#: What a tag holds before the name that it needs, with its opening braces.
_KEYWORD: Final = re.compile(r"^(?:if|elif|for\b.*?\bin|set\b.*?=)\s+")


class TemplateError(MailwrightError):
    """A text is no template.

    Attributes:
        field: which one: ``subject``, ``variants.b.html``, …
        line: from 1; 0 when it is not known.
        reason: a short text; parts of the template may be in it.
    """

    def __init__(self, field: str, line: int, reason: str) -> None:
        where = f"{field} line {line}" if line else field
        super().__init__(f"{where}: {reason}")
        self.field = field
        self.line = line
        self.reason = reason


class RenderError(MailwrightError):
    """A recipient's message cannot be made.

    Attributes:
        field: which template or header: ``subject``, ``headers.X-Coupon``, …
        reason: a short text without any value of the recipient's.
        missing: the field that has no value, or ``""``.
    """

    def __init__(self, field: str, reason: str, missing: str = "") -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason
        self.missing = missing


@dataclass(frozen=True, slots=True)
class Context:
    """The values of one rendering, by the names that templates use."""

    values: Mapping[str, Plain]

    def variables(self) -> dict[str, Plain]:
        """Return a new dict of all variables, with the object of all of them."""
        return {**self.values, ALL_FIELDS: Members(self.values)}


class Templates:
    """Compiled templates by name. Stateless to its callers; one rendering at a time."""

    def __init__(self, sources: Mapping[str, str], *, is_strict: bool) -> None:
        """Compile ``sources``; those whose name ends in ``html`` are escaped.

        ``is_strict``: to print a field that is missing is an error, else it is empty. A
        test (``{% if coupon %}``) is no error in either.

        Raises:
            TemplateError: one of them is no template.
        """
        self._constants: dict[str, str] = {}
        self._sources: dict[str, str] = {}
        self._preludes: dict[str, int] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._environment = _environment(is_strict=is_strict)
        for name, source in sources.items():
            if _IS_MARKED.search(source):
                self._add(name, source)
            else:
                self._constants[name] = source

    def __contains__(self, name: str) -> bool:
        return name in self._constants or name in self._sources

    def add_text_of(self, html: str, name: str) -> bool:
        """Add, as ``name``, a template of the text of the template ``html``.

        False when there is none: the text is then to be made of the rendered html.
        """
        source = self._sources.get(html) or self._constants.get(html)
        text = None if source is None else template_from_html(source)
        if text is None:
            return False
        try:
            self._compile(name, text)
        except TemplateError:
            return False
        return True

    def names(self, template: str) -> frozenset[str]:
        """Return the variables that a template asks for; empty for a constant one."""
        return self._names.get(template, frozenset())

    def render(self, name: str, context: Context) -> str:
        """Return the template's text for ``context``.

        Raises:
            RenderError: a field is missing, it takes too long or says too much, or does
                what cannot be done.
        """
        constant = self._constants.get(name)
        if constant is not None:
            return constant
        try:
            text = self._environment.render_template(name, **context.variables())
        except minijinja.TemplateError as error:
            raise self._render_error(name, error, context) from None
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            # Of the filter `items`, or of calling what is a value.
            raise RenderError(name, "a value is not what is done with it") from error
        if len(text) > MAX_OUTPUT_CHARS:
            raise RenderError(name, f"over {MAX_OUTPUT_CHARS} characters")
        return text

    def _add(self, name: str, source: str) -> None:
        forbidden = _FORBIDDEN.search(source)
        if forbidden:
            line = source.count("\n", 0, forbidden.start()) + 1
            raise TemplateError(name, line, f"{forbidden[1]} is not for mail")
        self._compile(name, source)
        self._check_filters(name, source)

    def _compile(self, name: str, source: str) -> None:
        try:
            asked = self._environment.undeclared_variables_in_str(source)
            hidden = sorted(asked & _DICT_METHODS)
            prelude = "".join(
                f'{{% set {each} = {ALL_FIELDS}["{each}"] %}}' for each in hidden
            )
            self._environment.add_template(name, prelude + source)
        except minijinja.TemplateError as error:
            reason = error.detail or error.message
            raise TemplateError(name, error.line or 0, reason) from None
        self._sources[name] = source
        self._preludes[name] = len(prelude.encode())
        self._names[name] = frozenset(asked) - FUNCTIONS

    def _check_filters(self, name: str, source: str) -> None:
        """Find misspelt filters now: MiniJinja would tell at the first recipient."""
        marked = _NOT_MARKED.sub(_blank, source)
        for tag in _TAG.finditer(marked):
            for used in _FILTER.finditer(_STRING.sub("''", tag[1])):
                called = used[1] or used[2]
                if called not in FILTERS:
                    line = marked.count("\n", 0, tag.start()) + 1
                    raise TemplateError(name, line, f"filter {called} is unknown")

    def _render_error(
        self, name: str, error: minijinja.TemplateError, context: Context
    ) -> RenderError:
        if error.kind == "OutOfFuel":
            return RenderError(name, "the template takes too long")
        where = f"line {error.line}: " if error.line else ""
        shown = missing = ""
        if error.kind in _OF_MISSING:
            shown = self._expression(name, error)
            missing = self._missing(name, shown, context)
        if not missing and error.kind != "UndefinedError":
            # These texts hold names and kinds of values; of values at most numbers.
            reason = error.detail or error.message.split(" (in ", 1)[0]
            return RenderError(name, f"{where}{reason}")
        said = f"{missing} is missing" if missing else "something is missing"
        if shown and shown != missing:
            said += f" in {shown}"
        return RenderError(name, where + said, missing)

    def _expression(self, name: str, error: minijinja.TemplateError) -> str:
        """Return the expression in which something was undefined, cut short."""
        if error.range is None:
            return ""
        source = self._sources[name].encode()
        at = max(error.range[0] - self._preludes[name], 0)
        start = max(source.rfind(b"{{", 0, at + 2), source.rfind(b"{%", 0, at + 2)) + 2
        if start < 2:
            return ""
        text = source[start : start + 500].decode(errors="ignore")
        text = _TAG_ENDS.split(text, maxsplit=1)[0].strip("-+ \t\r\n")
        text = _KEYWORD.sub("", text)
        return text[:_MAX_SHOWN_CHARS] if text.isprintable() else ""

    def _missing(self, template: str, expression: str, context: Context) -> str:
        """Return the first field in ``expression`` that has no value."""
        if not expression:
            return ""
        by_key = _BY_KEY.search(expression)
        if by_key is not None and by_key[2] not in context.values:
            return by_key[2]
        try:
            asked = self._environment.undeclared_variables_in_str(
                f"{{{{ {expression} }}}}", nested=True
            )
        except minijinja.TemplateError:
            return ""
        fields = self._names[template]
        absent = [
            path
            for path in asked
            if path.split(".")[0] in fields and not _has(context, path)
        ]
        return min(absent, key=expression.find, default="")


def _blank(found: re.Match[str]) -> str:
    """Return as many lines as were found, and nothing on them."""
    return "\n" * found[0].count("\n")


def missing_of(names: Iterable[str], context: Context) -> tuple[str, ...]:
    """Return which of ``names`` have no value, sorted."""
    known = {ALL_FIELDS, *context.values}
    return tuple(sorted(set(names) - known))


def _has(context: Context, path: str) -> bool:
    """Whether the value at a dotted path is there."""
    value: Plain = Members(context.values)
    for name in path.split("."):
        if name == ALL_FIELDS and path.startswith(ALL_FIELDS):
            continue
        if not isinstance(value, Members) or name not in set(value):
            return False
        value = value[name]
    return True


def _environment(*, is_strict: bool) -> minijinja.Environment:
    environment = minijinja.Environment(
        undefined_behavior="lenient",
        auto_escape_callback=lambda name: "html" if name.endswith("html") else None,
        keep_trailing_newline=True,
        fuel=FUEL,
        debug=True,  # else errors do not say where
        pycompat=False,
    )
    # A test of a missing field is false, also in strict mode; members of what is missing
    # are missing, else `{{ address.city }}` of a recipient without address would fail.
    # minijinja's stubs do not know semi_strict.
    environment.undefined_behavior = "semi_strict" if is_strict else "chainable"  # type: ignore[assignment]
    for name in _UNWANTED_FILTERS:
        environment.remove_filter(name)
    for name in _UNWANTED_FUNCTIONS:
        environment.remove_global(name)
    environment.add_filter("items", pairs)
    environment.add_filter("_plain", plain_value)  # of templates that are made here
    return environment
