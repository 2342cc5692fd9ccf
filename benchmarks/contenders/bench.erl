%% The peer on Erlang/OTP: gen_server, the same work, figures as lines of JSON.
-module(bench).
-behaviour(gen_server).
-export([main/1, start_child/1, init/1, handle_call/3, handle_cast/2]).

main([Task, Scale]) ->
    logger:set_primary_config(level, none),
    go(Task, number(Scale)),
    halt().

number(Text) ->
    case string:to_float(Text) of
        {error, _} -> list_to_integer(Text);
        {Number, _} -> Number
    end.

now_() -> erlang:monotonic_time(nanosecond).
emit(Metric, Value) -> io:format("{\"metric\": \"~s\", \"value\": ~.3f}~n", [Metric, Value * 1.0]).
rate(Metric, Count, Began) -> emit(Metric, Count * 1.0e9 / (now_() - Began)).

init({supervisor, Parent}) ->
    Child = #{id => c, start => {bench, start_child, [{crash, Parent}]}},
    {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1}, [Child]}};
init({crash, Parent}) ->
    Parent ! {up, self()},
    {ok, {crash, Parent}};
init(State) ->
    {ok, State}.

start_child(Argument) -> gen_server:start_link(?MODULE, Argument, []).

handle_call(get, _, {counter, Seen} = State) -> {reply, Seen, State};
handle_call({echo, Number}, _, State) -> {reply, Number, State};
handle_call({next, Next}, _, _) -> {reply, ok, {ring, Next}}.

handle_cast(count, {counter, Seen}) -> {noreply, {counter, Seen + 1}};
handle_cast(count, {crash, Parent} = State) -> Parent ! {handled, now_()}, {noreply, State};
handle_cast({hop, 0, Begin}, State) -> Begin ! done, {noreply, State};
handle_cast({hop, Left, Begin}, {ring, Next} = State) ->
    gen_server:cast(Next, {hop, Left - 1, Begin}),
    {noreply, State};
handle_cast(boom, {crash, Parent}) -> Parent ! {crashed, now_()}, exit(boom).

start(State) -> element(2, gen_server:start(?MODULE, State, [])).

times(0, _) -> ok;
times(Number, Do) -> Do(Number), times(Number - 1, Do).

go("tell", Scale) ->
    Count = round(200000 * Scale),
    Server = start({counter, 0}),
    Began = now_(),
    times(Count, fun(_) -> gen_server:cast(Server, count) end),
    Count = gen_server:call(Server, get, infinity),
    rate("tell", Count, Began);
go("ring", Scale) ->
    Hops = round(200000 * Scale),
    Ring = [start(none) || _ <- lists:seq(1, 100)],
    [gen_server:call(A, {next, B}) || {A, B} <- lists:zip(Ring, tl(Ring) ++ [hd(Ring)])],
    Began = now_(),
    gen_server:cast(hd(Ring), {hop, Hops, self()}),
    receive done -> ok end,
    rate("ring", Hops, Began);
go("fan", Scale) ->
    Rounds = max(1, round(100 * Scale)),
    Servers = [start({counter, 0}) || _ <- lists:seq(1, 1000)],
    Began = now_(),
    times(Rounds, fun(_) -> [gen_server:cast(A, count) || A <- Servers] end),
    [Rounds = gen_server:call(A, get, infinity) || A <- Servers],
    rate("fan", Rounds * 1000, Began);
go("ask", Scale) ->
    Count = round(50000 * Scale),
    Server = start({counter, 0}),
    Began = now_(),
    times(Count, fun(Number) -> gen_server:call(Server, {echo, Number}) end),
    rate("ask", Count, Began);
go("spawn", Scale) ->
    Count = round(100000 * Scale),
    erlang:garbage_collect(),
    Before = erlang:memory(processes_used),
    Began = now_(),
    Idle = [start(none) || _ <- lists:seq(1, Count)],
    rate("spawn", Count, Began),
    emit("bytes each", (erlang:memory(processes_used) - Before) / Count),
    Count = length(Idle);
go("restart", Scale) ->
    Count = round(1000 * Scale),
    {ok, Supervisor} = supervisor:start_link(?MODULE, {supervisor, self()}),
    unlink(Supervisor),
    First = receive {up, Pid} -> Pid end,
    Took = lists:sort(crashes(Count, First, [])),
    emit("restart", lists:nth(max(1, Count div 2), Took) / 1000),
    emit("restart p99", lists:nth(max(1, round(Count * 0.99)), Took) / 1000).

crashes(0, _, Took) -> Took;
crashes(Count, Server, Took) ->
    gen_server:cast(Server, boom),
    Crashed = receive {crashed, At} -> At end,
    Next = receive {up, Pid} -> Pid end,
    gen_server:cast(Next, count),
    Handled = receive {handled, When} -> When end,
    crashes(Count - 1, Next, [Handled - Crashed | Took]).
