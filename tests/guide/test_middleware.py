"""The guide's middleware block: headers put into the request and into the response."""

import pytest
from guide_world import a_node, write_block


@pytest.mark.parametrize("library", ["trio", "asyncio"])
async def test_the_middleware_wraps_the_routes_of_its_plugin(guide, tmp_path, library):
    """The block says nothing of asyncio or Trio, so it must do under both."""
    write_block(tmp_path, guide, "middleware", "as it stands", async_library=library)
    async with a_node(tmp_path, middleware={}) as (_, client):
        response = await client.get("/wrapped")
        assert response.status_code == 200
        assert response.json() == {"X-Plugin-Name": "middleware"}
        assert 0 <= float(response.headers["X-Process-Time"]) < 10
