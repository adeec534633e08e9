"""Where campaigns are in the API, and how a command names one."""

from typing import Annotated, Final
from urllib.parse import quote

import typer

CAMPAIGNS: Final = "/v1/campaigns"

IdArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Its id: cmp_…")]


def path_of(ident: str, *more: str) -> str:
    """Return the path of a campaign, or of something of it."""
    return "/".join((CAMPAIGNS, *(quote(each, safe="") for each in (ident, *more))))
