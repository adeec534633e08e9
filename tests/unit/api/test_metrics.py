"""``GET /metrics``: who may read it, in which format, built where."""

import httpx
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from fakes.api import Rig, drive


def from_address(rig: Rig, *client: str | int) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(rig.app, client=(client[0], client[1]))
    return httpx.AsyncClient(transport=transport, base_url="http://node.test")


@pytest.mark.parametrize(
    ("accept", "media_type", "parse"),
    [
        ("", "text/plain", parse_plain),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text",
         parse_openmetrics),
    ],
)  # fmt: skip
def test_the_text_is_in_the_format_asked_for_and_built_off_the_loop(
    accept: str, media_type: str, parse
) -> None:
    async def test(rig: Rig) -> None:
        answer = await rig.client.get("/metrics", headers={"Accept": accept})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media_type)
        assert answer.headers["cache-control"] == "no-store"
        [family] = parse(answer.text)
        [sample] = family.samples
        assert sample.name == "on_the_loop"
        assert sample.labels == {"name": 'a"b\\c\nd'}
        assert sample.value == 0

    drive(test)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("127.0.0.1", 200),
        ("::ffff:127.0.0.2", 200),
        ("192.0.2.1", 403),
        ("::1", 403),  # the fake names v4 only
        ("nonsense", 403),
    ],
)
def test_only_named_networks_may_read(address: str, status: int) -> None:
    async def test(rig: Rig) -> None:
        async with from_address(rig, address, 1) as client:
            answer = await client.get("/metrics")
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["type"] == "/docs#wrong-address"
            assert "on_the_loop" not in answer.text

    drive(test)


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "x-real-ip"])
def test_what_comes_through_a_proxy_is_refused(name: str) -> None:
    async def test(rig: Rig) -> None:
        answer = await rig.client.get("/metrics", headers={name: "127.0.0.1"})
        assert answer.status_code == 403

    drive(test)
