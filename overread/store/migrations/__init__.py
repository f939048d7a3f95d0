"""Alembic's scripts: each file in `versions` brings the tables of an older version one step on."""
