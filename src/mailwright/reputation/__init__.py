"""What keeps receivers' trust: providers and sites, permits, later warm-up and backoff.

**Promises.** Every question "may this leave now, and from where?" gets an answer with a
reason. The rules are pure: values and ``now`` in, values out, so that a month is tested
in a second and the simulator runs this very code. A limit that ships names its source; a
provider without a published limit inherits the default.

**Never** opens a connection, reads a clock, or ends a delivery: a refusal that is about
us slows mail down and loses none.

**Sources.** The tables of providers are TOML in ``providers/``, each number with its
origin. Draft standards: none; RFC 6647 (greylisting), RFC 5321 §4.5.4.1 (retries).

**Start reading** at :mod:`~mailwright.reputation.site` (what a receiving side is), then
:mod:`~mailwright.reputation.matching` (whose it is),
:mod:`~mailwright.reputation.treatment` and :mod:`~mailwright.reputation.provider` (how it
wants to be treated, by which layer), then
:mod:`~mailwright.reputation.throttle` (how a rate is counted) and
:mod:`~mailwright.reputation.permits` (what may leave now, and from where).
"""
