"""Renders in a process, and sets off two bombs; prints what came of each as JSON."""

import json
import sys

from fakes.campaign_contents import DATED, content_json, merge_of
from mailwright.merge import Merge
from mailwright.mta.compose.composing import Composed
from mailwright.mta.renderers import Order, Renderers

TEXTS = (
    "Dear {{ name }}",
    "{% for i in range(100000) %}{{ range(100000)|sort }}{% endfor %}",
    "{% set n = namespace(x='aaaaaaaaaa') %}{% for i in range(60) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}",
    "Dear {{ name }} again",
)


def main() -> None:
    """Render each text."""
    renderers = Renderers(1)
    made = []
    for number, text in enumerate(TEXTS):
        given = merge_of()
        merge = Merge(number, given.fields, "", given.recipient, given.message_id)
        [one] = renderers.render([Order(content_json(text=text), merge, DATED)])
        made.append("made" if isinstance(one, Composed) else str(one))
    renderers.close()
    sys.stdout.write(json.dumps(made))


if __name__ == "__main__":
    main()
