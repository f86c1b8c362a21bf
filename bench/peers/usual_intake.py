"""The intake as a FastAPI application is usually written: pydantic bodies, SQLAlchemy, a commit per request.

It does all that `tips` does for an issue: the same checks, the same sealing, the same rows. Its log is as
logs usually are, without a chain: that costs it less.
"""

import itertools
import secrets
import uuid
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel
from sqlalchemy import BigInteger, DateTime, ForeignKey, LargeBinary, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from services.tips import answers, intake, receipts, sealing
from services.tips.body import NewReport
from services.tips.core import grid, public
from services.tips.core.acts import Standing
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


class IssueRow(Base):
    """What is public of it."""

    __tablename__ = "issue"
    issue_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    report_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("report.report_id"))
    report: Mapped[ReportRow] = relationship()
    category: Mapped[str]
    areas: Mapped[dict[str, Any]] = mapped_column(JSONB)
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    status: Mapped[str]
    version: Mapped[int]
    page: Mapped[str]
    accepted_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class LogRow(Base):
    """That its words were taken in."""

    __tablename__ = "disclosure"
    chain: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    report_id: Mapped[uuid.UUID]
    act: Mapped[str]
    actor: Mapped[str]
    service: Mapped[str]
    purpose: Mapped[str]


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

    numbers = itertools.count(1)

    @app.post("/v1/reports", status_code=201)
    async def post_report(
        body: NewReport,
        idempotency_key: Annotated[str, Header()],
        db: Annotated[AsyncSession, Depends(session)],
    ) -> Accepted:
        key = intake.check_key([idempotency_key])
        category = intake.check_category(body, desk.municipality)
        language = intake.check_language(body, desk.municipality)
        written = [body.description, *answers.texts(body.answers, category)]
        insists = body.not_an_emergency
        intake.check_emergency(written, language, desk.municipality, insists=insists, category=category)
        now, report_id = desk.clock(), uuid.uuid4()
        intake.check_contact(body.contact, category)
        intake.check_happened(body.happened, desk.municipality.tz, now)
        given = answers.check_answers(body.answers, category)
        areas = intake.check_place(body.location, desk.municipality, desk.areas)
        receipt = receipts.from_key(key, desk.peppers.receipt)
        key_mac, body_mac = receipts.submission_macs(key, body.canonical(), desk.peppers.lookup)
        if (await db.execute(select(SubmissionRow).where(SubmissionRow.key_mac == key_mac))).first():
            raise HTTPException(409)
        report, event = accept(report_id, category, areas, language, desk.municipality.version, now)
        name = desk.keys.newest(
            sealing.key_name(report.accepted_at, category.regime, category.retention_days)
        )
        sealed = sealing.seal(report_id, name, desk.keys.make(name), body.words(given))
        point = body.location.point if body.location else None
        place = grid.rounded(point.latitude, point.longitude) if point else None
        issue = public.first(uuid.uuid4(), report, category, place, desk.public_url)
        row = ReportRow(
            report_id=report_id,
            kind=report.kind,
            category=report.category,
            areas=dict(report.areas),
            language=report.language,
            accepted_at=report.accepted_at,
            status=report.status,
            version=report.version,
            lookup_id=receipts.lookup_id(receipt, desk.peppers.lookup),
            key_name=sealed.key_name,
            wrapped_key=sealed.wrapped_key,
            sealed=sealed.sealed,
        )
        db.add(row)
        db.add(
            SubmissionRow(key_mac=key_mac, body_mac=body_mac, report_id=report_id, drop_after=drop_after(now))
        )
        db.add(_waiting(Envelope.of(event, id=uuid.uuid4(), source=desk.source, now=now)))
        if issue:
            db.add(_public(issue, row))
            db.add(_waiting(Envelope.of(issue.event(), id=uuid.uuid4(), source=desk.source, now=now)))
        db.add(
            LogRow(
                chain=report.kind,
                number=next(numbers),
                hash=secrets.token_bytes(32),
                at=report.accepted_at,
                report_id=report_id,
                act="collection",
                actor="resident",
                service="tips",
                purpose="report",
            )
        )
        await db.commit()
        return Accepted(
            receipt=receipts.shown(receipt),
            report=view(report, [], desk.municipality, Standing()),
            status_url="/v1/reports/mine",
        )

    return app


def _public(issue: public.Issue, report: ReportRow) -> IssueRow:
    return IssueRow(
        issue_id=issue.issue_id,
        report=report,
        category=issue.category,
        areas=dict(issue.areas),
        latitude=issue.place.latitude if issue.place else None,
        longitude=issue.place.longitude if issue.place else None,
        status=issue.status,
        version=issue.version,
        page=issue.page,
        accepted_at=issue.accepted_at,
        changed_at=issue.changed_at,
    )


def _waiting(envelope: Envelope[Any]) -> OutboxRow:
    record = to_record(envelope)
    return OutboxRow(
        id=envelope.id,
        type=envelope.event.type,
        topic=record.topic,
        key=record.key,
        value=record.value,
        source=envelope.source,
        time=envelope.time,
    )
