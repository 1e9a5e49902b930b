namespace Redmux;

/// <summary>One connection to Redis to hear and one to speak, made again for ever, for everything that a program subscribes, awaits and
/// publishes. All members may be used from any thread.</summary>
/// <example><code>
/// await using var client = await RedmuxClient.ConnectAsync("redis://localhost");
/// await using var sub = await client.SubscribeAsync(["news"]);
/// await client.PublishAsync("news", "hi");
/// await foreach (var message in sub)
/// {
///     Console.WriteLine($"{message.Channel} {message.Text()}");
///     break;
/// }
/// </code></example>
public sealed partial class RedmuxClient : IAsyncDisposable, IDisposable
{
    /// <summary>The version of this package.</summary>
    public const string Version = "0.1.0";

    private static readonly TimeSpan CloseTimeout = TimeSpan.FromSeconds(5);
    private readonly string _where;

    private RedmuxClient(RedmuxOptions options)
    {
        _where = options.Url is { } url ? url[(url.LastIndexOf('@') + 1)..] : "the environment's server";
        Core = new ClientCore(options);
    }

    /// <summary>Dropped without a dispose: closes without waiting, and says so.</summary>
    ~RedmuxClient()
    {
        if (Core is not null && Core.BeginClose(TimeSpan.Zero))
        {
            ThreadPool.UnsafeQueueUserWorkItem(static client => Log.NotDisposed(client.Core.Logger, client.ToString()), this, preferLocal: false);
        }
    }

    internal ClientCore Core { get; }

    /// <summary>Connects, and waits until the link is up.</summary>
    /// <param name="url">Where Redis is; null is the environment's (REDIS_URL, else REDIS_HOST, REDIS_PORT, REDIS_USERNAME, REDIS_PASSWORD, else
    /// localhost:6379).</param>
    /// <param name="ct">Ends the attempt.</param>
    /// <exception cref="RedmuxTimeoutException">It is not up in time; the message says why the last attempt failed.</exception>
    public static Task<RedmuxClient> ConnectAsync(string? url = null, CancellationToken ct = default) => ConnectAsync(new RedmuxOptions { Url = url }, ct);

    /// <summary>Connects, and waits until the link is up or <see cref="RedmuxOptions.ConnectTimeout"/> is over.</summary>
    /// <param name="options">How.</param>
    /// <param name="ct">Ends the attempt.</param>
    /// <exception cref="RedmuxTimeoutException">It is not up in time; the message says why the last attempt failed.</exception>
    public static Task<RedmuxClient> ConnectAsync(RedmuxOptions options, CancellationToken ct = default) =>
        OpenedAsync(() => Open(options), client => client.ReadyAsync(options.ConnectTimeout, ct));

