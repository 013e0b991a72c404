"""Server: the page on this machine's own address, and nothing that leaves it."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from typing import Any

from relprop.app.desk import Desk
from relprop.app.style import CSS
from relprop.errors import RelpropError

__all__ = ["build", "serve"]

_HOST = "127.0.0.1"
# What the page itself asks for; anything else is refused.
_PATHS = re.compile(
    r"/$|/(assets|static|svelte)/|/(theme\.css|config|favicon\.ico|manifest\.json)$|/results/[\w-]+\.zip$|/upload$"
    r"|/gradio_api/(queue/(join|data)|heartbeat/\w+|cancel|reset|startup-events|app_id)/?$"
)
_POLICY = (
    b"default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    b"script-src 'self' 'unsafe-inline' 'unsafe-eval'; connect-src 'self'; media-src 'self' data: blob:; "
    b"worker-src 'self' blob:; frame-ancestors 'none'"
)


def build(desk: Desk) -> Any:
    """The app, as a server can run it."""
    os.environ.update(
        GRADIO_ANALYTICS_ENABLED="False",
        HF_HUB_DISABLE_TELEMETRY="1",
        GRADIO_TEMP_DIR=str(desk.folder / "gradio"),
    )
    import gradio as gr
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse, Response

    from relprop.app import compare, detector, picture, uploads, video

    # In the order of the page.
    tabs = {"Picture": picture, "Detector": detector, "Video": video, "Compare": compare}

    with gr.Blocks(title="relprop", analytics_enabled=False) as page:
        gr.Markdown("# relprop: what made the network say this?")
        with gr.Tabs(selected=desk.first):
            for label, module in tabs.items():
                with gr.Tab(label, id=label):
                    module.tab(desk)

        def left(request: gr.Request) -> None:
            desk.leave(str(request.session_hash))

        left.__annotations__["request"] = gr.Request  # gradio reads it, and can't see names of this function
        page.unload(left)
    page.queue(default_concurrency_limit=None, max_size=64, api_open=False)  # `Jobs` sees to it
    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @outer.get("/results/{name}")
    def results(name: str) -> Any:
        try:
            packed = desk.offers.packed(name.removesuffix(".zip"))
        except RelpropError as error:
            return PlainTextResponse(str(error), 500)
        if packed is None:
            return PlainTextResponse("This result is no longer kept. Ask for it again.", 404)
        return Response(
            packed, media_type="application/zip",
            headers={"Content-Disposition": 'attachment; filename="relprop-out.zip"'},
        )  # fmt: skip

    async def upload(request: Any) -> Any:
        status, text = await uploads.received(request, desk.folder)
        return PlainTextResponse(text, status)

    outer.add_route("/upload", upload, methods=["POST"])
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    gr.mount_gradio_app(
        outer, page, path="/", server_name=_HOST, footer_links=[], run_history=False, show_error=False,
        max_file_size=uploads.MOST_BYTES, ssr_mode=False, pwa=False, mcp_server=False, theme=theme, css=CSS,
    )  # fmt: skip
    return _Fence(outer)


def serve(desk: Desk, say: Callable[[str], object]) -> None:
    """Serve until Ctrl-C, and remove the desk's folder then.

    Args:
        desk: what is served.
        say: is told the address.

    Raises:
        InputError: gradio isn't installed.
    """
    try:
        app = build(desk)
        import uvicorn

        with socket.socket() as bound:
            bound.bind((_HOST, 0))
            bound.listen()  # a browser that is quicker than the server waits, and isn't turned away
            say(f"relprop app: http://{_HOST}:{bound.getsockname()[1]} (Ctrl-C ends it)")
            server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
            server.run(sockets=[bound])
    except KeyboardInterrupt:
        pass
    finally:
        desk.close()


class _Fence:
    """Lets through what the page asks for, under this machine's own name, and forbids the page to go elsewhere."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"")
        ours = host.rpartition(b":")[0] in (b"127.0.0.1", b"localhost")
        ours &= headers.get(b"origin", b"http://" + host) == b"http://" + host  # no other site's page
        if not ours or not _PATHS.match(scope["path"]):
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"Nothing here."})
            return

        async def fenced(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY)]
            await send(message)

        await self._app(scope, receive, fenced)
