"""``GET /metrics``: what the node counts, in the text format of Prometheus.

The numbers are taken on the event loop, the text is built in a thread. Source: the
Prometheus exposition formats and OpenMetrics 1.0.
"""

import asyncio
from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from mailwright.api.ports import MetricsDoor
from mailwright.api.problems import Kind, Problem, ProblemError
from mailwright.mta.submission.door import peer_ip

#: What a proxy adds to a request that is not its own.
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip")


def metrics_router(door: MetricsDoor) -> APIRouter:
    """Return the route for Prometheus; it needs no key, but the right address."""
    router = APIRouter(tags=["health"])
    # Building the text is work: it is done once at a time.
    turn = asyncio.Lock()

    @router.get(
        "/metrics",
        summary="Counts and measures",
        responses={
            200: {
                "content": {"text/plain": {}, "application/openmetrics-text": {}},
                "description": "In the format that `Accept` asks for",
            },
            403: {"model": Problem, "description": "Not from this address"},
        },
        response_model=None,
    )
    async def get_metrics(request: Request) -> Response:
        """Answer with every metric; `docs/monitoring.md` explains them."""
        if not _may_read(request, door):
            raise ProblemError(Kind.ADDRESS, "see http.metrics_networks")
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        async with turn:
            registry = CollectorRegistry(auto_describe=False)
            registry.register(door.collector())
            text = await asyncio.to_thread(encode, registry)
        return Response(
            text, headers={"Content-Type": media_type, "Cache-Control": "no-store"}
        )

    return router


def _may_read(request: Request, door: MetricsDoor) -> bool:
    if any(name in request.headers for name in _FORWARDED):
        return False  # the address is the proxy's
    if request.client is None:
        return True  # a Unix socket: its mode has said who may
    peer = peer_ip(tuple(request.client))
    return peer is not None and any(peer in network for network in door.networks)
