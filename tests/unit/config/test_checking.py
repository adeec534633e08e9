"""The check looks at both files, at what they name, and whether they agree."""

from pathlib import Path

import pytest

from mailwright.config.checking import FileKind, check, kind_of

EXAMPLES = Path(__file__).parents[3] / "config"
NODE = 'name = "mta1"\nhostname = "mta1.example.com"\nbootstrap = "setup.toml"\n'
OPEN_DOOR = """
[[smtp]]
listen = "127.0.0.1:25"
tls = "none"
networks = ["127.0.0.0/8"]
credential = "crm"
"""
SETUP = """
tenant = [{ name = "acme" }]
source = [{ name = "ip1", ehlo_name = "mta1.example.com" }]
pool = [{ name = "main", sources = { ip1 = 1 } }]
stream = [{ tenant = "acme", name = "news", class = "bulk", pool = "main" }]
credential = [{ tenant = "acme", name = "CREDENTIAL", stream = "news" }]
[[sending_domain]]
tenant = "acme"
domain = "example.com"
selector = "s1"
key_file = "s1.pem"
"""


def folder(path: Path, node: str = NODE + OPEN_DOOR, credential: str = "crm") -> Path:
    """Write both files and the key; return the node file."""
    (path / "node.toml").write_text(node)
    (path / "setup.toml").write_text(SETUP.replace("CREDENTIAL", credential))
    (path / "s1.pem").write_text("a key")
    return path / "node.toml"


def test_two_right_files_have_no_problem(tmp_path: Path) -> None:
    report = check(folder(tmp_path))
    assert report.problems == ()
    assert report.files == (
        (tmp_path / "node.toml", FileKind.NODE),
        (tmp_path / "setup.toml", FileKind.SETUP),
    )


def test_a_file_that_is_named_and_not_there_is_a_problem(tmp_path: Path) -> None:
    node = folder(tmp_path)
    (tmp_path / "s1.pem").unlink()
    (problem,) = check(node).problems
    assert problem.file == tmp_path / "setup.toml"
    assert problem.key == "sending_domain[0].key_file"
    assert str(tmp_path / "s1.pem") in problem.what
    assert check(node, files=False).problems == ()


def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    node = folder(tmp_path)
    (tmp_path / "s1.pem").unlink()
    (tmp_path / "s1.pem").mkdir()
    (problem,) = check(node).problems
    assert "Is a directory" in problem.what


def test_what_the_node_makes_itself_need_not_be_there(tmp_path: Path) -> None:
    node = folder(tmp_path, 'state_dir = "state"\nnode_key_file = "key"\n' + NODE)
    assert check(node).problems == ()


def test_a_missing_bootstrap_is_a_problem_of_the_node_file(tmp_path: Path) -> None:
    node = folder(tmp_path)
    (tmp_path / "setup.toml").unlink()
    report = check(node, files=False)
    (problem,) = report.problems
    assert (problem.file, problem.key) == (node, "bootstrap")
    assert not report.is_unreadable


def test_a_wrong_bootstrap_is_reported_with_its_own_keys(tmp_path: Path) -> None:
    node = folder(tmp_path)
    (tmp_path / "setup.toml").write_text("[[tenant]]\n")
    (problem,) = check(node).problems
    assert (problem.file.name, problem.key) == ("setup.toml", "tenant[0].name")


def test_a_listeners_credential_must_be_in_the_bootstrap_file(tmp_path: Path) -> None:
    (problem,) = check(folder(tmp_path, credential="crm1")).problems
    assert (problem.file.name, problem.key) == ("node.toml", "smtp[0].credential")
    assert problem.remedy == "did you mean crm1?"


def test_the_kind_of_file_is_told_by_its_keys() -> None:
    assert kind_of({"name": 1, "smtp": []}) is FileKind.NODE
    assert kind_of({"tenant": [], "nonsense": 1}) is FileKind.SETUP
    assert kind_of({}) is FileKind.NODE


@pytest.mark.parametrize(
    "name", ["first", "one-ip", "pools", "behind-a-crm", "smarthost"]
)
def test_each_shipped_example_is_right(name: str) -> None:
    report = check(EXAMPLES / f"{name}.toml", files=False)
    assert report.problems == ()
    assert [kind for _, kind in report.files] == [FileKind.NODE, FileKind.SETUP]


def test_every_shipped_example_is_among_those() -> None:
    names = {path.name.split(".")[0] for path in EXAMPLES.glob("*.toml")}
    assert names == {"first", "one-ip", "pools", "behind-a-crm", "smarthost"}
