"""Campaigns: one content for a snapshot of recipients, followed to the last of them.

Promises: what was uploaded has an outcome, row by row; a crash at any point goes on
where it was; a recipient gets the campaign once, or twice where its delivery says so.
Counts are kept with what they count, in the same commit.

Never: touches a delivery that runs by itself (lines and the campaign's row are what is
paused, paced and moved), keeps recipients in memory, renders a message.

Start reading at ``job`` (states), ``tables``, then ``rows`` and ``staging`` (uploads, from
octets to rows in line order), ``sealing`` (from the staged rows to deliveries) and
``jobs`` (what a program asks for).
"""
