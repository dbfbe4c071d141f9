"""Real Chromium for tests of the web page: Debian's headless shell, spoken to by its DevTools protocol.

The protocol is JSON over a WebSocket, which aiohttp speaks already; a driver library would bring a second runtime and
ten times the download for the dozen commands that are needed. Mouse and keys are real input events.
"""

import asyncio
import base64
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.cluster import packages

PACKAGES = {"chromium-headless-shell": ("chromium-headless-shell",)}
_PATIENCE = 60.0  # seconds that a busy machine may take


class Page:
    """One tab. What it logs and what its content security policy refuses is kept in `complaints`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._session, self._number = socket, "", 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []
        self.addresses: list[str] = []  # of every request

    async def listen(self) -> None:
        """Take in what the browser says, until it goes."""
        async for message in self._socket:
            said = message.json()
            if (number := said.get("id")) is not None:
                if not self._answers[number].done():
                    self._answers[number].set_result(said)
            elif said["method"] == "Log.entryAdded":
                self.complaints.append(said["params"]["entry"]["text"])
            elif said["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(said["params"]["exceptionDetails"]))
            elif said["method"] == "Network.requestWillBeSent":
                self.addresses.append(said["params"]["request"]["url"])

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, and its answer."""
        self._number += 1
        number, answer = self._number, asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        about = {"sessionId": self._session} if self._session else {}
        await self._socket.send_json({"id": number, "method": method, "params": params, **about})
        async with asyncio.timeout(_PATIENCE):
            said = await answer
        assert "error" not in said, (method, said["error"])
        result: dict[str, Any] = said["result"]
        return result

    async def attach(self) -> None:
        """Open the tab."""
        target = await self.command("Target.createTarget", url="about:blank")
        found = await self.command("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.command(f"{domain}.enable")

    async def run(self, script: str) -> Any:
        """What a script comes to."""
        found = await self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, (script, found)
        return found["result"].get("value")

    async def until(self, script: str, what: str) -> Any:
        """Wait until a script comes to something true."""
        end = asyncio.get_running_loop().time() + _PATIENCE
        while True:
            with suppress(AssertionError):  # while another page is loaded, there is none
                if found := await self.run(script):
                    return found
            if asyncio.get_running_loop().time() > end:
                raise AssertionError(f"waited for {what}; the page says: {await self.text()}")
            await asyncio.sleep(0.1)

    async def go(self, url: str) -> None:
        """Load a page."""
        await self.command("Page.navigate", url=url)
        await self.until(
            f"location.href.startsWith({url.rsplit('/', 1)[0]!r}) && document.readyState == 'complete'", url
        )

    async def text(self) -> str:
        """What a person reads."""
        return str(await self.run("document.body.innerText"))

    async def shows(self, words: str) -> None:
        """Wait until a person reads these words."""
        await self.until(f"document.body.innerText.includes({words!r})", words)

    async def click(self, selector: str) -> None:
        """With the mouse, in the middle of the element: of a page with its style sheet, which moves it."""
        box = await self.until(
            f"(() => {{const one = document.querySelector({selector!r});"
            "if (!one || document.readyState != 'complete') return null;"
            "one.scrollIntoView({block: 'center'}); const box = one.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]})()",
            selector,
        )
        for kind in ("mousePressed", "mouseReleased"):
            where = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
            await self.command("Input.dispatchMouseEvent", type=kind, **where)

    async def press(self, key: str, text: str = "") -> None:
        """A key; `text`: what it types."""
        codes = {"Tab": 9, "Enter": 13}
        about = {"key": key, "code": key, "windowsVirtualKeyCode": codes.get(key, 0)} | ({"text": text} if text else {})
        await self.command("Input.dispatchKeyEvent", type="keyDown", **about)
        await self.command("Input.dispatchKeyEvent", type="keyUp", **{**about, "text": ""})

    async def type(self, text: str) -> None:
        """Into the field that has the focus: a page that was just loaded gives it a moment later."""
        ready = "document.readyState == 'complete' && !!document.activeElement?.matches('input, textarea')"
        await self.until(ready, "a field to type into")
        await self.command("Input.insertText", text=text)

    async def look_like(self, *, width: int = 1280, height: int = 900, phone: bool = False, dark: bool = False) -> None:
        """The size of the screen, and what the user likes."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        await self.command("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.command("Emulation.setEmulatedMedia", features=[scheme])

    async def photograph(self, file: Path) -> None:
        """All of the page as PNG."""
        made = await self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        await asyncio.to_thread(_write, file, base64.b64decode(made["data"]))


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


@asynccontextmanager
async def browser(folder: Path, *flags: str) -> AsyncIterator[Page]:
    """A tab of a new browser. `folder`: for its profile."""
    packages.ensure(PACKAGES)
    process = await asyncio.create_subprocess_exec(
        packages.program("chromium-headless-shell"),
        *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"),
        *("--remote-debugging-port=0", f"--user-data-dir={folder}", *flags, "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # so that its helpers end with it
    )
    try:
        address = await asyncio.to_thread(_address, folder / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            await page.attach()
            yield page
            listening.cancel()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _address(file: Path) -> str:
    """Where the browser listens, which it writes into its profile."""
    end = time.monotonic() + _PATIENCE
    while not file.exists() or len(lines := file.read_text().split()) < 2:
        assert time.monotonic() < end, "Chromium did not start"
        time.sleep(0.05)
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
