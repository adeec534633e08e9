"""The schema's history: plain SQL for each engine, run in order by Alembic.

``<engine>/<revision>_<name>.sql`` is what is reviewed and what runs; ``versions/`` only
names it. A migration only adds. What it leaves behind (a column that nothing reads any
more) is dropped two releases later. It never rewrites ``deliveries``.
"""
