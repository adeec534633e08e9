"""Recipients over HTTP into a node: packed, broken, killed amid an upload, repeated.

What the node told to be done before ``kill -9`` is done after it, the rest of the file
ends the upload, and in the end every row that was sent has one outcome.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes.node_process import API_KEY, NodeProcess, write_node

pytestmark = pytest.mark.scenario

NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": 'text/csv; delimiter=";"'}
DONE = "Upload-Rows-Done"
JOB = {
    "name": "spring",
    "from": {"address": "news@example.com"},
    "subject": "News for {{ name }}",
    "text": "Dear {{ name }}",
}
PACKED_ROWS = 3000
#: Enough that the node has told of some long before the last.
KILLED_ROWS = 80_000
_WITHIN_S = 120.0
BOASTFUL = (str(Path(__file__).with_name("boastful_node.py")),)


def ndjson(first: int, count: int) -> bytes:
    return b"".join(
        json.dumps(
            {"email": f"r{n}@d{n % 7}.example", "fields": {"name": str(n)}}
        ).encode()
        + b"\n"
        for n in range(first, first + count)
    )


def csv(count: int) -> bytes:
    lines = [f'r{n}@d{n % 7}.example;"Na;me\n{n}"' for n in range(count)]
    return "\r\n".join(["email;name", *lines, "nobody;x", ""]).encode()


class Uploader:
    """A CRM at the API of a node."""

    def __init__(self, node: NodeProcess) -> None:
        host, port = node.http
        self._client = httpx.AsyncClient(
            base_url=f"http://{host}:{port}",
            headers={"Authorization": f"Bearer {API_KEY}"},
            timeout=_WITHIN_S,
        )
        self.job = ""

    async def __aenter__(self) -> "Uploader":
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._client.aclose()

    async def create(self) -> str:
        answer = await self._client.post("/v1/campaigns", json=JOB)
        assert answer.status_code == 201, answer.text
        self.job = answer.json()["id"]
        return self.job

    async def put(
        self,
        key: str,
        body: bytes | AsyncIterator[bytes],
        headers: Mapping[str, str],
        status: int = 200,
    ) -> Any:
        answer = await self._client.put(
            f"/v1/campaigns/{self.job}/recipients",
            params={"key": key},
            content=body,
            headers=dict(headers),
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    async def done(self, key: str) -> int:
        """Return where to go on with a chunk; 0 of one that is not there."""
        answer = await self._client.head(f"/v1/campaigns/{self.job}/chunks/{key}")
        if answer.status_code == 404:
            return 0
        assert answer.status_code == 200
        return int(answer.headers[DONE])

    async def seal(self) -> Any:
        """Seal the job; return its record when it is ready."""
        path = f"/v1/campaigns/{self.job}"
        answer = await self._client.post(f"{path}/seal")
        assert answer.status_code == 200, answer.text
        async with asyncio.timeout(_WITHIN_S):
            while True:
                record = (await self._client.get(path)).json()
                if record["state"] != "sealing":
                    return record
                await asyncio.sleep(0.1)

    async def rejects(self) -> Sequence[Mapping[str, Any]]:
        answer = await self._client.get(
            f"/v1/campaigns/{self.job}/rejects", params={"format": "ndjson"}
        )
        return [json.loads(line) for line in answer.text.splitlines()]


def test_a_packed_file_is_taken_once_however_often_it_comes(tmp_path: Path) -> None:
    body = gzip.compress(csv(PACKED_ROWS))
    headers = {**CSV, "Content-Encoding": "gzip"}

    async def main() -> None:
        async with NodeProcess(write_node(tmp_path)) as node, Uploader(node) as crm:
            await crm.create()
            first = await crm.put("packed", body, headers)
            assert (first["rows"], first["invalid"]) == (PACKED_ROWS + 1, 1)
            assert first["finished"] is True
            assert await crm.put("packed", body, headers) == first
            plain = await crm.put("packed", csv(PACKED_ROWS), CSV)
            assert plain == first
            other = gzip.compress(csv(PACKED_ROWS - 1))
            await crm.put("packed", other, headers, status=422)
            record = await crm.seal()
            assert record["state"] == "ready"
            assert record["rows"]["accepted"] == PACKED_ROWS
            [reject] = await crm.rejects()
            assert (reject["row"], reject["outcome"]) == (PACKED_ROWS + 1, "invalid")

    asyncio.run(main())


def test_a_malformed_file_is_refused_with_line_and_column(tmp_path: Path) -> None:
    good, broken = ndjson(0, 100), b'{"email": "s3cret@x.example\n'

    async def main() -> None:
        async with NodeProcess(write_node(tmp_path)) as node, Uploader(node) as crm:
            await crm.create()
            answer = await crm.put("k", good + broken + ndjson(100, 5), NDJSON, 422)
            [fault] = answer["errors"]
            assert (fault["line"], fault["column"]) == (101, len(broken))
            assert "s3cret" not in json.dumps(answer)
            assert await crm.done("k") == 100
            rest = {**NDJSON, DONE: "100"}
            chunk = await crm.put("k", ndjson(100, 5), rest)
            assert (chunk["rows"], chunk["finished"]) == (105, True)

    asyncio.run(main())


async def upload_and_kill(crm: Uploader, node: NodeProcess, body: bytes) -> int:
    """Kill the node amid an upload; return how many rows it had told of by then."""
    told = 0
    share = len(body) * 3 // 4

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal told
        for at in range(0, share, 1 << 18):
            yield body[at : at + (1 << 18)]
        async with asyncio.timeout(_WITHIN_S):
            while not told:  # nothing more comes until the node has told of rows
                told = await crm.done("killed")
        await node.kill()
        yield body[share:]

    with pytest.raises(httpx.TransportError):
        await crm.put("killed", pieces(), NDJSON)
    return told


def test_an_upload_goes_on_after_kill_9_where_the_node_says(tmp_path: Path) -> None:
    settings = write_node(tmp_path)
    body = ndjson(0, KILLED_ROWS)

    async def main() -> None:
        async with NodeProcess(settings) as node, Uploader(node) as crm:
            job = await crm.create()
            await crm.put("before", ndjson(0, 50), NDJSON)
            told = await upload_and_kill(crm, node, body)
        assert 0 < told < KILLED_ROWS
        async with NodeProcess(settings) as node, Uploader(node) as crm:
            crm.job = job
            at = await crm.done("killed")
            assert told <= at < KILLED_ROWS
            elsewhere = {**NDJSON, DONE: str(at + 1)}
            await crm.put("killed", ndjson(at + 1, 1), elsewhere, status=409)
            assert await crm.done("killed") == at
            rest = {**NDJSON, DONE: str(at)}
            chunk = await crm.put("killed", ndjson(at, KILLED_ROWS - at), rest)
            assert (chunk["rows"], chunk["finished"]) == (KILLED_ROWS, True)
            assert await crm.put("killed", body, NDJSON) == chunk
            rows = (await crm.seal())["rows"]
            assert rows["accepted"] == KILLED_ROWS
            assert rows["duplicate"] == 50
            assert rows["invalid"] == rows["suppressed"] == 0

    asyncio.run(main())


def test_a_node_that_tells_of_rows_before_it_has_them_is_found_out(
    tmp_path: Path,
) -> None:
    settings = write_node(tmp_path)

    async def main() -> tuple[int, int]:
        async with NodeProcess(settings, BOASTFUL) as node, Uploader(node) as crm:
            job = await crm.create()
            told = await upload_and_kill(crm, node, ndjson(0, KILLED_ROWS))
        async with NodeProcess(settings) as node, Uploader(node) as crm:
            crm.job = job
            return told, await crm.done("killed")

    told, at = asyncio.run(main())
    assert at < told
