"""The tools of the shop's agent; agent.yaml names them."""

from tyler import Tool, tool


@tool(risk="read", effect="read")
def order_status(order: int) -> str:
    """Where an order is."""
    return f"order {order} has arrived"


def voucher_tools(currency: str, most: int) -> list[Tool]:
    """Tools for vouchers of at most so much."""

    @tool(risk="external", effect="once")
    def send_voucher(order: int, value: int) -> str:
        """Send a voucher for an order."""
        if not 0 < value <= most:
            raise ValueError(f"a voucher is for 1 to {most} {currency}")
        return f"a voucher of {value} {currency} for order {order} is on its way"

    return [send_voucher]
