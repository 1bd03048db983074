r"""What a browser may ask for, and what it is told never to.

A visitor is known by a cookie that scripts cannot read. Files are served from
his own folder, from what he has uploaded, and from the examples; the page may
load nothing from elsewhere.
"""
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import unquote

from .desk import COOKIE, FILE
from .station import VISITOR, Station

# Nothing from other hosts: the page works offline, and tells nobody of it.
POLICY = '; '.join((
    "default-src 'self'", "script-src 'self' 'unsafe-inline' 'unsafe-eval' "
    'blob:', "style-src 'self' 'unsafe-inline'", "img-src 'self' data: blob:",
    "media-src 'self' data: blob:", "font-src 'self' data:",
    "connect-src 'self' blob: data:", "worker-src 'self' blob:",
    "frame-ancestors 'self'", "form-action 'self'", "base-uri 'self'"))
HEADERS = {
    'Content-Security-Policy': POLICY, 'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff'}
# What gradio offers beyond files, and nobody needs here; files by an old way.
CLOSED = ('/file/', '/gradio_api/file/',
          '/proxy=', '/gradio_api/proxy=', '/monitoring',
          '/gradio_api/monitoring', '/deep_link', '/gradio_api/deep_link')
YEAR = 31_536_000


class Guard:
    r"""An ASGI application around another one.

    Args:
        app: that is guarded.
        station: that knows the folders of the visitors.
        shared: folders whose files all may see.
    """

    def __init__(self, app, station: Station, shared: Sequence[Path]):
        self.app, self.station = app, station
        self.shared = [Path(folder).resolve() for folder in shared]

    async def __call__(self, scope, receive, send):
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return
        visitor, path = _visitor(scope), scope['path']
        new = not VISITOR.fullmatch(visitor)
        if new:
            visitor = self.station.new_visitor()
        if not self.allowed(path, visitor):
            await _refuse(send)
            return

        async def sending(message):
            if message['type'] == 'http.response.start':
                message = {**message, 'headers': [
                    *message['headers'], *(
                        (name.lower().encode(), value.encode())
                        for name, value in HEADERS.items()),
                    *([_cookie(visitor)] if new and path == '/' else [])]}
            await send(message)

        await self.app(scope, receive, sending)

    def allowed(self, path: str, visitor: str) -> bool:
        r"""Whether a visitor may ask for a path."""
        if path.startswith(CLOSED):
            return False
        for prefix in (f'/{FILE}', '/file='):
            if path.startswith(prefix):
                return self._may_see(path.removeprefix(prefix), visitor)
        return True

    def _may_see(self, name: str, visitor: str) -> bool:
        r"""Whether a file is the visitor's, or all may see it, however often
        its name is decoded."""
        # Also those ask who have not logged in: for them no folder is made.
        own = [self.station.root.resolve() / visitor] if VISITOR.fullmatch(
            visitor) else []
        try:
            files = [Path(text).resolve() for text in (name, unquote(name))]
        except (OSError, ValueError):
            return False
        return all(any(map(file.is_relative_to, (*own, *self.shared)))
                   for file in files)


def _visitor(scope) -> str:
    text = next((value for name, value in scope['headers']
                 if name == b'cookie'), b'').decode('latin-1')
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ''
    return found.value if found else ''


def _cookie(visitor: str) -> tuple[bytes, bytes]:
    return b'set-cookie', (
        f'{COOKIE}={visitor}; Path=/; HttpOnly; SameSite=Strict; '
        f'Max-Age={YEAR}').encode()


async def _refuse(send) -> None:
    await send({'type': 'http.response.start', 'status': 403, 'headers': [
        (b'content-type', b'text/plain; charset=utf-8')]})
    await send({'type': 'http.response.body', 'body': b'Not yours to see.'})
