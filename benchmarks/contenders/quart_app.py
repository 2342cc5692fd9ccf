"""The stock way: the same answer by Quart-Trio as it comes, on Hypercorn's Trio worker.

It runs in an environment of its own: ``hypercorn -k trio quart_app:app``.
"""

from quart_trio import QuartTrio

app = QuartTrio(__name__)


@app.get("/my-plugin/status")
async def get_status():
    return {"plugin": "my-first-plugin", "version": "1.0.0", "status": "running"}
