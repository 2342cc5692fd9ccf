"""Walking a running tree by its handles."""

from supervisors import Flags, walk


async def test_walk_gives_every_supervisor_with_its_children_in_start_order(troupe, run):
    inner = troupe.supervisor("b", "c", strategy="one_for_all").as_child("inner")
    ref = await run(troupe.supervisor("a", inner, "d", name="top"))
    found = [(one.name, [row.id for row in rows]) for one, rows in await walk(ref)]
    assert found == [("top", ["a", "inner", "d"]), ("top/inner", ["b", "c"])]


async def test_walk_leaves_out_what_has_ended(troupe, run):
    ref = await run(troupe.supervisor("a"))
    await ref.stop()
    assert await walk(ref) == []


async def test_a_handle_knows_the_flags(troupe, run):
    ref = await run(troupe.supervisor("a", strategy="rest_for_one", intensity=7, period=9))
    assert ref.flags == Flags("rest_for_one", 7, 9, "never")


async def test_a_handle_says_who_and_how(troupe, run):
    ref = await run(troupe.supervisor("a", name="top"))
    assert repr(ref) == "<SupervisorRef top running>"
    await ref.stop()
    assert repr(ref) == "<SupervisorRef top ended: shutdown>"
