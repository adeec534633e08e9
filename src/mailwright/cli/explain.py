"""``mailwright explain``: why mail leaves, or does not."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from mailwright.api.paths import EXPLAIN
from mailwright.cli.operator import JsonOption, SettingsOption, ask_node
from mailwright.cli.queue_text import block_text, line_text
from mailwright.config.problems import printable


def explain_command(
    settings: SettingsOption,
    what: Annotated[
        str, typer.Argument(help="An address, a domain, a provider, msg_… or dlv_…")
    ],
    as_json: JsonOption = False,
) -> None:
    """Say why mail leaves or does not: its way, limits, what stops it, last replies."""
    found = ask_node(settings, "GET", EXPLAIN, params={"what": what})
    if as_json:
        print(json.dumps(found))
        return
    for line in _explanation(found):
        print(line)


def _explanation(found: Mapping[str, Any]) -> Iterator[str]:
    if found["clock"] is not None:
        yield printable(f"nothing expires, the clock is suspect: {found['clock']}")
    if found["path"] is not None:
        yield from _path_lines(found["path"])
    for lane in found["lanes"]:
        open_now = sum(lane["connections"].values())
        yield printable(
            f"lane {lane['site']} from {lane['pool']}: {lane['deliveries']} due, "
            f"{open_now} of {lane['connections_most']} connections"
            + block_text(lane["rests"])
        )
    if not found["lines"]:
        yield "nothing waits for it"
    for each in found["lines"]:
        yield line_text(each["line"])
        for said in each["last_replies"]:
            reply = f"{said['code']} {said['enhanced']} {said['text']}"
            yield printable(f"  {said['at']} {said['hop']} {said['phase']}: {reply}")
    if found["lines_left_out"]:
        yield f"and {found['lines_left_out']} more lines"


def _path_lines(path: Mapping[str, Any]) -> Iterator[str]:
    if path["refused"] is not None:
        yield printable(f"{path['domain']}: no way: {path['refused']}")
        return
    hosts = ", ".join(path["hosts"])
    yield printable(
        f"{path['domain']}: by {path['via']} to {hosts}; site {path['site']}, "
        f"provider {path['provider']}, TLS {path['tls']}"
    )
    for limit in path["limits"]:
        yield printable(f"  limit per {limit['level']}: {limit['limit']}")
