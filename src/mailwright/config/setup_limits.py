"""Tables of the setup file about limits: throttles, and changes to provider profiles."""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import PlainSerializer, model_validator

from mailwright.config.limit import LimitText, parse_limit, unit_of
from mailwright.config.problems import Complaint
from mailwright.config.section import Domain, Name, Section, refuse, setting
from mailwright.config.treatment import TreatmentSection

#: What a profile that everyone inherits from cannot say: sums over unrelated sites.
_NOT_OF_DEFAULT: Final = ("per_source", "overall")


class LimitKey(StrEnum):
    """What a throttle can count deliveries by."""

    SOURCE = "source"
    PROVIDER = "provider"
    SITE = "site"
    DOMAIN = "domain"
    TENANT = "tenant"
    CAMPAIGN = "campaign"
    STREAM = "stream"
    CREDENTIAL = "credential"


class ThrottleSection(Section):
    """A limit on how much may leave, beside those of the provider profiles.

    Deliveries are counted together that have the same value for every key in `per`; each
    other key that is given says whose deliveries are counted at all. A delivery leaves
    when every throttle that counts it has room.
    """

    name: Name | None = setting(
        None,
        text="Name of the throttle, for people. A throttle without one is known by what "
        "it counts.",
        example="google-of-ip1",
    )
    limit: LimitText = setting(
        text="Deliveries per time: a rate, with the burst that may leave at once after a "
        "pause, or an allowance per day (UTC).",
        example="5000/h burst 50",
    )
    per: Annotated[
        frozenset[LimitKey], PlainSerializer(sorted, return_type=list[str])
    ] = setting(
        frozenset(),
        text="Counted apart for each of these: source, provider, site, domain, tenant, "
        "campaign, stream, credential. Empty: all together.",
        example=["source", "provider"],
    )
    source: Name | None = setting(
        None, text="Only what leaves from this source.", example="ip1"
    )
    provider: Name | None = setting(
        None,
        text="Only what goes to this provider; default: to everyone else.",
        example="google",
    )
    site: str | None = setting(
        None,
        text="Only what goes to this site, as `mailwright provider resolve` names it.",
        example="mx1.example.com,mx2.example.com",
        min_length=1,
        max_length=1000,
    )
    domain: Domain | None = setting(
        None, text="Only what goes to this domain.", example="example.com"
    )
    tenant: Name | None = setting(
        None, text="Only mail of this tenant.", example="acme"
    )
    stream: Name | None = setting(
        None, text="Only mail of this stream of the tenant.", example="news"
    )
    credential: Name | None = setting(
        None, text="Only mail that came with this credential.", example="crm"
    )
    reason: str = setting(
        "", text="Why there is this limit.", example="agreed in May", max_length=500
    )

    @property
    def match(self) -> dict[LimitKey, str]:
        """The keys that have to have a certain value, in their order."""
        given = {key: getattr(self, key.value, None) for key in LimitKey}
        return {key: value for key, value in given.items() if value is not None}

    @property
    def title(self) -> str:
        """Its name, or what it counts: ``per hour: each source, provider google``.

        Tells it from every other throttle; the limit itself is no part of it.
        """
        if self.name is not None:
            return self.name
        given = self.match
        scope = [
            f"{key} {given[key]}" if key in given else f"each {key}"
            for key in LimitKey
            if key in self.per or key in given
        ]
        unit = unit_of(parse_limit(self.limit))
        return f"per {unit}: {', '.join(scope) or 'all mail'}"

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.stream is not None and self.tenant is None:
            missing = Complaint(
                ("tenant",), "is required with stream", "name the stream's tenant"
            )
            refuse([missing], "throttle")
        return self


class ProviderSection(TreatmentSection):
    """Changes to the shipped profile of a provider, or to the default.

    What is set takes the place of the profile's value (`mailwright provider show NAME`);
    what is not set stays. A change to `default` reaches every provider that inherits it.
    """

    name: Name = setting(
        text="Name of the provider, as in `mailwright provider list`.", example="google"
    )
    reason: str = setting(
        "",
        text="Why the profile is changed.",
        example="they raised it for us",
        max_length=500,
    )

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.name != "default":
            return self
        refuse(
            [
                Complaint(
                    (scope,),
                    "means nothing for everyone else together",
                    "leave it out, or limit a provider of its own",
                )
                for scope in _NOT_OF_DEFAULT
                if getattr(self, scope).model_dump(exclude_none=True)
            ],
            "provider",
        )
        return self
