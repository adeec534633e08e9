"""The commands that a server takes: one line in, a command or a refusing reply out.

Total: whatever the octets, :func:`parse_command` returns a value and never raises. The
text of a refusal holds nothing of the line. Grammar only: whether a command fits here and
now is the dialogue's to say.

Where we are laxer than the grammar, because it cannot be read in two ways: one blank
behind ``FROM:`` and ``TO:``, several blanks between parameters, blanks at the end.

Standards: RFC 5321 §4.1 (commands), §4.5.3.1 (sizes), RFC 1870 (SIZE), RFC 3461 (DSN),
RFC 4954 (AUTH), RFC 6152 (BODY), RFC 6531 (SMTPUTF8), RFC 3207 (STARTTLS).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from mailwright.address import Address
from mailwright.envelope import Notify, Recipient, Ret
from mailwright.mta.smtp.paths import (
    Refused,
    decode_xtext,
    parse_envid,
    parse_notify,
    parse_orcpt,
    parse_parameters,
    parse_path,
)
from mailwright.reply import Phase, Reply, local_reply

MAX_COMMAND_OCTETS: Final = 512  # RFC 5321 §4.5.3.1.4, with CRLF
#: What SIZE, BODY, SMTPUTF8, AUTH and DSN add to MAIL and RCPT, rounded up.
MAX_PATH_COMMAND_OCTETS: Final = 2_048
MAX_AUTH_OCTETS: Final = 12_288  # RFC 4954 §4
MAX_NAME_OCTETS: Final = 255  # RFC 5321 §4.5.3.1.2
_T = TypeVar("_T")
_CONTROLS: Final = bytes((*range(0x20), 0x7F))
_SIZE: Final = re.compile(r"[0-9]{1,20}")  # RFC 1870 §4
# What a browser or a proxy says: someone makes it speak to us (cross-protocol attacks).
_FOREIGN: Final = frozenset({b"CONNECT", b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT"})


@dataclass(frozen=True, slots=True)
class Hello:
    """EHLO, or HELO when it is not extended; ``name`` is what the client calls itself."""

    name: str
    is_extended: bool


@dataclass(frozen=True, slots=True)
class StartTls:
    """STARTTLS."""


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH.

    Attributes:
        mechanism: upper case.
        initial: base64 as given, ``"="`` for an empty one, ``None`` for none.
    """

    mechanism: str
    initial: str | None


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL.

    Attributes:
        reverse_path: ``None`` is the null reverse-path.
        size: declared octets, or ``None``.
        envid: decoded, or ``""``.
    """

    reverse_path: Address | None
    size: int | None = None
    has_8bit: bool = False
    has_utf8: bool = False
    ret: Ret | None = None
    envid: str = ""


@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT; it may only follow a MAIL with SMTPUTF8 when ``needs_utf8``."""

    recipient: Recipient
    needs_utf8: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """DATA."""


@dataclass(frozen=True, slots=True)
class Reset:
    """RSET."""


@dataclass(frozen=True, slots=True)
class Noop:
    """NOOP."""


@dataclass(frozen=True, slots=True)
class Quit:
    """QUIT."""


@dataclass(frozen=True, slots=True)
class Verify:
    """VRFY."""


@dataclass(frozen=True, slots=True)
class Expand:
    """EXPN."""


