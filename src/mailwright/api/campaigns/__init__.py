"""Campaign jobs over HTTP: create, upload, follow and steer them; stored templates.

Promises: a job is on stable storage when its create is answered, and a repeated create is
the same job; an upload is never in memory as a whole, what of it was durable is told by
``Upload-Rows-Done``, and a chunk that is repeated counts once; an export reads page by page
and holds neither the loop nor a snapshot for long; a broken template or a wrong member is
told before anything is stored.

Never does: decide who may send (:mod:`mailwright.mta.admission` does, for every door),
know how a job is stored or staged (:mod:`mailwright.queue.campaign`), render
(:mod:`mailwright.mta.compose`).

Start reading at ``schemas`` (what is sent), then ``door`` (create), ``uploads`` and
``exports``; ``routes`` joins them.
"""
