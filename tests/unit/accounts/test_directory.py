"""What the settings say of one tenant while there are others."""

from dataclasses import replace

import pytest

from fakes.api import FOREIGN, NEWS, OURS, THEIRS, directory
from mailwright.accounts.directory import Directory, Pool, Stream
from mailwright.ids import PoolId, StreamId

CREDENTIALS = ("crm", "sender", "reader", "neighbour")


def with_pools() -> Directory:
    """Return settings: our stream → ours, theirs → dedicated → spare; loose is free."""
    pools = [
        Pool(PoolId(1), "ours", ()),
        Pool(PoolId(2), "dedicated", (), overflow=PoolId(3)),
        Pool(PoolId(3), "spare", ()),
        Pool(PoolId(4), "loose", ()),
    ]
    return with_streams(
        replace(
            directory(dict.fromkeys(CREDENTIALS, b"")),
            pools={each.id: each for each in pools},
            pools_by_name={each.name: each for each in pools},
        ),
        replace(NEWS, pool=PoolId(1)),
        replace(FOREIGN, pool=PoolId(2)),
    )


def with_streams(settings: Directory, *streams: Stream) -> Directory:
    return replace(
        settings,
        streams={each.id: each for each in streams},
        streams_by_name={(each.tenant, each.name): each for each in streams},
    )


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("ours", True, False),
        ("dedicated", False, True),
        ("spare", False, True),
        ("loose", True, True),
        ("missing", False, False),
    ],
)
def test_a_pool_that_only_streams_of_others_lead_to_is_none(
    name: str, ours: bool, theirs: bool
) -> None:
    settings = with_pools()
    assert (settings.pool_for(OURS, name) is not None) is ours
    assert (settings.pool_for(THEIRS, name) is not None) is theirs


def test_a_pool_is_shared_as_soon_as_a_stream_of_ours_leads_to_it() -> None:
    settings = with_pools()
    overflowing = replace(settings.pools[PoolId(1)], overflow=PoolId(2))
    shared = replace(settings, pools={**settings.pools, overflowing.id: overflowing})
    found = shared.pool_for(OURS, "spare")
    assert found is not None
    assert found.id == PoolId(3)


def test_pools_that_overflow_in_a_circle_end_the_search() -> None:
    settings = with_pools()
    circle = replace(settings.pools[PoolId(3)], overflow=PoolId(2))
    settings = replace(settings, pools={**settings.pools, circle.id: circle})
    assert settings.pool_for(OURS, "spare") is None


def test_a_retired_stream_leads_nowhere() -> None:
    settings = with_pools()
    retired = replace(FOREIGN, id=StreamId(9), pool=PoolId(4))
    settings = replace(settings, streams={**settings.streams, retired.id: retired})
    assert settings.pool_for(OURS, "loose") is not None


@pytest.mark.parametrize(
    ("domain", "is_theirs"),
    [
        ("theirs.example", True),
        ("bounce.theirs.example", True),
        ("example.com", False),
        ("bounce.example.com", False),
        ("unknown.example", False),
        ("sub.theirs.example", False),
    ],
)
def test_a_domain_is_of_others_once_they_have_proven_it(
    domain: str, is_theirs: bool
) -> None:
    settings = with_pools()
    assert settings.is_of_others(OURS, domain) is is_theirs
    unproven = {
        name: replace(each, is_proven=False)
        for name, each in settings.sending_domains.items()
    }
    assert not replace(settings, sending_domains=unproven).is_of_others(OURS, domain)


def test_a_return_path_domain_that_tenants_share_is_of_each() -> None:
    settings = with_pools()
    theirs = replace(
        settings.sending_domains["theirs.example"], return_path_domain="example.com"
    )
    domains = {**settings.sending_domains, theirs.domain: theirs}
    shared = replace(settings, sending_domains=domains)
    assert not shared.is_of_others(OURS, "example.com")
    assert not shared.is_of_others(THEIRS, "example.com")
