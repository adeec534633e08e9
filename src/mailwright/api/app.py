"""The FastAPI application: routers, problems, the OpenAPI document and its page."""

import re
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from mailwright import __version__
from mailwright.api.campaigns.asking import Door, by_operator
from mailwright.api.campaigns.asking import by_key as campaigns_by_key
from mailwright.api.campaigns.ports import CampaignPorts
from mailwright.api.campaigns.recipients import recipients_router
from mailwright.api.campaigns.rendering import rendering_router
from mailwright.api.campaigns.routes import campaigns_router
from mailwright.api.campaigns.schemas import (
    CampaignIn,
    ChangeIn,
    PreviewIn,
    TemplateIn,
    TestIn,
)
from mailwright.api.clock import clock_router
from mailwright.api.credentials import credentials_router
from mailwright.api.documentation import documentation_router
from mailwright.api.events import events_router
from mailwright.api.health import health_router
from mailwright.api.lanes import lanes_router
from mailwright.api.messages import messages_router
from mailwright.api.metrics import metrics_router
from mailwright.api.operating import Identify, by_key, by_peer
from mailwright.api.operations import as_manager, as_operator, queue_router
from mailwright.api.ports import ApiPorts, OperatorPorts
from mailwright.api.problems import Kind, add_handlers
from mailwright.api.schemas import MessageIn
from mailwright.api.sending_domains import sending_domains_router
from mailwright.api.settings import SettingsIn, settings_router
from mailwright.api.stopping import stopping_router
from mailwright.api.suppression_records import SuppressionsIn
from mailwright.api.suppressions import suppressions_router
from mailwright.api.templates import templates_router
from mailwright.api.webhooks.door import WebhookDoor
from mailwright.api.webhooks.routes import WEBHOOK_BODIES, webhooks_router

_DESCRIPTION: Final = """
Submit messages and campaigns, see what became of them, follow events.

Send `Authorization: Bearer mw_…` with a key from `mailwright key create`. Errors are
`application/problem+json` (RFC 9457); `errors` names each field at fault.
"""


#: Bodies that we read by ourselves.
_BODIES: Final = (
    MessageIn,
    SettingsIn,
    SuppressionsIn,
    CampaignIn,
    ChangeIn,
    PreviewIn,
    TemplateIn,
    TestIn,
    *WEBHOOK_BODIES,
)


def create_app(
    ports: ApiPorts,
    campaigns: CampaignPorts | None = None,
    webhooks: WebhookDoor | None = None,
) -> FastAPI:
    """Return the API over ``ports``.

    Without ``campaigns`` or ``webhooks`` there are no routes of these.
    """
    app = FastAPI(
        title="mailwright",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # the stock pages load their scripts from another host
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    add_handlers(app)
    app.include_router(messages_router(ports))
    app.include_router(events_router(ports))
    if webhooks is not None:
        app.include_router(webhooks_router(ports, webhooks))
    app.include_router(health_router(ports))
    if ports.operating is not None:
        _add_operator_routes(app, ports.operating, by_key(ports))
        app.include_router(queue_router(ports.operating.queue, as_manager(ports)))
        app.include_router(lanes_router(ports.operating.queue, by_key(ports)))
        app.include_router(suppressions_router(ports.operating, as_manager(ports)))
    if campaigns is not None:
        _add_campaigns(app, campaigns, campaigns_by_key(ports))
    app.include_router(metrics_router(ports.metrics))
    app.include_router(documentation_router(lambda: _openapi(app)))
    return app


def create_operator_app(
    ports: OperatorPorts, campaigns: CampaignPorts | None = None
) -> FastAPI:
    """Return the routes for operators alone, for the Unix socket.

    There are ``campaigns`` while a node runs.
    """
    app = FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    add_handlers(app)
    _add_operator_routes(app, ports, by_peer())
    app.include_router(queue_router(ports.queue, as_operator(by_peer())))
    app.include_router(lanes_router(ports.queue, by_peer()))
    app.include_router(suppressions_router(ports, as_operator(by_peer())))
    if campaigns is not None:
        _add_campaigns(app, campaigns, by_operator(campaigns.directory))
    return app


def _add_campaigns(app: FastAPI, ports: CampaignPorts, who: Door) -> None:
    app.include_router(campaigns_router(ports, who))
    app.include_router(recipients_router(ports, who))
    app.include_router(rendering_router(ports, who))
    app.include_router(templates_router(ports, who))


def _add_operator_routes(
    app: FastAPI, ports: OperatorPorts, identify: Identify
) -> None:
    app.include_router(settings_router(ports, identify))
    app.include_router(credentials_router(ports, identify))
    app.include_router(sending_domains_router(ports, identify))
    app.include_router(stopping_router(ports.stopping, identify))
    app.include_router(clock_router(ports.time, identify))


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document.

    Bodies are read by us, not by FastAPI (limits come first), so their schemas are
    added here.
    """
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
    )
    _, schemas = models_json_schema(
        [(model, "validation") for model in _BODIES],
        ref_template="#/components/schemas/{model}",
    )
    components = document["components"]["schemas"]
    components.update(schemas["$defs"])
    for schema in components.values():
        _describe_members(schema)
    document["x-problems"] = [
        {"type": kind.slug, "status": kind.status, "title": kind.title} for kind in Kind
    ]
    return document


#: One entry of a docstring's ``Attributes:``, with its continuation lines.
_ATTRIBUTE: Final = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def _describe_members(schema: dict[str, Any]) -> None:
    """Move what a dataclass's docstring says of its attributes to the members."""
    text = schema.get("description", "").replace("``", "`")
    text, _, attributes = text.partition("\nAttributes:\n")
    if not attributes:
        return
    schema["description"] = text.strip()
    for name, meaning in _ATTRIBUTE.findall(attributes):
        member = schema.get("properties", {}).get(name)
        if member is not None:
            member.setdefault("description", " ".join(meaning.split()))
