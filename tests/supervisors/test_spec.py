"""Child specs and flags: OTP's defaults, and every fault at once in OTP's order."""

import re

import pytest

from supervisors import ChildSpec, InvalidSpec, StartFailed, Supervisor
from supervisors.spec import check_childspec


async def start(child):
    child.started()
    await child.wait_stop()


GOOD = {"id": "a", "start": start}


def test_defaults_are_those_of_otp():
    spec = ChildSpec("a", start)
    assert (spec.restart, spec.shutdown, spec.type) == ("permanent", 5.0, "worker")
    assert spec.significant is False
    assert spec.args == ()


def test_a_supervisor_has_all_the_time_it_needs():
    assert ChildSpec("a", start, type="supervisor").shutdown == "infinity"
    assert ChildSpec("a", start, type="supervisor", shutdown=3).shutdown == 3


def test_a_mapping_makes_the_same_spec():
    assert ChildSpec.from_mapping(GOOD | {"restart": "transient"}) == ChildSpec(
        "a", start, restart="transient"
    )


BAD = [
    ({"start": start}, "missing_id"),
    ({"id": "a"}, "missing_start"),
    ({}, "missing_id"),
    (GOOD | {"id": []}, ("invalid_id", [])),
    (GOOD | {"start": "mfa"}, ("invalid_mfa", "mfa")),
    (GOOD | {"restart": "prmanent"}, ("invalid_restart_type", "prmanent")),
    (GOOD | {"restart": []}, ("invalid_restart_type", [])),
    (GOOD | {"significant": "maybe"}, ("invalid_significant", "maybe")),
    (
        GOOD | {"significant": True},
        ("bad_combination", (("restart", "permanent"), ("significant", True))),
    ),
    (GOOD | {"type": "wrker"}, ("invalid_child_type", "wrker")),
    (GOOD | {"shutdown": -10}, ("invalid_shutdown", -10)),
    (GOOD | {"shutdown": "soon"}, ("invalid_shutdown", "soon")),
    (GOOD | {"shutdown": True}, ("invalid_shutdown", True)),
    (
        GOOD | {"shutdown": float("nan")},
        ("invalid_shutdown", pytest.approx(float("nan"), nan_ok=True)),
    ),
    (GOOD | {"args": [1]}, ("invalid_args", [1])),
    (GOOD | {"restrat": "transient"}, ("unknown_key", "restrat")),
    ("hej", ("invalid_child_spec", "hej")),
    (None, ("invalid_child_spec", None)),
]


@pytest.mark.parametrize(("given", "reason"), BAD)
def test_a_wrong_mapping_is_refused_with_otps_reason(given, reason):
    with pytest.raises(InvalidSpec) as info:
        ChildSpec.from_mapping(given)
    assert info.value.faults[0].reason == reason
    assert info.value.term == reason


@pytest.mark.parametrize("shutdown", [0, 0.5, 60, "infinity", "brutal_kill"])
def test_every_kind_of_shutdown_is_taken(shutdown):
    assert ChildSpec("a", start, shutdown=shutdown).shutdown == shutdown


def test_a_spec_is_checked_when_it_is_made_and_says_what_is_allowed():
    with pytest.raises(InvalidSpec) as info:
        ChildSpec("cache", start, restart="prmanent", shutdown=-1)  # type: ignore[arg-type]
    assert str(info.value) == (
        "child 'cache': 'restart' must be one of 'permanent', 'transient', 'temporary',"
        " not 'prmanent'\n"
        "child 'cache': 'shutdown' must be seconds, 'infinity' or 'brutal_kill', not -1"
    )


def test_all_faults_are_listed_in_the_order_in_which_otp_checks():
    everything = {
        "shutdown": -1,
        "type": "x",
        "significant": "x",
        "restart": "x",
        "start": 3,
        "oops": 1,
    }
    names = [
        fault.reason if isinstance(fault.reason, str) else fault.reason[0]  # type: ignore[index]
        for fault in check_childspec(everything, None)
    ]
    assert names == [
        "missing_id",
        "invalid_mfa",
        "invalid_restart_type",
        "invalid_significant",
        "invalid_child_type",
        "invalid_shutdown",
        "unknown_key",
    ]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"strategy": "none_for_one"}, ("invalid_strategy", "none_for_one")),
        ({"intensity": -1}, ("invalid_intensity", -1)),
        ({"intensity": "infinity"}, ("invalid_intensity", "infinity")),
        ({"intensity": 1.5}, ("invalid_intensity", 1.5)),
        ({"intensity": True}, ("invalid_intensity", True)),
        ({"period": 0}, ("invalid_period", 0)),
        ({"period": -3}, ("invalid_period", -3)),
        ({"period": float("inf")}, ("invalid_period", float("inf"))),
        ({"auto_shutdown": "sometimes"}, ("invalid_auto_shutdown", "sometimes")),
    ],
)
def test_a_wrong_flag_is_refused_when_the_supervisor_is_made(flags, reason):
    with pytest.raises(InvalidSpec) as info:
        Supervisor([GOOD], **flags)
    assert info.value.term == ("supervisor_data", reason)
    assert next(iter(flags)) in str(info.value)


