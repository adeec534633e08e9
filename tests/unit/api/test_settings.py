"""Settings over HTTP: for operators by key or by socket, and for nobody else."""

import asyncio
import copy
import json
import os
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from fakes.api import FakeIntake, FakeReading, OneMetric
from fakes.node_folder import (
    CANARY_PASSWORD,
    CANARY_SECRET,
    NodeFolder,
    make_node_folder,
)
from fakes.resolver import FakeResolver
from mailwright.accounts.authentication import Authenticator, make_secret
from mailwright.accounts.guesses import GuessLimiter
from mailwright.accounts.live import LiveSettings
from mailwright.accounts.loading import load_version
from mailwright.accounts.logins import Logins
from mailwright.accounts.proving import Prover
from mailwright.accounts.settings.administration import Administration
from mailwright.accounts.settings.document import format_document
from mailwright.api.app import create_app, create_operator_app
from mailwright.api.ports import ApiPorts, MetricsDoor, OperatorPorts, SuppressionDoor
from mailwright.bounce.suppressing import Suppressions
from mailwright.mta.admission import Admission
from mailwright.mta.dkim import records
from mailwright.mta.submission.budget import ByteBudget
from mailwright.queue.stopping import Stopping
from mailwright.reputation.provider_file import provider_names
from mailwright.store.store import Store

ROUTES = [
    ("GET", "/v1/stop-all"),
    ("POST", "/v1/stop-all"),
    ("POST", "/v1/release-all"),
    ("GET", "/v1/settings"),
    ("PUT", "/v1/settings"),
    ("GET", "/v1/settings/log"),
    ("GET", "/v1/settings/log/1"),
    ("GET", "/v1/credentials"),
    ("POST", "/v1/credentials"),
    ("POST", "/v1/credentials/crm/secret"),
    ("DELETE", "/v1/credentials/crm"),
    ("POST", "/v1/sending-domains/check"),
    ("POST", "/v1/sending-domains/example.com/keys/s1/retire"),
    ("POST", "/v1/sending-domains/example.com/keys/s1/revoke"),
    ("GET", "/v1/clock"),
    ("POST", "/v1/clock/settle"),
]


@pytest.fixture(scope="module")
def pems() -> tuple[bytes, bytes]:
    keys = (generate_private_key(65537, 2048), Ed25519PrivateKey.generate())
    rsa, ed25519 = (
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for key in keys
    )
    return rsa, ed25519


@pytest.fixture
def node(tmp_path: Path, pems: tuple[bytes, bytes]) -> NodeFolder:
    folder = make_node_folder(tmp_path, *pems)
    folder.setup["credential"] += [
        {
            "tenant": "acme",
            "name": "boss",
            "stream": "news",
            "scopes": ["operate"],
            "sha256": make_boss()[1].hex(),
        },
        {
            "tenant": "acme",
            "name": "admin",
            "stream": "news",
            "scopes": ["send", "control", "read", "manage"],
            "sha256": make_admin()[1].hex(),
        },
    ]
    return folder


_SECRETS: dict[str, tuple[str, bytes]] = {}


def make_boss() -> tuple[str, bytes]:
    return _SECRETS.setdefault("boss", make_secret("boss"))


def make_admin() -> tuple[str, bytes]:
    return _SECRETS.setdefault("admin", make_secret("admin"))


class Rig:
    """Both doors over one real database."""

    def __init__(self, node: NodeFolder, store: Store, live: LiveSettings) -> None:
        self.node = node
        self.store = store
        self.live = live
        self.dns = FakeResolver()
        self.administration = Administration(
            store, live, known_providers=provider_names
        )
        prover = Prover(
            live, self.administration, lambda: self.dns, records, node.clock
        )
        budget = ByteBudget(1_000_000)
        operating = OperatorPorts(
            self.administration,
            prover,
            Stopping(store, node.clock, store.ids.take),
            SuppressionDoor(
                Suppressions(store, node.clock, live.keys.subject_key.subject),
                live.directory,
            ),
            node.clock,
            budget,
        )
        self.logins = Logins(Authenticator(live.directory), GuessLimiter())
        app = create_app(
            ApiPorts(
                keys=self.logins,
                admission=Admission(live.directory),
                intake=FakeIntake(store),
                reading=FakeReading(),
                store=store,
                budget=budget,
                clock=node.clock,
                hostname="mta.example.com",
                fresh_id=lambda: "1",
                unready=list,
                metrics=MetricsDoor(OneMetric, ()),
                operating=operating,
            )
        )
        self.http = _client(httpx.ASGITransport(app))
        peer = (f"uid:{os.geteuid()}", 0)
        operator_app = create_operator_app(operating)
        self.socket = _client(httpx.ASGITransport(operator_app, client=peer))
        self.stranger = _client(httpx.ASGITransport(operator_app))

    async def put(
        self, values: dict[str, Any], *, dry_run: bool = False, **more: Any
    ) -> httpx.Response:
        files = {
            name: (self.node.folder / name).read_text()
            for name in ("s1.pem", "s2.pem", "crm.secret", "smarthost.password")
        }
        body = {"settings": values, "files": files} | more
        return await self.socket.put(
            "/v1/settings", params={"dry_run": dry_run}, json=body
        )


