"""`tyler chat`: the conversation in a terminal. `conversation` holds it together."""
