"""A provider's file is read strictly: nothing misspelled, nothing without a source."""

from pathlib import Path

import pytest

from mailwright.config.problems import SettingsError
from mailwright.reputation.provider_file import Provider, load_providers, sources_of
from mailwright.site import Pipelining, TlsDemand

DEFAULT = """\
provider = "default"
title = "Everyone else"
# me
messages_per_connection = 100
"""


def load(folder: Path, **files: str) -> tuple[Provider, ...]:
    for name, text in {"default": DEFAULT, **files}.items():
        (folder / f"{name}.toml").write_text(text)
    return load_providers(folder)


def problems(folder: Path, **files: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(folder, **files)
    return [f"{p.file.name} {p.key} {p.what}" for p in caught.value.problems]


def provider(body: str, name: str = "p") -> str:
    return f'provider = "{name}"\ntitle = "P"\n{body}\n'


def test_everything_that_a_file_may_say_is_read(tmp_path: Path) -> None:
    body = """
mx = ["MX.Example.net"]
domains = ["bücher.example"]
# a
messages_per_connection = 20
# b
pipelining = "none"
# c
tls = "required"
# d
retry = ["10m", "1h"]
[per_source_and_site]
# e
connections = 1
# f
throttles = ["60/min"]
[per_source]
# g, and
# more of it
connections = 2
[overall]
# h
connections = 3
# i
throttles = ["5000/h burst 50", "1/s"]
"""
    _, one = load(tmp_path, p=provider(body))
    assert (one.name, one.title) == ("p", "P")
    assert one.matchers.mx == ("mx.example.net",)
    assert one.matchers.domains == ("xn--bcher-kva.example",)
    assert dict(one.says) == {
        "per_source_and_site.connections": 1,
        "per_source_and_site.throttles": ("60/min",),
        "per_source.connections": 2,
        "overall.connections": 3,
        "overall.throttles": ("5000/h burst 50", "1/s"),
        "messages_per_connection": 20,
        "pipelining": Pipelining.NONE,
        "tls": TlsDemand.REQUIRED,
        "retry": (600.0, 3600.0),
    }
    assert one.sources["per_source.connections"] == "g, and more of it"
    assert one.sources["overall.throttles"] == "i"
    assert one.sources.keys() == one.says.keys()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("messages_per_connection = 5", "messages_per_connection has no source"),
        ("# far away\n\nmessages_per_connection = 5", "has no source"),
        ("[per_source]\nconnections = 5", "per_source.connections has no source"),
        ("# s\nconnections = 5", "connections is not a known key"),
        ("# s\nmessages_per_connection = 0", "messages_per_connection"),
        ('[overall]\n# s\nthrottles = ["20/day"]', "is not a rate"),
        ("[overall]\n# s\nthrottles = 5", "overall.throttles"),
        ('# s\ntls = "maybe"', "tls must be one of"),
        ('# s\nretry = ["0s"]', "retry[0] a retry after less than a second"),
        ('mx = ["com"]', "mx[0]"),
        ('mx = [".example.net"]', "mx[0]"),
        ('mx = ["a.test", "mx.a.test"]', "overlaps"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, body: str, problem: str
) -> None:
    [found] = problems(tmp_path, p=provider(body))
    assert found.startswith("p.toml")
    assert problem in found


def test_every_wrong_file_is_named_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path, a=provider("x = 1"), b="no toml at all", c=provider("", "c")
    )
    assert [each.partition(" ")[0] for each in found] == ["a.toml", "b.toml"]


def test_providers_that_overlap_are_a_settings_error(tmp_path: Path) -> None:
    [found] = problems(
        tmp_path,
        a=provider('mx = ["mx.example.net"]', "a"),
        b=provider('mx = ["example.net"]', "b"),
    )
    assert "overlaps" in found
    assert "MX suffixes example.net and mx.example.net" in found


def test_two_files_cannot_have_one_name(tmp_path: Path) -> None:
    [found] = problems(tmp_path, a=provider(""), b=provider(""))
    assert found == "b.toml provider is the one of a.toml"


def test_without_a_default_there_is_nothing_to_inherit(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(provider(""))
    with pytest.raises(SettingsError, match="no default provider"):
        load_providers(tmp_path)


@pytest.mark.parametrize("scope", ["per_source", "overall"])
def test_everyone_elses_sites_have_no_limit_together(
    tmp_path: Path, scope: str
) -> None:
    text = f"{DEFAULT}\n[{scope}]\n# s\nconnections = 5\n"
    [found] = problems(tmp_path, default=text)
    assert f"{scope}.connections means nothing" in found


def test_only_the_comment_right_above_a_key_is_its_source() -> None:
    lines = [
        "# file",
        "",
        "a = 1",
        "# b's",
        "# two",
        "b = 2",
        "c = 3",
        "[t]",
        "#d",
        "d=4",
    ]
    assert sources_of(lines) == {"b": "b's two", "t.d": "d"}
