"""The guide's setup.py: a plugin installed as a package is found by its entry point."""

import subprocess
import sys

import pytest
from guide_world import a_node

from nexus_actors.plugin.importing import forget_plugin

PACKAGE_DATA = "[options.package_data]\nmy_first_plugin = plugin.json\n"


@pytest.fixture
def site(guide, tmp_path, monkeypatch):
    """A folder on sys.path into which pip installed the guide's package.

    What the guide forgot: line 801 finds packages, and the folder that the guide shows has none,
    while line 808 names a module of `my_first_plugin`: so the sources stand in a folder of that
    name, with the `__init__.py` that makes it a package. Nothing puts plugin.json into it:
    setup.cfg does. Line 803 requires a distribution `nexus-platform`, which is not what this one
    is called: pip is told to leave requirements alone.
    """
    setup = guide["setup"]
    assert setup.line_of("find_packages(),") == 801
    assert setup.line_of("nexus-platform>=1.0.0") == 803
    assert setup.line_of("my_first_plugin.plugin:MyFirstPlugin") == 808
    project = tmp_path / "project"
    package = project / "my_first_plugin"
    package.mkdir(parents=True)
    (project / "setup.py").write_text(guide.source("setup"))
    (project / "setup.cfg").write_text(PACKAGE_DATA)
    (package / "__init__.py").touch()
    (package / "plugin.py").write_text(guide.source("my-first-plugin"))
    (package / "plugin.json").write_text(guide["manifest"].text)
    target = tmp_path / "site"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"),
            *("--no-build-isolation", "--target", str(target), str(project)),
        ],
        check=True,
        capture_output=True,  # setuptools warns at length that line 814's classifier is old
        timeout=100,
    )
    # the short name may still stand for the plugin of a test before this one, in another folder
    forget_plugin("my-first-plugin")
    monkeypatch.syspath_prepend(str(target))
    yield target
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_first_plugin"]:
        del sys.modules[name]


async def test_an_installed_plugin_is_found_by_its_entry_point(site, tmp_path):
    nothing = tmp_path / "plugins"
    nothing.mkdir()
    async with a_node(nothing, my_first_plugin={"max_entries": 100}) as (_, client):
        response = await client.get("/my-plugin/status")
        assert response.json()["plugin"] == "my-first-plugin"
        response = await client.post("/my-plugin/data", json={"name": "installed"})
        assert response.status_code == 200