def _client(transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=transport, base_url="http://node.test")


def drive(node: NodeFolder, test: Callable[[Rig], Awaitable[None]]) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        rig = Rig(node, store, live)
        async with rig.http, rig.socket, rig.stranger:
            await test(rig)

    node.drive_set_up(body)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def errors(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 422, response.text
    return {each["field"]: each["message"] for each in response.json()["errors"]}


def test_a_tenants_key_reaches_nothing_of_it(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        for method, path in ROUTES:
            node.clock.advance(600)  # wrong keys are counted
            for headers, status in (
                ({}, 401),
                (bearer("mw_boss_wrong"), 401),
                (bearer(CANARY_SECRET), 401),
                (bearer(make_admin()[0]), 403),
            ):
                answer = await rig.http.request(method, path, headers=headers, json={})
                assert answer.status_code == status, (path, headers)
                assert "acme" not in answer.text
        assert await load_version(rig.store) == 1

    drive(node, test)


def test_limits_are_put_and_shown_and_what_is_wrong_names_its_key(
    node: NodeFolder,
) -> None:
    async def test(rig: Rig) -> None:
        values = copy.deepcopy(node.setup)
        values["throttle"].append({"limit": "9/day", "per": ["domain", "stream"]})
        changed = (await rig.put(values)).json()
        assert changed["changes"] == [
            {
                "action": "added",
                "kind": "throttle",
                "name": "per day: each domain, each stream",
                "fields": changed["changes"][0]["fields"],
                "secret": None,
            }
        ]
        assert changed["changes"][0]["fields"]["limit"] == "9/day"
        shown = (await rig.socket.get("/v1/settings")).json()
        assert {"limit": "9/day", "per": ["domain", "stream"]} in shown["throttle"]
        assert shown["provider"] == values["provider"]

        wrong = copy.deepcopy(values)
        wrong["throttle"] = [
            {"limit": "many"},
            {"limit": "1/s", "source": "ip9"},
            {"limit": "1/s", "stream": "news"},
        ]
        assert set(errors(await rig.put(wrong))) >= {
            "settings.throttle[0].limit",
            "settings.throttle[2].tenant",
        }
        wrong["throttle"] = [{"limit": "1/s", "source": "ip9"}]
        found = errors(await rig.put(wrong))
        [(key, text)] = found.items()
        assert key == "settings.throttle[0].source"
        assert text.startswith('there is no source "ip9"; did you mean ip')
        wrong["throttle"] = [{"limit": "1/s", "provider": "gogle"}]
        wrong["provider"] = [{"name": "yahooo", "tls": "none"}]
        found = errors(await rig.put(wrong))
        assert found == {
            "settings.throttle[0].provider": 'there is no provider "gogle"; '
            "did you mean google?",
            "settings.provider[0].name": 'there is no provider "yahooo"; '
            "did you mean yahoo?",
        }

    drive(node, test)


def test_every_route_for_operators_is_in_the_list(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        document = (await rig.http.get("/openapi.json")).json()
        tagged = {
            (method.upper(), path)
            for path, methods in document["paths"].items()
            for method, each in methods.items()
            if {"settings", "credentials", "sending domains", "stops", "clock"}
            & set(each.get("tags", ()))
        }
        listed = {
            (
                method,
                path.replace("/crm", "/{name}")
                .replace("/log/1", "/log/{version}")
                .replace("/example.com/keys/s1", "/{domain}/keys/{selector}"),
            )
            for method, path in ROUTES
        }
        assert tagged == listed

    drive(node, test)


def test_a_socket_whose_peer_is_not_known_is_refused(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        for method, path in ROUTES:
            body = {"name": "app", "settings": {}}
            answer = await rig.stranger.request(method, path, json=body)
            assert answer.status_code == 403, path
        assert await load_version(rig.store) == 1

    drive(node, test)


def test_both_doors_show_the_same_and_say_who_changed_it(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        by_key = await rig.http.get("/v1/settings", headers=bearer(make_boss()[0]))
        assert by_key.status_code == 200
        assert by_key.headers["Cache-Control"] == "no-store"
        settings = (await rig.socket.get("/v1/settings")).json()
        assert by_key.json() == settings

        settings["credential"][0]["daily_quota"] = 9
        answer = await rig.http.put(
            "/v1/settings",
            json={"settings": settings, "reason": "less"},
            headers=bearer(make_boss()[0]),
        )
        assert answer.json()["version"] == 2
        settings = (await rig.socket.get("/v1/settings")).json()
        settings["credential"][0]["daily_quota"] = 8
        await rig.socket.put("/v1/settings", json={"settings": settings})

        log = (await rig.socket.get("/v1/settings/log")).json()
        authors = [each["author"] for each in log["versions"]]
        assert authors[0].startswith("cli:")
        assert authors[1:] == ["api:boss", "bootstrap"]
        assert log["versions"][1]["reason"] == "less"
        assert log["next"] is None

    drive(node, test)


def test_a_file_with_its_contents_is_applied_and_again_is_nothing(
    node: NodeFolder,
) -> None:
    values = copy.deepcopy(node.setup)
    values["sending_domain"].append(
        {
            "tenant": "acme",
            "domain": "new.example",
            "selector": "n1",
            "key_file": "s2.pem",
        }
    )

    async def test(rig: Rig) -> None:
        tried = (await rig.put(values, dry_run=True)).json()
        assert (tried["dry_run"], tried["version"]) == (True, 1)
        done = (await rig.put(values, reason="more")).json()
        assert done["changes"] == tried["changes"]
        assert [(each["action"], each["name"]) for each in done["changes"]] == [
            ("added", "acme/new.example"),
            ("added", "acme/new.example/n1"),
        ]
        assert "new.example" in rig.live.directory().sending_domains
        again = (await rig.put(values)).json()
        assert again == {"version": 2, "dry_run": False, "changes": []}

    drive(node, test)


def test_a_moved_base_is_a_conflict(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        settings = (await rig.socket.get("/v1/settings")).json()
        await rig.socket.delete("/v1/credentials/printer")
        settings["credential"][0]["daily_quota"] = 9
        answer = await rig.socket.put("/v1/settings", json={"settings": settings})
        assert answer.status_code == 409
        assert answer.json()["type"] == "/docs#settings-changed"
        assert "at version 2" in answer.json()["detail"]

    drive(node, test)


def test_what_is_wrong_is_named_by_its_place(node: NodeFolder) -> None:
    values = copy.deepcopy(node.setup)
    values["stream"][0]["class"] = "bilk"
    values["sauce"] = []

    async def test(rig: Rig) -> None:
        assert set(errors(await rig.put(values))) == {
            "settings.stream[0].class",
            "settings.sauce",
        }
        found = errors(await rig.put(node.setup, files={}))
        assert "was not sent along" in found["settings.sending_domain[0].key_file"]
        assert "settings.route[0].password_file" in found
        kept = copy.deepcopy(node.setup)
        kept["credential"][1]["secret"] = "kept"
        assert (
            "no secret" in errors(await rig.put(kept))["settings.credential[1].secret"]
        )
        assert "reason" in errors(await rig.put(node.setup, reason="x" * 501))
        assert "extra" in errors(await rig.put(node.setup, extra=1))
        broken = await rig.socket.put("/v1/settings", content=b"{")
        assert broken.json()["type"] == "/docs#malformed"
        assert await load_version(rig.store) == 1

    drive(node, test)


def test_no_file_of_the_node_is_read_for_a_request(node: NodeFolder) -> None:
    values = copy.deepcopy(node.setup)
    values["sending_domain"][0]["key_file"] = str(node.folder / "s1.pem")

    async def test(rig: Rig) -> None:
        found = errors(await rig.put(values))
        assert "was not sent along" in found["settings.sending_domain[0].key_file"]

    drive(node, test)


def test_no_answer_holds_a_secret(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        texts = [
            (await rig.socket.get(path)).text
            for path in ("/v1/settings", "/v1/settings/log", "/v1/settings/log/1")
        ]
        texts.append((await rig.put(node.setup)).text)
        texts.append((await rig.socket.get("/v1/credentials")).text)
        for text in texts:
            for secret in (CANARY_SECRET, CANARY_PASSWORD, "abab", "PRIVATE"):
                assert secret not in text
        assert "example.com" in texts[0], "the control: it does show the settings"

    drive(node, test)


def test_credentials_are_made_rotated_and_revoked_at_once(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        made = await rig.socket.post(
            "/v1/credentials",
            json={"name": "app", "tenant": "acme", "stream": "news"},
        )
        assert made.status_code == 201
        assert made.headers["Cache-Control"] == "no-store"
        authenticator = Authenticator(rig.live.directory)
        first = made.json()["secret"]
        assert authenticator.authenticate_key(first) is not None

        rotated = await rig.socket.post("/v1/credentials/app/secret")
        assert authenticator.authenticate_key(first) is None
        second = rotated.json()["secret"]
        assert authenticator.authenticate_key(second) is not None

        listed = (await rig.socket.get("/v1/credentials")).json()["credentials"]
        [row] = [each for each in listed if each["name"] == "app"]
        assert row["scopes"] == ["control", "read", "send"]
        assert row["has_secret"]

        assert (await rig.socket.delete("/v1/credentials/app")).status_code == 204
        assert authenticator.authenticate_key(second) is None
        again = await rig.socket.delete("/v1/credentials/app")
        assert "no credential" in errors(again)["name"]
        back = await rig.socket.post("/v1/credentials", json={"name": "app"})
        assert "revoked" in errors(back)["name"]

    drive(node, test)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"name": "A B"}, "name"),
        ({"name": "crm", "tenant": "acme", "stream": "news"}, "name"),
        ({"name": "app"}, "tenant"),
        ({"name": "app", "tenant": "acme", "stream": "nws"}, "stream"),
        (
            {"name": "app", "tenant": "acme", "stream": "news", "scopes": ["root"]},
            "scopes",
        ),
        ({"name": "app", "tenant": "rival", "stream": "news"}, "stream"),
    ],
)
def test_a_credential_that_cannot_be_is_refused(
    node: NodeFolder, sent: dict[str, Any], field: str
) -> None:
    async def test(rig: Rig) -> None:
        found = errors(await rig.socket.post("/v1/credentials", json=sent))
        assert list(found) == [field]
        assert await load_version(rig.store) == 1

    drive(node, test)


def test_sending_domains_are_looked_at_on_demand(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        path = "/v1/sending-domains/check"
        answer = await rig.socket.post(path, params={"domain": "RIVAL.example"})
        [found] = answer.json()["domains"]
        assert (found["tenant"], found["is_proven"]) == ("rival", False)
        rig.dns.set_txt(found["record_name"], found["record"].encode())
        answer = await rig.socket.post(path)
        assert [each["is_proven"] for each in answer.json()["domains"]] == [True, True]
        assert rig.live.directory().sending_domains["rival.example"].is_proven
        missing = await rig.socket.post(path, params={"domain": "nobody.example"})
        assert missing.status_code == 404
        assert "domain" in errors(await rig.socket.post(path, params={"domain": ".."}))

    drive(node, test)


def test_the_log_pages_by_version(node: NodeFolder) -> None:
    async def test(rig: Rig) -> None:
        for _ in range(3):
            await rig.socket.post("/v1/credentials/crm/secret")
        seen, before = [], None
        while True:
            params = {"limit": 2} | ({} if before is None else {"before": before})
            page = (await rig.socket.get("/v1/settings/log", params=params)).json()
            seen += [each["version"] for each in page["versions"]]
            before = page["next"]
            if before is None:
                break
        assert seen == [4, 3, 2, 1]
        assert (await rig.socket.get("/v1/settings/log/5")).status_code == 404
        shown = (await rig.socket.get("/v1/settings/log/4")).json()
        [change] = shown["changes"]
        assert (change["action"], change["secret"]) == ("changed", "new")
        old = tomllib.loads(format_document(shown["settings"]))
        assert (await rig.put(old)).json()["changes"] == []

    drive(node, test)


def test_requests_that_race_change_the_settings_one_after_the_other(
    node: NodeFolder,
) -> None:
    async def test(rig: Rig) -> None:
        async with asyncio.TaskGroup() as tasks:
            made = [
                tasks.create_task(
                    rig.socket.post(
                        "/v1/credentials",
                        json={"name": f"app{n}", "tenant": "acme", "stream": "news"},
                    )
                )
                for n in range(4)
            ]
        assert [each.result().status_code for each in made] == [201] * 4
        assert await load_version(rig.store) == 5
        document = json.dumps(await rig.administration.document())
        assert all(f'"app{n}"' in document for n in range(4))

    drive(node, test)
