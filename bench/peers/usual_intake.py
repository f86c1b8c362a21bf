"""The intake as a FastAPI application is usually written: pydantic bodies, SQLAlchemy, a commit per request.

It does all that `tips` does for an issue: the same checks, the same sealing, the same three rows.
"""

import json
import uuid
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel
from sqlalchemy import DateTime, LargeBinary, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.tips import intake, receipts, sealing
from services.tips.body import NewReport
from services.tips.core.report import accept, drop_after
from services.tips.core.view import view
from services.tips.http import Desk
from shared.cloudevents import Envelope, to_record


class Base(DeclarativeBase):
    """The tables that the migrations made."""


class ReportRow(Base):
    """A report."""

    __tablename__ = "report"
    report_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    category: Mapped[str]
    areas: Mapped[dict[str, Any]] = mapped_column(JSONB)
    language: Mapped[str]
    accepted_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    status: Mapped[str]
    version: Mapped[int]
    lookup_id: Mapped[bytes] = mapped_column(LargeBinary)
    key_name: Mapped[str]
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class SubmissionRow(Base):
    """How it came."""

    __tablename__ = "submission"
    key_mac: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    body_mac: Mapped[bytes] = mapped_column(LargeBinary)
    report_id: Mapped[uuid.UUID]
    drop_after: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class OutboxRow(Base):
    """An event that waits."""

    __tablename__ = "outbox"
    position: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID]
    type: Mapped[str]
    topic: Mapped[str]
    key: Mapped[bytes] = mapped_column(LargeBinary)
    value: Mapped[bytes | None] = mapped_column(LargeBinary)
    source: Mapped[str]
    time: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Accepted(BaseModel):
    """The answer."""

    receipt: str
    report: dict[str, Any]
    status_url: str


def usual_app(desk: Desk, dsn: str) -> FastAPI:
    """The application on a database that is migrated."""
    app = FastAPI()
    engine = create_async_engine(
        dsn.replace("postgresql://", "postgresql+asyncpg://"), pool_size=10, max_overflow=0
    )
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as one:
            yield one

    @app.post("/v1/reports", status_code=201)
    async def post_report(
        body: NewReport,
        idempotency_key: Annotated[str, Header()],
        db: Annotated[AsyncSession, Depends(session)],
    ) -> Accepted:
        key = intake.check_key([idempotency_key])
        category = intake.check_category(body, desk.municipality)
        language = intake.check_language(body, desk.municipality)
        areas = intake.check_place(body.location, desk.municipality, desk.areas)
        receipt = receipts.from_key(key, desk.peppers.receipt)
        key_mac, body_mac = receipts.submission_macs(key, body.canonical(), desk.peppers.lookup)
        if (await db.execute(select(SubmissionRow).where(SubmissionRow.key_mac == key_mac))).first():
            raise HTTPException(409)
        now, report_id = desk.clock(), uuid.uuid4()
        report, event = accept(report_id, category, areas, language, desk.municipality.version, now)
        name = sealing.key_name(report.accepted_at, category.regime, category.retention_days)
        words = body.words({})
        sealed = sealing.seal(report_id, name, desk.keys.make(name), words)
        envelope = Envelope.of(event, id=uuid.uuid4(), source=f"/{desk.municipality.slug}/tips", now=now)
        record = to_record(envelope)
        db.add(
            ReportRow(
                report_id=report_id,
                kind=report.kind,
                category=report.category,
                areas=json.loads(json.dumps(dict(report.areas))),
                language=report.language,
                accepted_at=report.accepted_at,
                status=report.status,
                version=report.version,
                lookup_id=receipts.lookup_id(receipt, desk.peppers.lookup),
                key_name=sealed.key_name,
                wrapped_key=sealed.wrapped_key,
                sealed=sealed.sealed,
            )
        )
        db.add(
            SubmissionRow(key_mac=key_mac, body_mac=body_mac, report_id=report_id, drop_after=drop_after(now))
        )
        db.add(
            OutboxRow(
                id=envelope.id,
                type=event.type,
                topic=record.topic,
                key=record.key,
                value=record.value,
                source=envelope.source,
                time=envelope.time,
            )
        )
        await db.commit()
        return Accepted(
            receipt=receipts.shown(receipt),
            report=view(report, [], desk.municipality),
            status_url="/v1/reports/mine",
        )

    return app
