"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None

# A migration says what was true at its time, so nothing is imported from the schema of today.
MOMENT = sa.DateTime(timezone=True)
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN, FREE = sa.text("open"), sa.text("free > 0")


def upgrade() -> None:
    op.create_table(
        "project",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("classes", sa.Text, nullable=False, comment="JSON list of names; labels are positions in it"),
        sa.Column("created", MOMENT, nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.create_table(
        "items",
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("given", sa.Integer),
    )
    op.create_table(
        "readers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.Text),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.CheckConstraint("role IN ('reader', 'owner')", name="role"),
    )
    op.create_table(
        "rounds",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("sampler", sa.Text, nullable=False),
        sa.Column("wanted", sa.Integer, nullable=False),
        sa.Column("at_most", sa.Integer, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.CheckConstraint("wanted >= 1", name="wanted"),
        sa.CheckConstraint("at_most >= wanted", name="at_most"),
    )
    op.create_index("ix_rounds_one_open", "rounds", ["open"], unique=True, sqlite_where=OPEN, postgresql_where=OPEN)
    op.create_table(
        "queue",
        sa.Column("round", sa.Integer, sa.ForeignKey("rounds.number"), primary_key=True),
        sa.Column("item", sa.Integer, sa.ForeignKey("items.position"), primary_key=True),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("wanted", sa.Integer, nullable=False),
        sa.Column("answered", sa.Integer, nullable=False),
        sa.Column("free", sa.Integer, nullable=False, comment="places for which no read and no lease stands"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_queue_free", "queue", ["round", "rank"], sqlite_where=FREE, postgresql_where=FREE)
    _reading_tables()
    _reads()
    for table in ("reads", "project"):
        _refuse_changes(table)
    if op.get_bind().dialect.name == "sqlite":
        _refuse_replacements()


def _reading_tables() -> None:
    """Who reads what, and what can be handed to whom."""
    op.create_table(
        "leases",
        sa.Column("round", sa.Integer, primary_key=True),
        sa.Column("item", sa.Integer, primary_key=True),
        sa.Column("reader", sa.Integer, sa.ForeignKey("readers.id"), primary_key=True),
        sa.Column("until", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["round", "item"], ["queue.round", "queue.item"]),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_leases_round_until", "leases", ["round", "until"])
    op.create_index("ix_leases_reader", "leases", ["reader"])
    op.create_table(
        "cursors",
        sa.Column("round", sa.Integer, sa.ForeignKey("rounds.number"), primary_key=True),
        sa.Column("reader", sa.Integer, sa.ForeignKey("readers.id"), primary_key=True),
        sa.Column("rank", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "offers",
        sa.Column("round", sa.Integer, primary_key=True),
        sa.Column("item", sa.Integer, primary_key=True),
        sa.Column("reader", sa.Integer, sa.ForeignKey("readers.id"), primary_key=True),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["round", "item"], ["queue.round", "queue.item"]),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_offers_round_reader_rank", "offers", ["round", "reader", "rank"])


def _reads() -> None:
    """The reads."""
    op.create_table(
        "reads",
        sa.Column("sequence", SEQUENCE, primary_key=True),
        sa.Column("client_id", sa.String(36), nullable=False, unique=True),
        sa.Column("round", sa.Integer, sa.ForeignKey("rounds.number")),
        sa.Column("item", sa.Integer, sa.ForeignKey("items.position"), nullable=False),
        sa.Column("reader", sa.Integer, sa.ForeignKey("readers.id"), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("label", sa.Integer),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("shown", sa.Text, nullable=False, comment="JSON object: what the reader saw beside the image"),
        sa.Column("seconds", sa.Float),
        sa.Column("when", MOMENT, nullable=False),
        sa.Column("supersedes", SEQUENCE, sa.ForeignKey("reads.sequence"), unique=True),
        sa.CheckConstraint("kind IN ('label', 'cannot-tell', 'skip', 'undo', 'adjudication')", name="kind"),
        sa.CheckConstraint("(kind IN ('label', 'adjudication')) = (label IS NOT NULL)", name="label"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reads_item_reader", "reads", ["item", "reader"])
    op.create_index("ix_reads_reader_round", "reads", ["reader", "round"])
    op.create_index("ix_reads_round_item", "reads", ["round", "item"])


def _refuse_changes(table: str) -> None:
    """Triggers that refuse every UPDATE and DELETE of a table, whoever tries."""
    said = f"rows of {table} are never changed"
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION refuse_change_of_{table}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{said}'; END $$"
    )
    for change, each in (("UPDATE OR DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
        name = change.replace(" ", "_").lower()
        op.execute(
            f"CREATE TRIGGER {table}_no_{name} BEFORE {change} ON {table} "
            f"FOR EACH {each} EXECUTE FUNCTION refuse_change_of_{table}()"
        )


def _refuse_replacements() -> None:
    """SQLite's INSERT OR REPLACE deletes what is in its way, without asking the triggers unless it is told to."""
    op.execute(
        "CREATE TRIGGER reads_no_replace BEFORE INSERT ON reads "
        "WHEN EXISTS (SELECT 1 FROM reads WHERE sequence = NEW.sequence OR client_id = NEW.client_id) "
        "OR EXISTS (SELECT 1 FROM reads WHERE supersedes = NEW.supersedes) "
        "BEGIN SELECT RAISE(ABORT, 'rows of reads are never changed'); END"
    )
    op.execute(
        "CREATE TRIGGER project_no_replace BEFORE INSERT ON project WHEN EXISTS (SELECT 1 FROM project) "
        "BEGIN SELECT RAISE(ABORT, 'rows of project are never changed'); END"
    )
