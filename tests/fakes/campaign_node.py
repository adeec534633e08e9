"""A campaign on a node that runs in the test's own process."""

import asyncio
import json
from collections.abc import Sequence

from fakes.running_node import RunningNode
from mailwright.ids import CampaignId
from mailwright.queue.campaign.job import CampaignRecord, JobState, NewCampaign
from mailwright.queue.campaign.uploads import parse_row_format

CONTENT = {
    "from": {"address": "news@example.com", "name": "News for {{ name }}"},
    "subject": "Hello {{ name }}",
    "text": "Dear {{ name }}, row {{ number }}.\n",
}


def campaign_on(running: RunningNode, **changes: object) -> NewCampaign:
    """Return a campaign of the node's first credential."""
    directory = running.node.state.settings.directory()
    credential = directory.credentials["crm"]
    domain = directory.sending_domains["example.com"]
    values: dict[str, object] = {
        "tenant": credential.tenant,
        "credential": credential.id,
        "stream": credential.stream,
        "sending_domain": domain.id,
        "selector": "s1",
        "reverse_path": "bounces@example.com",
        "content": json.dumps(CONTENT).encode(),
    }
    return NewCampaign(**(values | changes))


async def upload(
    running: RunningNode, campaign: CampaignId, addresses: Sequence[str]
) -> None:
    """Stage a row for each of ``addresses``."""
    rows = [
        {"email": each, "fields": {"name": f"N{number}", "number": number}}
        for number, each in enumerate(addresses, 1)
    ]
    octets = "".join(json.dumps(each) + "\n" for each in rows).encode()
    staging = running.node.campaigns.staging
    form = parse_row_format("application/x-ndjson")

    def write() -> None:
        with staging.open_chunk(campaign, "all", form) as writer:
            writer.feed(octets)
            writer.finish()

    await asyncio.to_thread(write)


async def wait_state(
    running: RunningNode, record: CampaignRecord, *states: JobState
) -> CampaignRecord:
    """Return the campaign once it is in one of ``states``."""
    jobs = running.node.campaigns.jobs
    async with asyncio.timeout(120):
        while True:
            found = await jobs.get(record.tenant, record.id)
            assert found is not None
            if found.state in states:
                return found
            await asyncio.sleep(0.02)
