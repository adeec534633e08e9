"""Webhooks: events out, to endpoints that tenants name.

Promises: each event that an endpoint asks for arrives at least once, with the same id each
time, and for each recipient in the order in which it happened. What was acknowledged is
durable before anything that follows is sent; a batch that is sent again, after a failure or
a crash, has the same ``webhook-id`` and the same events. The receiver can tell that a batch
is ours (Standard Webhooks 1.0.0).

Never: in the way of mail (the log is read on from a cursor, endpoint by endpoint), a task
or a queue for an event, an answer that is believed beyond its status, a connection to an
address that is not globally routable unless an operator allowed its network.

Start reading at ``endpoint`` (what there is to know of one), then the pure rules
``signing``, ``schedule`` and ``batches``, then ``delivery`` (one step) and ``book`` (all
endpoints, in memory and in the database). ``daemon/webhooks.py`` lets it run.
"""
