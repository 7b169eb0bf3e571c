"""The spans of a run, as OpenTelemetry gets them. A model that cannot call tools is replaced by a script.

python examples/tracing.py       (needs opentelemetry-sdk)
"""

import asyncio

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tyler import Agent, tool
from tyler.model_choice import ModelChoice, choose_model
from tyler.testing import ScriptedModel, calls


@tool(risk="read", effect="read")
def order_status(order: int) -> str:
    """Where an order is."""
    return f"order {order} is in the post"


def show(spans: list[ReadableSpan], parent: int | None = None, depth: int = 0) -> None:
    """One line a span, those below it set in."""
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        if (span.parent.span_id if span.parent else None) == parent:
            attributes = span.attributes or {}
            tokens = attributes.get("gen_ai.usage.output_tokens")
            print("  " * depth + span.name + (f" ({tokens} tokens)" if tokens else ""))
            show(spans, span.context.span_id if span.context else None, depth + 1)


async def main(model: ModelChoice) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    if model.can_call_tools:
        agent = Agent(
            name="clerk",
            model_name=model.model_name,
            api_base=model.api_base,
            api_key=model.api_key,
            tools=[order_status],
        )
    else:
        print("This model cannot call tools, so a script plays its part.\n")
        script = ScriptedModel([calls(("order_status", {"order": 7})), "It is in the post."])
        agent = Agent(name="clerk", model=script, tools=[order_status])
    result = await agent.go("Where is my order 7?")
    show(list(exporter.get_finished_spans()))
    print(f"\nAssistant: {result.content}")


if __name__ == "__main__":
    choice = choose_model()
    print(f"Model: {choice.explanation}\n")
    asyncio.run(main(choice))