def test_flags_come_before_children_and_nothing_is_left_out():
    with pytest.raises(InvalidSpec) as info:
        Supervisor(
            [{"id": "x"}, GOOD, GOOD],
            strategy="foo",  # type: ignore[arg-type]
            intensity=-1,
            period=0,
            auto_shutdown="foo",  # type: ignore[arg-type]
            name="shop",
        )
    assert [fault.reason for fault in info.value.faults] == [
        ("supervisor_data", ("invalid_strategy", "foo")),
        ("supervisor_data", ("invalid_intensity", -1)),
        ("supervisor_data", ("invalid_period", 0)),
        ("supervisor_data", ("invalid_auto_shutdown", "foo")),
        ("start_spec", "missing_start"),
        ("start_spec", ("duplicate_child_name", "a")),
    ]
    assert str(info.value).startswith("supervisor 'shop': 'strategy' must be one of 'one_for_one'")


def test_significant_children_need_an_auto_shutdown():
    spec = ChildSpec("a", start, restart="transient", significant=True)
    with pytest.raises(InvalidSpec, match="auto_shutdown is not 'never'"):
        Supervisor([spec])
    Supervisor([spec], auto_shutdown="any_significant")


@pytest.mark.parametrize("count", [0, 2])
def test_a_pool_takes_exactly_one_template(count):
    specs = [GOOD | {"id": n} for n in range(count)]
    with pytest.raises(InvalidSpec, match=f"the template, not {count}") as info:
        Supervisor(specs, strategy="simple_one_for_one")
    assert info.value.term == ("bad_start_spec", tuple(specs))


@pytest.mark.parametrize(
    "children", [5, None, "abc", GOOD, ChildSpec("a", start)], ids=lambda one: type(one).__name__
)
async def test_children_that_are_no_list_are_refused_also_those_of_an_init(children):
    with pytest.raises(
        InvalidSpec, match="the children must be a list of child specs, not "
    ) as info:
        Supervisor(children)
    assert info.value.term == ("bad_start_spec", children)
    with pytest.raises(StartFailed, match="the children must be a list of child specs") as failed:
        await Supervisor.from_init(lambda: ({}, children)).run()
    assert failed.value.term == ("bad_start_spec", children)


def test_an_id_given_twice_is_told_also_where_there_are_other_faults():
    with pytest.raises(InvalidSpec) as info:
        Supervisor([GOOD | {"restart": "x"}, GOOD | {"type": "y"}, {"start": start}])
    assert [fault.reason for fault in info.value.faults] == [
        ("start_spec", ("invalid_restart_type", "x")),
        ("start_spec", ("invalid_child_type", "y")),
        ("start_spec", ("duplicate_child_name", "a")),
        ("start_spec", "missing_id"),
    ]


@pytest.mark.parametrize("field", ["period", "shutdown"])
def test_seconds_that_no_clock_can_count_are_refused(field):
    given = {"shutdown": ([GOOD | {"shutdown": 10**400}], {}), "period": ([], {"period": 10**400})}
    children, flags = given[field]
    with pytest.raises(InvalidSpec, match=f"'{field}' must be seconds"):
        Supervisor(children, **flags)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"name": 5}, "supervisor 5: 'name' must be text, not 5"),
        ({"on_report": 5}, "supervisor: 'on_report' must be a function or None, not 5"),
        ({"backoff": {"first": 1}}, "supervisor: 'backoff' must be a Backoff or None, not {"),
        ({"rng": 7}, "supervisor: 'rng' must be a random.Random or None, not 7"),
    ],
)
def test_options_beyond_otp_are_checked_when_the_supervisor_is_made(option, words):
    with pytest.raises(InvalidSpec, match=re.escape(words)):
        Supervisor([], **option)
    with pytest.raises(InvalidSpec, match=re.escape(words)):
        Supervisor.from_init(lambda: ({}, []), **option)


def test_a_supervisor_in_place_of_a_child_spec_is_told_how_it_gets_one():
    with pytest.raises(InvalidSpec, match=r"a Supervisor's is supervisor\.as_child\(id\)"):
        Supervisor([Supervisor()])  # type: ignore[list-item]


def test_an_init_that_is_no_function_is_refused():
    with pytest.raises(InvalidSpec, match="'init' must be a function"):
        Supervisor.from_init(({}, []))  # type: ignore[arg-type]


async def _life(child):
    child.started()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"restrat": "transient"}, "'restrat' is not one of id, start, restart"),
        ({"restrat": "transient"}, "did you mean 'restart'?"),
        ({"shut_down": 3, "restart": "allways"}, "did you mean 'shutdown'?"),
        ({"shut_down": 3, "restart": "allways"}, "'restart' must be one of"),
    ],
)
def test_a_misspelt_field_of_a_childspec_is_named_like_that_of_a_mapping(fields, words):
    for make in (
        lambda: ChildSpec("one", _life, **fields),
        lambda: ChildSpec.from_mapping({"id": "one", "start": _life, **fields}),
    ):
        with pytest.raises(InvalidSpec, match="child 'one'") as info:
            make()
        assert words in str(info.value)
