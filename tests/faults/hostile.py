"""The rows about clients and receivers that mean harm, or know no better."""

from collections.abc import Mapping

from faults import (
    addresses,
    crowd,
    fields,
    logins,
    one_client,
    replies,
    sinks,
    zones,
)
from faults.ledger import RowRunner

ROWS: Mapping[str, RowRunner] = {
    "one-client": one_client.run,
    "crowd": crowd.run,
    "addresses": addresses.run,
    "fields": fields.run,
    "guesses-one": logins.run_one,
    "guesses-many": logins.run_many,
    "tls-logins": logins.run_tls,
    "sinks": sinks.run,
    "replies": replies.run,
    "zones": zones.run,
}
