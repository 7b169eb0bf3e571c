"""What the browser tools are made of: a Chromium behind a proxy, a page a conversation, what is on it."""
