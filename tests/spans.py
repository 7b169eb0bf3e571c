"""The spans that a test's runs make: the fixture `spans`, and how to look at them.

OpenTelemetry takes one provider a process. The first test that asks sets it, and each test listens with an exporter
of its own, which hears nothing any more when the test is over.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

_READER = InMemoryMetricReader()


class Spans:
    """The ended spans of one test."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def __iter__(self) -> Iterator[ReadableSpan]:
        return iter(self._exporter.get_finished_spans())

    def clear(self) -> None:
        """Forget what ended so far."""
        self._exporter.clear()

    def named(self, name: str) -> ReadableSpan:
        """The one span of this name."""
        [span] = [span for span in self if span.name == name]
        return span

    def tree(self) -> list[str]:
        """A line for each span in the order of their starts, set in below its parent."""
        spans = sorted(self, key=lambda span: span.start_time or 0)
        lines: list[str] = []

        def draw(parent: int | None, depth: int) -> None:
            for span in spans:
                above = span.parent.span_id if span.parent else None
                if above == parent:
                    lines.append("  " * depth + span.name)
                    draw(span.get_span_context().span_id, depth + 1)

        draw(None, 0)
        return lines


def provider() -> TracerProvider:
    """The process's, made when there is none."""
    found = trace.get_tracer_provider()
    if not isinstance(found, TracerProvider):
        found = TracerProvider()
        trace.set_tracer_provider(found)
    return found


@pytest.fixture
def spans() -> Iterator[Spans]:
    exporter = InMemorySpanExporter()
    provider().add_span_processor(SimpleSpanProcessor(exporter))
    yield Spans(exporter)
    exporter.shutdown()


@pytest.fixture(scope="session")
def metric_reader() -> InMemoryMetricReader:
    metrics.set_meter_provider(MeterProvider([_READER]))
    return _READER
