"""A reload takes over what it may, says what waits, and never does half of either."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwright.config.keys import plain
from mailwright.config.loading import validate
from mailwright.config.node import NodeSettings
from mailwright.config.reload import Change, changes

DOOR = {
    "listen": "0.0.0.0:587",
    "tls": "starttls",
    "certificate_file": "/c",
    "key_file": "/k",
}


def node(**keys: Any) -> NodeSettings:
    least = {"name": "mta1", "hostname": "mta1.example.com"}
    return validate(NodeSettings, {**least, **keys}, Path("/node.toml"))


def test_the_same_settings_change_nothing() -> None:
    settings = node(smtp=[DOOR])
    reload = changes(settings, node(smtp=[DOOR]))
    assert reload.settings is settings
    assert (reload.applied, reload.needs_restart) == ((), ())


@pytest.mark.parametrize(
    ("new", "change"),
    [
        ({"log": {"level": "debug"}}, Change("log.level", '"info"', '"debug"')),
        ({"limits": {"errors": 5}}, Change("limits.errors", "10", "5")),
        (
            {"limits": {"max_message": "50MB"}},
            Change("limits.max_message", '"25MB"', '"50MB"'),
        ),
        (
            {"delivery": {"retry": ["1m"]}},
            Change(
                "delivery.retry", '["5m", "15m", "30m", "1h", "2h", "4h"]', '["1m"]'
            ),
        ),
        (
            {"delivery": {"timeouts": {"dot": "5m"}}},
            Change("delivery.timeouts.dot", '"10m"', '"5m"'),
        ),
        (
            {"retention": {"contents": "1h"}},
            Change("retention.contents", '"1d"', '"1h"'),
        ),
    ],
)
def test_numbers_and_the_log_level_are_taken_over(
    new: dict[str, Any], change: Change
) -> None:
    reload = changes(node(), node(**new))
    assert reload.applied == (change,)
    assert reload.needs_restart == ()
    assert reload.settings == node(**new)


@pytest.mark.parametrize(
    ("new", "key"),
    [
        ({"name": "mta2"}, "name"),
        ({"hostname": "b.example.com"}, "hostname"),
        ({"bootstrap": "/s"}, "bootstrap"),
        ({"smtp": [DOOR]}, "smtp"),
        ({"http": {"listen": "127.0.0.1:1"}}, "http.listen"),
        ({"limits": {"bodies_in_memory": "1GB"}}, "limits.bodies_in_memory"),
        ({"delivery": {"session_processes": 4}}, "delivery.session_processes"),
        ({"dns": {"nameservers": ["127.0.0.1"]}}, "dns.nameservers"),
        ({"log": {"format": "json"}}, "log.format"),
    ],
)
def test_what_the_node_stands_on_waits_for_a_restart(
    new: dict[str, Any], key: str
) -> None:
    old = node()
    reload = changes(old, node(**new))
    assert [each.key for each in reload.needs_restart] == [key]
    assert reload.applied == ()
    assert reload.settings == old


def test_the_state_folder_waits_with_the_key_that_follows_from_it() -> None:
    reload = changes(node(), node(state_dir="/elsewhere"))
    assert [each.key for each in reload.needs_restart] == ["state_dir", "node_key_file"]


def test_part_of_a_file_is_taken_over_and_the_rest_is_said() -> None:
    old = node()
    reload = changes(old, node(name="mta2", limits={"errors": 5}))
    assert reload.settings.limits.errors == 5
    assert reload.settings.name == "mta1"
    assert [each.key for each in reload.applied] == ["limits.errors"]
    assert [each.key for each in reload.needs_restart] == ["name"]


def test_a_listeners_certificate_is_taken_over() -> None:
    new = node(smtp=[{**DOOR, "certificate_file": "/c2", "key_file": "/k2"}])
    reload = changes(node(smtp=[DOOR]), new)
    assert [each.key for each in reload.applied] == [
        "smtp[0].certificate_file",
        "smtp[0].key_file",
    ]
    assert reload.settings == new


def test_a_listener_that_changes_otherwise_keeps_its_certificate() -> None:
    old = node(smtp=[DOOR])
    reload = changes(old, node(smtp=[{**DOOR, "tls": "implicit", "key_file": "/k2"}]))
    assert {each.key for each in reload.needs_restart} == {
        "smtp[0].tls",
        "smtp[0].key_file",
    }
    assert reload.settings == old


def test_listeners_that_trade_places_do_not_trade_certificates() -> None:
    other = {**DOOR, "listen": "0.0.0.0:465", "certificate_file": "/c2"}
    old = node(smtp=[DOOR, other])
    reload = changes(old, node(smtp=[other, DOOR]))
    assert reload.needs_restart == (Change("smtp", "2 of them", "2 of them"),)
    assert reload.settings == old


some_settings = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b"]),
        "smtp": st.lists(
            st.fixed_dictionaries(
                {
                    "certificate_file": st.sampled_from(["/c1", "/c2"]),
                    "key_file": st.just("/k"),
                    "tls": st.sampled_from(["starttls", "implicit"]),
                }
            ),
            max_size=2,
        ).map(
            lambda doors: [
                {**door, "listen": f"0.0.0.0:{587 + index}"}
                for index, door in enumerate(doors)
            ]
        ),
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "errors": st.integers(1, 3),
                "bodies_in_memory": st.sampled_from(["64MB", "65MB"]),
            },
        ),
        "log": st.fixed_dictionaries(
            {},
            optional={
                "level": st.sampled_from(["info", "debug"]),
                "format": st.sampled_from(["text", "json"]),
            },
        ),
    },
)


@given(some_settings, some_settings)
def test_what_is_in_force_could_have_been_loaded_and_is_final(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    old, new = node(**before), node(**after)
    reload = changes(old, new)
    in_force = {k: v for k, v in plain(reload.settings).items() if v is not None}
    assert node(**in_force) == reload.settings
    again = changes(reload.settings, new)
    assert again.applied == ()
    assert again.settings == reload.settings
    if not reload.needs_restart:
        assert reload.settings == new
