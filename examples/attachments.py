"""Files in a conversation: the bytes go to a FileStore, the model reads them, the thread refers to them.

python examples/attachments.py [folder]
"""

import asyncio
import base64
import os
import sys
from pathlib import Path

from tyler import Agent, Attachment, FileStore, Message, Thread, ThreadStore
from tyler.model_choice import ModelChoice, choose_model

MENU = "dish,price\nsoup,4\npasta,9\ncake,5\n"
RED_DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg=="
)


async def main(model: ModelChoice, folder: Path) -> None:
    file_store = await FileStore.create(folder / "files")
    async with await ThreadStore.create(f"sqlite+aiosqlite:///{folder}/attachments.db") as store:
        agent = Agent(
            name="file-assistant",
            model_name=model.model_name,
            api_base=model.api_base,
            api_key=model.api_key,
            purpose="You answer questions about files, in one short sentence.",
            thread_store=store,
            file_store=file_store,
        )
        message = Message(role="user", content="Here are a menu and a picture. Which dish is the cheapest?")
        message.add_attachment(Attachment(filename="menu.csv", content=MENU, mime_type="text/csv"))
        message.add_attachment(Attachment(filename="dot.png", content=RED_DOT, mime_type="image/png"))
        result = await agent.go(Thread(messages=[message]))
        print(f"Assistant: {result.content}\n")

        # Text reaches every model as text, an image only a model that sees; for others it is named.
        stored = await store.get_thread(result.thread.id)
        for attachment in stored.messages[0].attachments:
            content = await file_store.get(attachment.file_id)
            print(f"{attachment.filename}: {len(content)} bytes, {attachment.mime_type}, {attachment.file_id[:12]}")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DEMO_FOLDER", ".demo"))
    folder.mkdir(parents=True, exist_ok=True)
    choice = choose_model()
    print(f"Model: {choice.explanation}\nData: {folder}\n")
    with choice.ready() as ready:
        asyncio.run(main(ready, folder))
