"""Contents as clients send them, made into what is stored, rendered and previewed.

The composer reads and judges them (:mod:`mailwright.mta.compose`); here members of a
request are laid over those of a stored template. Values in, values out; thread-safe.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from mailwright.api.campaigns.schemas import (
    CampaignIn,
    ContentIn,
    TemplateIn,
)
from mailwright.api.problems import FieldError, Kind, ProblemError
from mailwright.api.schemas import MailboxIn
from mailwright.mta.compose.content import CampaignContent, ContentError, to_json
from mailwright.mta.compose.reading import parse_content
from mailwright.mta.compose.rendering import compile_content
from mailwright.mta.compose.template import TemplateError

#: Stands in a stored template for the author that a campaign will have.
NOBODY: Final = "nobody@example.invalid"
#: What a campaign with a template may not have beside it.
_OF_TEMPLATE: Final = ("html", "text", "attachments", "variants")


def campaign_content(
    given: CampaignIn, template: bytes | None
) -> tuple[CampaignContent | None, list[FieldError]]:
    """Return the content of a campaign, or ``None`` and all that is wrong with it.

    Compiles the templates: blocking, for some milliseconds.
    """
    base: dict[str, Any] = {} if template is None else json.loads(template)
    errors = []
    if template is not None:
        errors = [
            FieldError(name, "is the template's")
            for name in _OF_TEMPLATE
            if getattr(given, name)
        ]
    author = given.author
    name = author.name or base.get("from", {}).get("name", "")
    value = _laid_over(base, given)
    value["from"] = {"address": author.address, "name": name}
    value["reply_to"] = [_mailbox(each) for each in given.reply_to]
    content, defects = _checked(value)
    return content, [*errors, *defects]


def template_content(given: TemplateIn) -> bytes:
    """Return the JSON octets of a template.

    Compiles it: blocking.

    Raises:
        ProblemError: it is not right.
    """
    value = _laid_over({}, given)
    value["from"] = {"address": NOBODY, "name": given.from_name or ""}
    content, errors = _checked(value)
    if content is None:
        raise ProblemError(
            Kind.INVALID, errors=[_of_template(error) for error in errors]
        )
    return to_json(content)


def _laid_over(base: Mapping[str, Any], given: ContentIn) -> dict[str, Any]:
    """Return the members of ``given`` over those of ``base``."""
    value = dict(base)
    for name in ("subject", "html", "text", "to_name"):
        said = getattr(given, name)
        if said is not None:
            value[name] = said
    for name in ("headers", "fields", "defaults"):
        value[name] = {**base.get(name, {}), **getattr(given, name)}
    if given.utm is not None:
        value["utm"] = given.utm
    if given.attachments:
        value["attachments"] = [each.model_dump() for each in given.attachments]
    if given.variants:
        value["variants"] = {
            name: each.model_dump(exclude_none=True)
            for name, each in given.variants.items()
        }
    value["strict"] = given.strict or base.get("strict", False)
    return value


def _mailbox(given: MailboxIn) -> dict[str, str]:
    return {"address": given.address, "name": given.name}


def _checked(
    value: Mapping[str, Any],
) -> tuple[CampaignContent | None, list[FieldError]]:
    try:
        content = parse_content(json.dumps(value).encode())
    except ContentError as error:
        return None, [FieldError(each.field, each.reason) for each in error.defects]
    try:
        compile_content(content)
    except TemplateError as error:
        return None, [FieldError(error.field, error.reason, error.line or None)]
    return content, []


def _of_template(error: FieldError) -> FieldError:
    """Return ``error`` with the name that the member has in a template."""
    if error.field == "from.name":
        return FieldError("from_name", error.message, error.line)
    return error
