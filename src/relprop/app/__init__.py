"""The app in the browser: `relprop app`. It calls `relprop.reports` and has no numbers of its own.

A tab is a module with a function `tab(desk: Desk) -> None`. It is called inside the page's `gradio.Blocks`,
within a `gradio.Tab`, and lays out its components there. `desk` (relprop.app.desk) has what was given on the
command line, a private folder, and links for downloads. Uploads are read by `relprop.app.uploads` only.
"""

from importlib.util import find_spec

from relprop.errors import InputError

if find_spec("gradio") is None:  # here, since the modules read it as they are imported
    raise InputError('Expected gradio for the app but it is not installed: pip install "relprop[app]".')