@dataclass(frozen=True, slots=True)
class Help:
    """HELP."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """The first line of another protocol."""


Command = (
    Hello
    | StartTls
    | Auth
    | Mail
    | Rcpt
    | Data
    | Reset
    | Noop
    | Quit
    | Verify
    | Expand
    | Help
    | Foreign
)


def parse_command(line: bytes, *, is_extended: bool) -> Command | Reply:
    """Return the command in ``line`` (without CRLF), or the 5xx that refuses it.

    Args:
        line: at most as long as a reader lets through.
        is_extended: the client said EHLO: parameters are allowed.
    """
    verb_octets, _, argument_octets = line.partition(b" ")
    verb = verb_octets.upper()  # of ASCII only: nothing else can become a verb
    grammar = _GRAMMARS.get(verb, _NO_VERB)
    if len(line) + 2 > grammar.limit:
        text = f"line over {grammar.limit} octets"
        return local_reply(500, "5.5.2", text, grammar.phase)
    if len(line.translate(None, _CONTROLS)) != len(line):
        return _bad_syntax(grammar.phase, "control character in command")
    if verb in _FOREIGN:
        return Foreign()
    if grammar.parse is None:
        return local_reply(500, "5.5.1", "command not recognised", grammar.phase)
    try:
        argument = argument_octets.decode("utf-8").rstrip(" ")
    except UnicodeDecodeError:
        return _bad_syntax(grammar.phase, "command is not UTF-8")
    return grammar.parse(argument, is_extended)


def _hello(*, is_extended: bool) -> "_Parser":
    def parse(argument: str, _is_extended: bool) -> Command | Reply:
        if not argument or " " in argument or len(argument.encode()) > MAX_NAME_OCTETS:
            return local_reply(501, "5.5.4", "say which host you are", Phase.EHLO)
        return Hello(argument, is_extended)

    return parse


def _auth(argument: str, _is_extended: bool) -> Command | Reply:
    words = argument.split(" ")
    if not argument.isascii() or not words[0] or len(words) > 2:
        return local_reply(501, "5.5.4", "syntax: AUTH mechanism [initial]", Phase.AUTH)
    return Auth(words[0].upper(), words[1] if len(words) == 2 else None)


def _mail(argument: str, is_extended: bool) -> Command | Reply:
    if argument[:5].upper() != "FROM:":
        return local_reply(501, "5.5.4", "syntax: MAIL FROM:<path>", Phase.MAIL)
    path = parse_path(argument[5:].removeprefix(" "))
    if isinstance(path, Refused):
        code = 501 if path.is_grammar else 550
        return local_reply(code, "5.1.7", path.text, Phase.MAIL)
    reverse_path, rest = path
    parameters = _parameters(rest, _MAIL_PARAMETERS, Phase.MAIL, is_extended)
    if isinstance(parameters, Reply):
        return parameters
    has_utf8 = "SMTPUTF8" in parameters
    if not has_utf8 and not argument.isascii():
        return _needs_utf8(Phase.MAIL)
    if not parameters:
        return Mail(reverse_path)
    size = parameters.get("SIZE")
    return Mail(
        reverse_path,
        size=int(size) if size else None,
        has_8bit=(parameters.get("BODY") or "").upper() == "8BITMIME",
        has_utf8=has_utf8,
        ret=Ret((parameters["RET"] or "").upper()) if "RET" in parameters else None,
        envid=_decoded(parse_envid, parameters, "ENVID", ""),
    )


def _rcpt(argument: str, is_extended: bool) -> Command | Reply:
    if argument[:3].upper() != "TO:":
        return local_reply(501, "5.5.4", "syntax: RCPT TO:<path>", Phase.RCPT)
    path = parse_path(argument[3:].removeprefix(" "))
    if isinstance(path, Refused):
        code = 501 if path.is_grammar else 550
        return local_reply(code, "5.1.3", path.text, Phase.RCPT)
    address, rest = path
    if address is None:
        return local_reply(501, "5.1.3", "a recipient needs an address", Phase.RCPT)
    parameters = _parameters(rest, _RCPT_PARAMETERS, Phase.RCPT, is_extended)
    if isinstance(parameters, Reply):
        return parameters
    needs_utf8 = not argument.isascii()
    if not parameters:
        return Rcpt(Recipient(address), needs_utf8)
    nothing: frozenset[Notify] = frozenset()
    recipient = Recipient(
        address,
        notify=_decoded(parse_notify, parameters, "NOTIFY", nothing),
        orcpt=_decoded(parse_orcpt, parameters, "ORCPT", ""),
    )
    return Rcpt(recipient, needs_utf8)


def _alone(command: Command) -> "_Parser":
    def parse(argument: str, _is_extended: bool) -> Command | Reply:
        if argument:
            return local_reply(501, "5.5.4", "no argument expected", Phase.EHLO)
        return command

    return parse


def _with_any_argument(command: Command) -> "_Parser":
    def parse(_argument: str, _is_extended: bool) -> Command | Reply:
        return command

    return parse


def _verify(argument: str, _is_extended: bool) -> Command | Reply:
    if not argument:
        return local_reply(501, "5.5.4", "syntax: VRFY address", Phase.EHLO)
    return Verify()


_Rule = Callable[[str | None], Refused | None]


def _parameters(
    text: str, rules: Mapping[str, _Rule], phase: Phase, is_extended: bool
) -> Mapping[str, str | None] | Reply:
    """Return the parameters in ``text``, each allowed by its rule."""
    if not text:
        return {}
    parameters = parse_parameters(text)
    if isinstance(parameters, Refused):
        return local_reply(501, "5.5.4", parameters.text, phase)
    for keyword, value in parameters.items():
        rule = rules.get(keyword) if is_extended else None
        if rule is None:
            # RFC 5321 §4.1.1.11: 555 for what we do not know.
            return local_reply(555, "5.5.4", "parameter not recognised", phase)
        refused = rule(value)
        if refused is not None:
            return local_reply(501, "5.5.4", refused.text, phase)
    return parameters


def _size_rule(value: str | None) -> Refused | None:
    return None if value and _SIZE.fullmatch(value) else Refused("SIZE must be digits")


def _body_rule(value: str | None) -> Refused | None:
    if (value or "").upper() in {"7BIT", "8BITMIME"}:
        return None
    return Refused("BODY must be 7BIT or 8BITMIME")


def _utf8_rule(value: str | None) -> Refused | None:
    return None if value is None else Refused("SMTPUTF8 takes no value")


def _ret_rule(value: str | None) -> Refused | None:
    if (value or "").upper() in {"FULL", "HDRS"}:
        return None
    return Refused("RET must be FULL or HDRS")


def _auth_rule(value: str | None) -> Refused | None:
    # RFC 4954 §5. Who sent it first changes nothing for us: checked and forgotten.
    if value and (value == "<>" or decode_xtext(value) is not None):
        return None
    return Refused("AUTH must be xtext or <>")


def _refusal_of(parse: Callable[[str | None], object]) -> _Rule:
    def rule(value: str | None) -> Refused | None:
        parsed = parse(value)
        return parsed if isinstance(parsed, Refused) else None

    return rule


def _decoded(
    parse: Callable[[str | None], _T | Refused],
    parameters: Mapping[str, str | None],
    keyword: str,
    default: _T,
) -> _T:
    if keyword not in parameters:
        return default
    decoded = parse(parameters[keyword])
    assert not isinstance(decoded, Refused), "checked by its rule"
    return decoded


def _needs_utf8(phase: Phase) -> Reply:
    # RFC 6531 §3.5: X.6.7 with 553.
    return local_reply(553, "5.6.7", "say SMTPUTF8 for addresses beyond ASCII", phase)


def _bad_syntax(phase: Phase, text: str) -> Reply:
    if phase is Phase.MAIL:
        return local_reply(501, "5.1.7", text, phase)
    if phase is Phase.RCPT:
        return local_reply(501, "5.1.3", text, phase)
    return local_reply(500, "5.5.2", text, phase)


_Parser = Callable[[str, bool], Command | Reply]

_MAIL_PARAMETERS: Final[Mapping[str, _Rule]] = {
    "SIZE": _size_rule,
    "BODY": _body_rule,
    "SMTPUTF8": _utf8_rule,
    "RET": _ret_rule,
    "ENVID": _refusal_of(parse_envid),
    "AUTH": _auth_rule,
}
_RCPT_PARAMETERS: Final[Mapping[str, _Rule]] = {
    "NOTIFY": _refusal_of(parse_notify),
    "ORCPT": _refusal_of(parse_orcpt),
}


class _Grammar(NamedTuple):
    """What may follow a verb.

    Attributes:
        parse: ``None`` for what is no verb of ours.
        limit: octets of the line, with CRLF.
    """

    parse: _Parser | None
    phase: Phase = Phase.EHLO
    limit: int = MAX_COMMAND_OCTETS


_NO_VERB: Final = _Grammar(None)
_GRAMMARS: Final[Mapping[bytes, _Grammar]] = {
    b"EHLO": _Grammar(_hello(is_extended=True)),
    b"HELO": _Grammar(_hello(is_extended=False)),
    b"STARTTLS": _Grammar(_alone(StartTls()), Phase.TLS),
    b"AUTH": _Grammar(_auth, Phase.AUTH, MAX_AUTH_OCTETS),
    b"MAIL": _Grammar(_mail, Phase.MAIL, MAX_PATH_COMMAND_OCTETS),
    b"RCPT": _Grammar(_rcpt, Phase.RCPT, MAX_PATH_COMMAND_OCTETS),
    b"DATA": _Grammar(_alone(Data()), Phase.DATA),
    b"RSET": _Grammar(_alone(Reset())),
    b"NOOP": _Grammar(_with_any_argument(Noop())),
    b"QUIT": _Grammar(_with_any_argument(Quit())),
    b"VRFY": _Grammar(_verify),
    b"EXPN": _Grammar(_with_any_argument(Expand())),
    b"HELP": _Grammar(_with_any_argument(Help())),
}
