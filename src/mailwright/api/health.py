"""``/healthz``: is the loop alive? ``/readyz``: should work be sent here?"""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from mailwright.api.ports import ApiPorts


def health_router(ports: ApiPorts) -> APIRouter:
    """Return the routes for supervisors and load balancers; they need no key."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Alive?", response_model=None)
    async def get_health() -> Response:
        """Answer at all: the event loop turns."""
        return JSONResponse({"status": "alive"})

    @router.get(
        "/readyz",
        summary="Ready for work?",
        responses={503: {"description": "Not now; `reasons` says why"}},
        response_model=None,
    )
    async def get_readiness() -> Response:
        """Say whether messages are accepted now.

        ``notices`` says what else is unusual: mail is accepted and none leaves. Who
        stopped it and why is for operators: this takes no key.
        """
        reasons, notices = list(ports.unready()), list(ports.notices())
        more = {"notices": notices} if notices else {}
        if reasons:
            answer = {"status": "unready", "reasons": reasons, **more}
            return JSONResponse(answer, 503)
        return JSONResponse({"status": "ready", **more})

    return router
