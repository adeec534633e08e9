"""Addresses as nobody should spell them, and what each of them means.

:func:`meaning` is a second reading of RFC 5321 §4.1.2, RFC 6531 §3.3 and RFC 5890 that
shares no code with the node: who takes an address must put exactly this on the wire. The
generator also knows which spellings must be taken: a door that refuses all is no door.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

_ATEXT = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_ATOMS = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789!#$%&'*+/=?^_`{|}~-"
_QUOTED = _ATOMS + ' .,;:<>()[]@"\\'
_WIDE = "éüßñøжщλ中文名字ÄÖ"
_DOMAINS = (
    "one.example",
    "two.example",
    "deep.er.example",
    "with-hyphen.example",
    "xn--e1afmkfd.example",
    "x--y.example",
    "0.example",
)
_IDN = ("bücher.example", "пример.example", "ÉCOLE.example", "中文.example")
#: What is put into an address that was right.
_POISON = (
    *(chr(code) for code in range(0x20)),
    *("\x7f", "\x80", "\x85", "\xa0", "\u2028", "\u2029", "\u200b", "\u200d", "\u202e"),
    *("\ufeff", "\u3002", "\uff20", "\u212a", "\u00ad", "\u0130", "ﬁ", "\U000e0041"),
    *(" ", "@", '"', "\\", "<", ">", ",", ";", ":", "(", ")", "[", "]", ".", ".."),
    *("%", "!", "=", "+", "&", "'", "(x)", "> RCPT TO:<v@w.example>", "\r\n", "=?"),
)
#: Whole shapes, with a place for the token.
_SHAPES = (
    "{}@one.example <victim@two.example>",
    "<{}@one.example>",
    "{}@one.example, victim@two.example",
    "{}@one.example;victim@two.example",
    "@relay.example:{}@one.example",
    "{}@one.example@two.example",
    "{}%two.example@one.example",
    "two.example!{}@one.example",
    '"{}@one.example"@two.example',
    '"{}"@one.example"@two.example',
    "{}@[127.0.0.1]",
    "{}@[IPv6:::1]",
    "{}@127.0.0.1",
    "{}@0x7f.1",
    "{}@2130706433",
    "{}@localhost",
    "{}@one.example.",
    "{}@.one.example",
    "{}@one..example",
    "{}@-one.example",
    "{}@one-.example",
    ".{}@one.example",
    "{}.@one.example",
    "{}..x@one.example",
    "{}",
    "{}@",
    "postmaster@{}",
    "{}(comment)@one.example",
    "(comment){}@one.example",
    " {}@one.example",
    "{}@one.example ",
    "{} @one.example",
    '"{}@one.example',
    '{}"x"@one.example',
    '"{}".x@one.example',
    '"{}\\',
    "=?utf-8?q?{}=40two.example?=@one.example",
    "{}\uff20one.example",
    "{}@one\u3002example",
    "{}@" + "a" * 64 + ".example",
    "{}@" + "a." * 130 + "example",
    "{}" + "a" * 64 + "@one.example",
    "mailto:{}@one.example",
    "{}@xn--.example",
    "{}@xn--zzzzzz99999.example",
)


@dataclass(frozen=True, slots=True)
class Case:
    """An address as it is spelt.

    Attributes:
        means: the canonical address; ``None``: it spells none, and must be refused.
        must_be_taken: whether every door has to take it.
    """

    spelling: str
    means: str | None
    must_be_taken: bool = False


def cases(count: int, seed: int) -> Iterator[Case]:
    """Yield ``count`` cases; each has a token of its own, unless it was spoilt."""
    rng = Random(seed)  # noqa: S311
    makers = (_atoms, _quoted, _needless, _wide, _idn, _shaped, _spoilt, _spoilt)
    for number in range(count):
        yield rng.choice(makers)(rng, f"n{number}")


def meaning(spelling: str) -> str | None:
    """Return the canonical address that ``spelling`` means, or ``None``."""
    local, at, domain = spelling.rpartition("@")
    if not at:
        return None
    value = _unquoted(local) if local.startswith('"') else _dotted(local)
    host = _host(domain)
    if value is None or host is None:
        return None
    value = unicodedata.normalize("NFC", value).lower()
    canonical = f"{_as_local_part(value)}@{host}"
    is_short = len(_as_local_part(value).encode()) <= 64
    return canonical if is_short and len(canonical.encode()) <= 254 else None


def _is_visible(char: str) -> bool:
    return unicodedata.category(char)[0] not in {"C", "Z"}


def _dotted(local: str) -> str | None:
    for atom in local.split("."):
        if not atom:
            return None
        for char in atom:
            if not (_ATEXT.fullmatch(char) if char < "\x80" else _is_visible(char)):
                return None
    return local


def _unquoted(local: str) -> str | None:
    found = re.fullmatch(r'"((?:[^"\\]|\\.)+)"', local, re.DOTALL)
    if found is None:
        return None
    value = re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL)
    is_fit = all(c == " " or _is_visible(c) for c in value)
    return value if is_fit else None


def _as_local_part(value: str) -> str:
    if _dotted(value) is not None:
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _host(domain: str) -> str | None:
    if not domain.isascii():
        try:
            # IDNA 2003 of the standard library: alike for what the generator uses.
            domain = domain.encode("idna").decode()
        except UnicodeError:
            return None
    domain = domain.lower()
    labels = domain.split(".")
    is_host = len(labels) > 1 and len(domain) <= 253
    if not is_host or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return None if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]) else domain


def _some(rng: Random, letters: str, most: int = 12) -> str:
    return "".join(rng.choices(letters, k=rng.randint(1, most)))


def _domain(rng: Random) -> str:
    domain = rng.choice(_DOMAINS)
    return domain.upper() if rng.random() < 0.2 else domain


def _local(rng: Random, token: str) -> str:
    local = token + "".join(
        f"{rng.choice(('.', ''))}{_some(rng, _ATOMS)}" for _ in range(rng.randint(0, 2))
    )
    return local.upper() if rng.random() < 0.2 else local


def _must(spelling: str) -> Case:
    found = meaning(spelling)
    return Case(spelling, found, must_be_taken=found is not None)


def _atoms(rng: Random, token: str) -> Case:
    return _must(f"{_local(rng, token)}@{_domain(rng)}")


def _quoted(rng: Random, token: str) -> Case:
    value = token + _some(rng, _QUOTED, 20)
    text = "".join(f"\\{c}" if c in '"\\' or rng.random() < 0.1 else c for c in value)
    return _must(f'"{text}"@{_domain(rng)}')


def _needless(rng: Random, token: str) -> Case:
    text = "".join(f"\\{c}" if rng.random() < 0.2 else c for c in _local(rng, token))
    return _must(f'"{text}"@{_domain(rng)}')


def _wide(rng: Random, token: str) -> Case:
    form = rng.choice(("NFC", "NFD"))
    text = unicodedata.normalize(form, token + _some(rng, _WIDE, 6))
    # "ß".upper() would be another one.
    return _must(f"{text}@{_domain(rng)}")


def _idn(rng: Random, token: str) -> Case:
    return _must(f"{_local(rng, token)}@{rng.choice(_IDN)}")


def _shaped(rng: Random, token: str) -> Case:
    spelling = rng.choice(_SHAPES).format(token)
    return Case(spelling, meaning(spelling))


def _spoilt(rng: Random, token: str) -> Case:
    text = rng.choice((_atoms, _quoted, _needless, _wide, _idn))(rng, token).spelling
    for _ in range(rng.randint(1, 2)):
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(_POISON) + text[at + rng.randint(0, 1) :]
    return Case(text, meaning(text))