    /// <summary>What is opened and then ready; if it is not, it is disposed.</summary>
    private static async Task<T> OpenedAsync<T>(Func<T> open, Func<T, ValueTask> ready) where T : IAsyncDisposable
    {
        T opened = open();
        try
        {
            await ready(opened).ConfigureAwait(false);
            return opened;
        }
        catch
        {
            await opened.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Connects without waiting: the server may come later. <see cref="ReadyAsync"/> waits.</summary>
    /// <param name="options">How.</param>
    public static RedmuxClient Open(RedmuxOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return new RedmuxClient(options);
    }

    /// <summary>Where the client is now.</summary>
    public RedmuxState State => Core.State;

    /// <summary>Waits until the subscriber link is up.</summary>
    /// <param name="timeout">How long; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    /// <param name="ct">Ends the wait.</param>
    public unsafe ValueTask ReadyAsync(TimeSpan? timeout = null, CancellationToken ct = default) => Ask(&Native.redmux_client_ready, Core.Handle, "connect", timeout, ct);

    // --- subscribing

    /// <summary>Subscribes to channels, perhaps none yet, and waits until Redis has them.</summary>
    /// <param name="channels">Which; <see cref="Subscription.AddAsync(IEnumerable{string}, TimeSpan?, CancellationToken)"/> adds more.</param>
    /// <param name="ct">Ends the attempt.</param>
    /// <exception cref="RedmuxRefusedException">Redis refuses some; there is no subscription.</exception>
    public Task<Subscription> SubscribeAsync(IEnumerable<string> channels, CancellationToken ct = default) => SubscribeAsync(channels, new SubscribeOptions(), ct);

    /// <summary>Subscribes to channels, perhaps none yet, and waits until Redis has them.</summary>
    /// <param name="channels">Which.</param>
    /// <param name="options">How.</param>
    /// <param name="ct">Ends the attempt.</param>
    /// <exception cref="RedmuxRefusedException">Redis refuses some; there is no subscription.</exception>
    public Task<Subscription> SubscribeAsync(IEnumerable<string> channels, SubscribeOptions options, CancellationToken ct = default) =>
        BegunAsync(options, null, sub => channels.ToArray() is { Length: > 0 } names ? sub.AddAsync(names, options.Timeout, ct) : default);

    /// <summary>Subscribes to a pattern of Redis' (<c>h?llo</c>, <c>news.*</c>, <c>[ab]*</c>), and waits until Redis has it.</summary>
    /// <param name="pattern">Which.</param>
    /// <param name="ct">Ends the attempt.</param>
    public Task<Subscription> SubscribePatternAsync(string pattern, CancellationToken ct = default) => SubscribePatternAsync(pattern, new SubscribeOptions(), ct);

    /// <summary>Subscribes to a pattern of Redis', and waits until Redis has it.</summary>
    /// <param name="pattern">Which.</param>
    /// <param name="options">How.</param>
    /// <param name="ct">Ends the attempt.</param>
    public Task<Subscription> SubscribePatternAsync(string pattern, SubscribeOptions options, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(pattern);
        return ct.IsCancellationRequested ? Task.FromCanceled<Subscription>(ct) : BegunAsync(options, pattern, sub => sub.OpenPattern(pattern, options.Timeout, ct));
    }

    private async Task<Subscription> BegunAsync(SubscribeOptions options, string? pattern, Func<Subscription, ValueTask> fill) =>
        (await OpenedAsync(() => new Subscription(this, options, pattern), fill).ConfigureAwait(false)).Begin(options);

    /// <summary>Subscribes without waiting for Redis; <see cref="Subscription.WaitActiveAsync"/> waits.</summary>
    /// <param name="channels">Which.</param>
    /// <param name="options">How.</param>
    public Subscription Subscribe(IEnumerable<string> channels, SubscribeOptions? options = null) => Begun(options, null, sub => sub.Add([.. channels]));

    /// <summary>Subscribes to a pattern without waiting for Redis; <see cref="Subscription.WaitActiveAsync"/> waits.</summary>
    /// <param name="pattern">Which.</param>
    /// <param name="options">How.</param>
    public Subscription SubscribePattern(string pattern, SubscribeOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(pattern);
        return Begun(options, pattern, sub => sub.OpenPattern(pattern));
    }

    /// <summary>Nothing waits here, so it has ended when the call returns.</summary>
    private Subscription Begun(SubscribeOptions? options, string? pattern, Action<Subscription> fill) =>
        BegunAsync(options ?? new(), pattern, sub => { fill(sub); return default; }).GetAwaiter().GetResult();

    // --- promises

    /// <summary>A set of promises on the channels that begin with a prefix, for one subscription of Redis.</summary>
    /// <param name="prefix">Taken literally.</param>
    /// <example><code>
    /// await using var promises = client.Promises("p:");
    /// await promises.WaitActiveAsync();
    /// var promise = promises.New("job", TimeSpan.FromSeconds(5));
    /// await client.FulfillAsync("p:job", "done");
    /// Console.WriteLine(Encoding.UTF8.GetString((await promise).Span));
    /// </code></example>
    public Promises Promises(string prefix) => new(this, prefix);

    /// <summary>A promise on one channel, in effect when this returns: the next message on it keeps it.</summary>
    /// <param name="name">The channel.</param>
    /// <param name="timeout">How long it is waited for; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    /// <param name="ct">Ends the attempt.</param>
    /// <example><code>
    /// var promise = await client.PromiseAsync("job:42", TimeSpan.FromSeconds(5));
    /// await client.FulfillAsync("job:42", "done");
    /// ReadOnlyMemory&lt;byte&gt; kept = await promise;
    /// </code></example>
    public async Task<Promise> PromiseAsync(string name, TimeSpan? timeout = null, CancellationToken ct = default)
    {
        ct.ThrowIfCancellationRequested();
        Promise promise = BeginPromise(name, timeout);
        using (ct.UnsafeRegister(static (promise, ct) => ((Promise)promise!).EndBy(ct), promise))
        {
            await promise.InEffect.ConfigureAwait(false);
        }
        return promise;
    }

    private unsafe Promise BeginPromise(string name, TimeSpan? timeout)
    {
        byte[] bytes = ChannelName.ToBytes(name);
        long limit = Duration.Millis(timeout);
        Promise promise = new(this, name);
        fixed (byte* at = bytes)
        {
            promise.Begun(Core.Closed ? Native.ErrClosed : Native.redmux_promise_make(Core.Handle, at, (nuint)bytes.Length, Core.Reply, promise.Token, limit));
        }
        return promise;
    }

    // --- the connection

    /// <summary>New credentials for the live connections and all later ones.</summary>
    /// <param name="user">Null is Redis' default user.</param>
    /// <param name="password">The password.</param>
    /// <param name="timeout">How long; null is <see cref="RedmuxOptions.Timeout"/>.</param>
    /// <param name="ct">Ends the wait.</param>
    /// <exception cref="RedmuxAuthException">Redis refuses them.</exception>
    public unsafe ValueTask AuthenticateAsync(string? user, string password, TimeSpan? timeout = null, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(password);
        byte[]? who = user is null ? null : ChannelName.Terminated(user);
        long limit = Duration.Millis(timeout);
        Operation operation = Core.Rent().Prepare(this, "authenticate", "");
        fixed (byte* name = who, secret = ChannelName.Terminated(password))
        {
            int status = Core.Closed ? Native.ErrClosed : Native.redmux_client_authenticate(Core.Handle, name, secret, Core.Reply, operation.Token, limit);
            return operation.Begun(status, ct).Nothing;
        }
    }

    /// <summary>Disconnects and keeps everything that is subscribed, until <see cref="Restart"/>.</summary>
    public void Stop() => Failure.Check(Native.redmux_client_stop(Core.Handle), "stop");

    /// <summary>Connects a stopped client again.</summary>
    public void Restart() => Failure.Check(Native.redmux_client_restart(Core.Handle), "restart");

    /// <summary>What the client counted (docs/stats.schema.json).</summary>
    /// <example><code>
    /// bool online = client.Stats().GetProperty("online").GetBoolean();
    /// </code></example>
    public unsafe JsonElement Stats() => Handed.Json(text => Native.redmux_client_stats(Core.Handle, text), "stats");

    // --- what subscriptions and promise sets ask, too

    /// <summary>Asks something that ends as one done, and waits for it.</summary>
    internal unsafe ValueTask Ask(delegate*<ulong, ulong, ulong, long, int> function, ulong handle, string what, TimeSpan? timeout, CancellationToken ct)
    {
        if (ct.IsCancellationRequested) { return ValueTask.FromCanceled(ct); }
        long limit = Duration.Millis(timeout);
        Operation operation = Core.Rent().Prepare(this, what, "");
        return operation.Begun(Core.Closed ? Native.ErrClosed : function(handle, Core.Reply, operation.Token, limit), ct).Nothing;
    }

    // --- the end

    /// <summary>Lets publishes finish for so long, ends everything that waits, and disconnects. A second call waits for the first.</summary>
    /// <param name="timeout">How long publishes may take; <see cref="Timeout.InfiniteTimeSpan"/> is for ever.</param>
    public async ValueTask CloseAsync(TimeSpan timeout)
    {
        if (Core.BeginClose(timeout)) { GC.SuppressFinalize(this); }
        try
        {
            await Core.Ended.WaitAsync(Patience(timeout)).ConfigureAwait(false);
            await Core.Calls.Ended().WaitAsync(Patience(timeout)).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            Core.Release(); // a loop blocks the reader's thread, or a callback its own; they find out when they go on
        }
    }

    /// <summary>Closes; publishes have 5 s to finish.</summary>
    public ValueTask DisposeAsync() => CloseAsync(CloseTimeout);

    /// <summary>Closes; publishes have 5 s to finish. In an <c>await foreach</c> of this client it does not wait.</summary>
    public void Dispose()
    {
        bool wait = !Core.OnReader;
        if (Core.BeginClose(wait ? CloseTimeout : TimeSpan.Zero)) { GC.SuppressFinalize(this); }
        if (wait && !(Core.Ended.Wait(Patience(CloseTimeout)) && Core.Calls.Ended().Wait(Patience(CloseTimeout))))
        {
            Core.Release();
        }
    }

    /// <summary>A little longer than publishes have; what no timer can count is for ever.</summary>
    private static TimeSpan Patience(TimeSpan timeout) =>
        timeout < TimeSpan.Zero || timeout > TimeSpan.FromDays(1) ? Timeout.InfiniteTimeSpan : timeout + TimeSpan.FromSeconds(2);

    /// <inheritdoc/>
    public override string ToString() => $"redmux client of {_where}: {(Core.Closed ? "closed" : State)}";
}
