"""``mailwright campaign`` against the API as the contract says it."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fakes.campaign_api import ID, KEY, CampaignApi, campaign_api, shown
from fakes.threaded_node import Asked
from mailwright.cli.main import command_line


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[CampaignApi]:
    monkeypatch.setattr("mailwright.cli.campaign_upload._FIRST_WAIT_S", 0.01)
    with campaign_api() as api:
        yield api


def run(api: CampaignApi, *words: str, key: str = KEY, stdin: bytes = b"") -> Asked:
    result = CliRunner().invoke(
        command_line(["campaign"]),
        ["campaign", *words],
        env={"MAILWRIGHT_URL": api.url, "MAILWRIGHT_API_KEY": key},
        input=stdin,
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Asked(result.exit_code, result.stdout, result.stderr)


# --- create, change ------------------------------------------------------------------

JOB = """
name = "Spring sale"
from = "Acme <news@example.com>"
subject = "{{ first_name }}, it is spring"
html_file = "spring.html"
send_at = 2026-03-01T08:00:00Z
tags = ["spring"]

[window]
timezone = "Europe/Rome"
ranges = [{ days = ["mon"], from = "09:00", to = "18:00" }]

[[attachments]]
file = "offer.pdf"
"""


def write_job(folder: Path, text: str = JOB) -> Path:
    (folder / "spring.html").write_text("<p>Hello {{ first_name }} 🌷</p>", "utf-8")
    (folder / "offer.pdf").write_bytes(b"%PDF-1.7")
    path = folder / "job.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_job_file_is_created_with_what_it_names(
    api: CampaignApi, tmp_path: Path
) -> None:
    words = ("create", str(write_job(tmp_path)), "--idempotency-key", "spring-1")
    asked = run(api, *words)
    assert (asked.status, asked.out) == (0, f"{ID}\n")
    assert asked.err == "created 'Spring sale' as draft; its id:\n"
    (body,) = api.created
    assert api.keys == ["spring-1"]
    assert body == {
        "name": "Spring sale",
        "from": "Acme <news@example.com>",
        "subject": "{{ first_name }}, it is spring",
        "html": "<p>Hello {{ first_name }} 🌷</p>",
        "send_at": "2026-03-01T08:00:00+00:00",
        "tags": ["spring"],
        "window": {
            "timezone": "Europe/Rome",
            "ranges": [{"days": ["mon"], "from": "09:00", "to": "18:00"}],
        },
        "attachments": [
            {
                "filename": "offer.pdf",
                "content_type": "application/pdf",
                "content": "JVBERi0xLjc=",
            }
        ],
    }


def test_the_command_line_counts_more_than_the_file(
    api: CampaignApi, tmp_path: Path
) -> None:
    job = write_job(tmp_path, JOB.replace("html_file", "#").replace("name =", "x ="))
    (tmp_path / "other.html").write_text("other")
    asked = run(
        api, "create", str(job), "--name", "Mine", "--html", str(tmp_path / "other.html"),
        "--subject", "Hi", "--stream", "news", "--pace", "500/h", "--start", "--json",
        "--window", "mon-fri 09:00-18:00", "--window", "sat,sun 10:00 - 12:00",
        "--timezone", "Europe/Berlin", "--recipient-timezone",
    )  # fmt: skip
    assert json.loads(asked.out)["id"] == ID
    (body,) = api.created
    told = {name: body[name] for name in ("name", "html", "subject", "pace", "start")}
    assert told == {
        "name": "Mine", "html": "other", "subject": "Hi", "pace": "500/h", "start": True,
    }  # fmt: skip
    assert body["window"] == {
        "timezone": "Europe/Berlin",
        "recipient_timezone": True,
        "ranges": [
            {
                "days": ["mon", "tue", "wed", "thu", "fri"],
                "from": "09:00",
                "to": "18:00",
            },
            {"days": ["sat", "sun"], "from": "10:00", "to": "12:00"},
        ],
    }


def test_a_json_file_does_as_well_and_a_template_takes_the_place(
    api: CampaignApi, tmp_path: Path
) -> None:
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"name": "x", "from": "a@example.com", "subject": "s"}))
    assert run(api, "create", str(job), "--template", "spring@3").status == 0
    assert api.created[0]["template"] == {"name": "spring", "version": 3}


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("name = ", [], "job.toml: Invalid value (at end of document)"),
        ('html = "a"\nhtml_file = "b"', [], "has both html and html_file"),
        ('html_file = "none.html"', [], "No such file or directory"),
        ('[[attachments]]\nfile = "none"', [], "attachments[0].file: "),
        ("", ["--window", "always"], "write hours such as mon-fri 09:00-18:00"),
        ("", ["--window", "foo 09:00-18:00"], "days are mon, tue"),
        ("", ["--timezone", "UTC"], "give one"),
        ("", ["--template", "a@b"], "write NAME or NAME@VERSION"),
        ("", ["--send-at", "soon"], "say how long"),
    ],
)
def test_a_wrong_job_is_a_wrong_command_line(
    api: CampaignApi, tmp_path: Path, text: str, words: list[str], said: str
) -> None:
    asked = run(api, "create", str(write_job(tmp_path, text)), *words)
    assert asked.status == 2
    assert said in asked.err
    assert api.asked == []


def test_a_change_sends_only_what_is_given(api: CampaignApi) -> None:
    assert run(api, "change", ID, "--pace", "none", "--priority", "0").status == 0
    assert api.bodies == [{"pace": None, "priority": 0}]
    assert run(api, "change", ID, "--pool", "none", "--window", "none").status == 0
    assert api.bodies[1] == {"pool": None, "window": None}
    assert [method for method, *_ in api.asked] == ["PATCH", "PATCH"]
    nothing = run(api, "change", ID)
    assert (nothing.status, nothing.err) == (1, "say what to change\n")


def test_a_preview_shows_the_mail_and_what_to_look_at(api: CampaignApi) -> None:
    asked = run(
        api, "preview", ID, "--field", "first_name=Ann", "--field", "points=12",
        "--email", "ann@example.net", "--variant", "b",
    )  # fmt: skip
    assert asked.out == (
        "From: Acme <news@example.com>\nSubject: Hello Ann\nX-A: 1\n\nHi\\x1b Ann\n"
    )
    assert asked.err == "warning: html: There is no way to leave.\n"
    assert api.bodies == [
        {
            "fields": {"first_name": "Ann", "points": 12},
            "variant": "b",
            "email": "ann@example.net",
        }
    ]
    assert run(api, "preview", ID, "--field", "x").status == 2
    sent = run(api, "test", ID, "--to", "a@example.net", "--to", "b@example.net")
    assert sent.out == "msg_1 a@example.net: queued\nmsg_1 b@example.net: queued\n"


# --- upload --------------------------------------------------------------------------


def write_list(folder: Path, rows: int = 1000) -> Path:
    path = folder / "list.csv"
    lines = [f"Имя {number};u{number}@example.net;{number}" for number in range(rows)]
    text = "Имя;E-Mail;Customer No.\r\n" + "\r\n".join(lines) + "\r\n"
    path.write_bytes(text.encode("windows-1251"))
    return path


def expected(rows: int = 1000) -> list[dict[str, object]]:
    return [
        {
            "email": f"u{number}@example.net",
            "fields": {"Имя": f"Имя {number}", "customer_no": str(number)},
        }
        for number in range(rows)
    ]


def test_a_spreadsheet_is_uploaded_in_chunks(api: CampaignApi, tmp_path: Path) -> None:
    path = write_list(tmp_path)
    asked = run(api, "upload", ID, str(path), "--chunk-rows", "300")
    assert (asked.status, asked.out) == (0, "1,000 rows are uploaded\n")
    assert asked.err.splitlines() == [
        "windows-1251 (not UTF-8; letters stand together as in Cyrillic words), cells "
        "separated by semicolon",
        "column 'E-Mail' is email",
        "column 'Customer No.' is customer_no",
    ]
    assert api.rows == expected()
    assert [len(chunk.rows) for chunk in api.chunks.values()] == [300, 300, 300, 100]

    again = run(api, "upload", ID, str(path), "--chunk-rows", "300", "--json")
    assert json.loads(again.out) == {
        "rows": 1000, "before": 1000, "staged": 1000, "invalid": 0, "chunks": 4,
    }  # fmt: skip
    assert api.rows == expected()
    assert [method for method, *_ in api.asked].count("PUT") == 4


@pytest.mark.parametrize("losses", [[0], [120], [120, 7, 0, 100]])
def test_an_upload_goes_on_behind_the_rows_that_are_durable(
    api: CampaignApi, tmp_path: Path, losses: list[int]
) -> None:
    path = write_list(tmp_path)
    api.losses[:] = losses
    asked = run(api, "upload", ID, str(path), "--chunk-rows", "400")
    assert (asked.status, asked.out) == (0, "1,000 rows are uploaded\n")
    assert api.rows == expected()


def test_what_was_interrupted_is_done_again_with_the_same_keys(
    api: CampaignApi, tmp_path: Path
) -> None:
    path = write_list(tmp_path)
    api.losses[:] = [0, 250] + [0] * 10  # of the first chunk, until patience is over
    asked = run(api, "upload", ID, str(path), "--chunk-rows", "400")
    assert asked.status == 1
    assert asked.err.splitlines()[-1].startswith(
        "rows 1 to 400 were not taken: the node does not answer (Re"
    )
    assert len(api.rows) == 250
    api.losses.clear()
    asked = run(api, "upload", ID, str(path), "--chunk-rows", "400")
    assert asked.out == "1,000 rows are uploaded (250 of them before)\n"
    assert api.rows == expected()
    put = [query["key"] for method, _, query in api.asked if method == "PUT"]
    assert len(set(put)) == 3


def test_a_refusal_that_passes_is_waited_for_and_another_is_said(
    api: CampaignApi, tmp_path: Path
) -> None:
    path = write_list(tmp_path, 3)
    api.refusals[:] = [(503, "not now"), (429, "too many uploads")]
    assert run(api, "upload", ID, str(path)).status == 0
    api.refusals[:] = [(422, "no room for you")]
    asked = run(api, "upload", ID, str(path))
    assert (asked.status, asked.err.splitlines()[-1]) == (1, "no room for you")


def test_bad_rows_are_counted_and_ndjson_goes_as_it_is(
    api: CampaignApi, tmp_path: Path
) -> None:
    rows = [{"email": "a@example.net", "fields": {"x": [1, 2]}}, {"email": "nobody"}]
    path = tmp_path / "rows.ndjson.gz"
    text = "".join(json.dumps(row) + "\n\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()))
    asked = run(api, "upload", ID, str(path))
    assert asked.out == "2 rows are uploaded; 1 are invalid\n"
    assert api.rows == rows
    piped = run(api, "upload", ID, "-", "--json", stdin=b'{"email":"p@example.net"}')
    assert json.loads(piped.out)["rows"] == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", 'email,n\na@x.example,"1\n', "line 2, column 13: a quote is opened"),
        ("a.csv", "email,n\na@x.example,1,2\n", "line 2: has 3 cells"),
        ("a.csv", "name,n\nAnn,1\n", "line 1: no column holds the addresses"),
        (
            "a.ndjson",
            '{"email":"a@x.example"}\n{"email"}\n',
            "line 2, column 9: Expect",
        ),
        (
            "a.ndjson",
            '{"email":"a@x.example"}\n[]\n',
            "line 2, column 1: is no JSON obj",
        ),
    ],
)
def test_a_malformed_file_is_a_wrong_command_line(
    api: CampaignApi, tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    asked = run(api, "upload", ID, str(path))
    assert asked.status == 2
    assert f"{path}: {said}" in asked.err
    assert api.rows == []
    assert run(api, "upload", ID, str(path), "--dry-run").status == 2


def test_a_dry_run_says_how_a_file_is_read_and_asks_nobody(
    api: CampaignApi, tmp_path: Path
) -> None:
    path = write_list(tmp_path, 5)
    asked = run(
        api, "upload", ID, str(path), "--dry-run", "--column", "no=Customer No."
    )
    assert asked.out == "5 rows\n"
    assert "column 'Customer No.' is no" in asked.err
    assert api.asked == []


# --- run, follow, export -------------------------------------------------------------


def test_it_is_started_paused_and_cancelled(api: CampaignApi) -> None:
    assert run(api, "start", ID).out.startswith(f"{ID} running: Spring sale\n")
    assert json.loads(run(api, "pause", ID, "--json").out)["state"] == "paused"
    for name in ("seal", "resume", "cancel"):
        assert run(api, name, ID).status == 0
    assert [path.rpartition("/")[2] for _, path, _ in api.asked] == [
        "start", "pause", "seal", "resume", "cancel",
    ]  # fmt: skip
    api.refusals[:] = [(409, "it is done")]
    refused = run(api, "resume", ID)
    assert (refused.status, refused.err) == (1, "it is done\n")
    assert run(api, "start", ID, key="wrong").err == "A valid API key is needed\n"


def test_a_status_says_what_became_of_everything(api: CampaignApi) -> None:
    api.states[:] = [
        shown(
            "held",
            name="Spring\x1b sale",
            sealed_at="2026-03-01T12:00:00Z",
            rows={"uploaded": 1000, "accepted": 900, "duplicate": 60, "invalid": 40},
            deliveries={"delivered": 500, "queued": 380, "bounced": 20},
            categories={"bad_mailbox": 18, "spam": 2},
            pace="500/h",
            reason={"rule": "bounces", "rate": 0.06},
        )
    ]
    assert run(api, "status", ID).out.splitlines() == [
        f"{ID} held: Spring\\x1b sale",
        "  rows        1,000 uploaded: 900 accepted, 60 duplicate, 40 invalid",
        "  deliveries  500 delivered, 380 queued, 20 bounced",
        "  failed for  18 bad_mailbox, 2 spam",
        "  limits      pace 500/h",
        "  because     rule bounces; rate 0.06",
    ]


def story(end: str) -> list[dict[str, object]]:
    return [
        shown("sealing", start_wanted=True, progress={"done": 1, "total": 2}),
        shown("ready", start_wanted=True),
        shown("running", deliveries={"queued": 2}),
        shown("running", deliveries={"queued": 2}),
        shown(
            "running", deliveries={"queued": 1, "delivered": 1}, rate_per_minute=60.0
        ),
        shown(end, deliveries={"delivered": 2}, finished_at="2026-03-01T12:10:00Z"),
    ]


@pytest.mark.parametrize(
    ("end", "status"), [("done", 0), ("cancelled", 3), ("held", 3), ("failed", 3)]
)
def test_following_ends_when_it_does_not_go_on(
    api: CampaignApi, end: str, status: int
) -> None:
    api.states[:] = story(end)
    asked = run(api, "status", ID, "--follow", "--every", "0.05")
    assert asked.status == status
    assert asked.out.startswith(f"{ID} {end}: Spring sale\n")
    assert len(api.asked) == 6

    api.states[:] = story(end)
    asked = run(api, "status", ID, "--follow", "--every", "0.05", "--json")
    told = [json.loads(line) for line in asked.out.splitlines()]
    assert [each["state"] for each in told] == [
        "sealing", "ready", "running", "running", end,
    ]  # fmt: skip
    assert asked.status == status


def test_results_are_written_whole_or_not_under_their_name(
    api: CampaignApi, tmp_path: Path
) -> None:
    assert run(api, "results", ID).out == "row,email\n1,ann@example.net\n"
    out = tmp_path / "results.csv"
    assert run(api, "results", ID, "--out", str(out)).status == 0
    assert out.read_bytes() == b"row,email\r\n1,ann@example.net\r\n"
    words = ("results", ID, "--json", "--state", "bounced", "--category", "spam")
    assert json.loads(run(api, *words).out)["state"] == "bounced"
    assert json.loads(run(api, "rejects", ID, "--format", "ndjson").out)["row"] == 1
    assert run(api, "rejects", ID, "--format", "xml").status == 2
    api.broken_list = True
    out.unlink()
    broken = run(api, "results", ID, "--out", str(out))
    assert broken.status == 1
    assert "the answer broke off" in broken.err
    assert not out.exists()
    api.broken_list = False
    api.refusals[:] = [(404, "There is no such thing")]
    assert run(api, "results", ID).err == "There is no such thing\n"


def test_campaigns_are_listed(api: CampaignApi) -> None:
    asked = run(api, "list", "--state", "running", "--limit", "2")
    assert asked.out.splitlines() == [
        f"{ID} draft: Spring sale (0 of 0 deliveries ended)",
        f"{ID} done: Spring sale (0 of 0 deliveries ended)",
        "more: --after abc",
    ]
    assert api.asked[0][2] == {"state": "running", "limit": "2"}


def test_without_a_way_to_the_api_it_says_what_is_missing(tmp_path: Path) -> None:
    def err(**env: str) -> str:
        runner = CliRunner()
        words = ["campaign", "status", ID]
        result = runner.invoke(command_line(["campaign"]), words, env=env)
        assert result.exit_code == 1
        return result.stderr

    assert "say where the node is" in err()
    assert "an API key is needed" in err(MAILWRIGHT_URL="http://127.0.0.1:9")
    assert "begin it with http" in err(MAILWRIGHT_URL="127.0.0.1:9")
    known = {"MAILWRIGHT_URL": "http://127.0.0.1:9", "MAILWRIGHT_API_KEY": KEY}
    assert err(**known) == "the node does not answer (ConnectError)\n"
