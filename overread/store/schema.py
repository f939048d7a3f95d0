"""The tables, as queries know them.  Migrations make them; a test keeps both equal."""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.engine import Dialect

__all__ = [
    "KINDS",
    "ROLES",
    "cursors",
    "items",
    "leases",
    "metadata",
    "offers",
    "project",
    "queue",
    "readers",
    "reads",
    "rounds",
]

KINDS = ("label", "cannot-tell", "skip", "undo", "adjudication")
ROLES = ("reader", "owner")


class Utc(TypeDecorator[datetime]):
    """A point in time: UTC with microseconds in both databases, whatever the zone of machine or session."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        # SQLite keeps text without a zone; texts of one zone sort by time.
        return (
            None if value is None else value.astimezone(UTC).replace(tzinfo=None if dialect.name == "sqlite" else UTC)
        )

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# A sequence number outlives any project; SQLite counts in 64 bits only under the name INTEGER.
Sequence = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s"})

project = Table(
    "project",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("classes", Text, nullable=False, comment="JSON list of names; labels are positions in it"),
    Column("created", Utc, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

items = Table(
    "items",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("given", Integer),
)

readers = Table(
    "readers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text),
    Column("created", Utc, nullable=False),
    Column("active", Boolean, nullable=False),
    CheckConstraint("role IN ('reader', 'owner')", name="role"),
)

rounds = Table(
    "rounds",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("created", Utc, nullable=False),
    Column("sampler", Text, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("at_most", Integer, nullable=False),
    Column("open", Boolean, nullable=False),
    CheckConstraint("wanted >= 1", name="wanted"),
    CheckConstraint("at_most >= wanted", name="at_most"),
    Index("ix_rounds_one_open", "open", unique=True, sqlite_where=text("open"), postgresql_where=text("open")),
)

queue = Table(
    "queue",
    metadata,
    Column("round", Integer, ForeignKey("rounds.number"), primary_key=True),
    Column("item", Integer, ForeignKey("items.position"), primary_key=True),
    Column("rank", Integer, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("free", Integer, nullable=False, comment="places for which no read and no lease stands"),
    # The only index with a rank: SQLite must not be tempted to walk over items that are done.
    Index("ix_queue_free", "round", "rank", sqlite_where=text("free > 0"), postgresql_where=text("free > 0")),
    sqlite_with_rowid=False,
)

leases = Table(
    "leases",
    metadata,
    Column("round", Integer, primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("reader", Integer, ForeignKey("readers.id"), primary_key=True),
    Column("until", Utc, nullable=False),
    ForeignKeyConstraint(["round", "item"], ["queue.round", "queue.item"]),
    Index(None, "round", "until"),
    Index(None, "reader"),
    sqlite_with_rowid=False,
)

cursors = Table(
    "cursors",
    metadata,
    Column("round", Integer, ForeignKey("rounds.number"), primary_key=True),
    Column("reader", Integer, ForeignKey("readers.id"), primary_key=True),
    Column("rank", Integer, nullable=False),
    sqlite_with_rowid=False,
)

offers = Table(
    "offers",
    metadata,
    Column("round", Integer, primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("reader", Integer, ForeignKey("readers.id"), primary_key=True),
    Column("rank", Integer, nullable=False),
    ForeignKeyConstraint(["round", "item"], ["queue.round", "queue.item"]),
    Index(None, "round", "reader", "rank"),
    sqlite_with_rowid=False,
)

reads = Table(
    "reads",
    metadata,
    Column("sequence", Sequence, primary_key=True),
    Column("client_id", String(36), nullable=False, unique=True),
    Column("round", Integer, ForeignKey("rounds.number")),
    Column("item", Integer, ForeignKey("items.position"), nullable=False),
    Column("reader", Integer, ForeignKey("readers.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("label", Integer),
    Column("comment", Text, nullable=False),
    Column("shown", Text, nullable=False, comment="JSON object: what the reader saw beside the image"),
    Column("seconds", Float),
    Column("when", Utc, nullable=False),
    Column("supersedes", Sequence, ForeignKey("reads.sequence"), unique=True),
    CheckConstraint("kind IN ('label', 'cannot-tell', 'skip', 'undo', 'adjudication')", name="kind"),
    CheckConstraint("(kind IN ('label', 'adjudication')) = (label IS NOT NULL)", name="label"),
    Index(None, "item", "reader"),
    Index(None, "reader", "round"),
    Index(None, "round", "item"),
    sqlite_autoincrement=True,
)
