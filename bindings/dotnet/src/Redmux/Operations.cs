namespace Redmux;

/// <summary>Something that was asked of the library and has not ended: what the records of the reply inbox with its token go to.</summary>
internal abstract class Pending
{
    internal ulong Token;

    /// <summary>A record before the end: an active or a refused name.</summary>
    internal virtual void Note(in RawRecord record, ReadOnlySpan<byte> data) { }

    /// <summary>Its last record; the token is free by now.</summary>
    internal abstract void Ended(in RawRecord record, ReadOnlySpan<byte> data);

    /// <summary>The client ended without a last record.</summary>
    internal abstract void Abandon();
}

/// <summary>Who waits, by token. A token is a place and how often that was used, so that a late record of an earlier user finds nobody,
/// and neither adding nor removing allocates.</summary>
internal sealed class Tokens
{
    private readonly Stack<int> _free = new();
    private (Pending? Pending, uint Uses)[] _places = new (Pending?, uint)[16];
    private int _used;

    internal void Add(Pending pending)
    {
        lock (_free)
        {
            if (!_free.TryPop(out int place))
            {
                place = _used++;
                if (place == _places.Length) { Array.Resize(ref _places, place * 2); }
            }
            uint uses = _places[place].Uses + 1;
            _places[place] = (pending, uses);
            pending.Token = ((ulong)uses << 32) | (uint)place;
        }
    }

    internal Pending? Find(ulong token)
    {
        lock (_free)
        {
            int place = (int)(uint)token;
            return place < _used && _places[place].Uses == (uint)(token >> 32) ? _places[place].Pending : null;
        }
    }

    /// <summary>Whoever removes it ends it: nobody else will.</summary>
    internal Pending? Remove(ulong token)
    {
        lock (_free)
        {
            Pending? pending = Find(token);
            if (pending is not null)
            {
                _places[(uint)token].Pending = null;
                _free.Push((int)(uint)token);
            }
            return pending;
        }
    }

    internal Pending[] All()
    {
        lock (_free)
        {
            return [.. _places.Select(place => place.Pending).OfType<Pending>()];
        }
    }

    internal int Count => Volatile.Read(ref _used) - _free.Count;
}

/// <summary>An operation with one end and a number as its result. Used again and again; its waiter goes on on the thread pool, because
/// what is behind an await of an operation is anybody's program.</summary>
internal sealed class Operation : Pending, IValueTaskSource<long>, IValueTaskSource
{
    private readonly ClientCore _core;
    private ManualResetValueTaskSourceCore<long> _source = new() { RunContinuationsAsynchronously = true };
    private CancellationTokenRegistration _registration;
    private CancellationToken _ct;
    private object? _owner;
    private string _verb = "", _subject = "";
    private List<string>? _refused;

    internal Operation(ClientCore core) => _core = core;

    private string What => _subject.Length > 0 ? $"{_verb} '{_subject}'" : _verb;

    /// <param name="owner">Kept from being collected while this waits.</param>
    /// <param name="verb">For errors: what is done,</param>
    /// <param name="subject">and to what.</param>
    internal Operation Prepare(object owner, string verb, string subject)
    {
        (_owner, _verb, _subject) = (owner, verb, subject);
        _core.Tokens.Add(this);
        return this;
    }

    /// <summary>The call was made: its status says whether there is something to wait for.</summary>
    internal Operation Begun(int status, CancellationToken ct)
    {
        if (status != Native.Ok)
        {
            _core.Tokens.Remove(Token);
            Exception error = Failure.OfCall(status, What);
            Recycle();
            throw error;
        }
        _ct = ct;
        if (ct.CanBeCanceled) { _registration = ct.UnsafeRegister(static (self, _) => ((Operation)self!).Cancel(), this); }
        return this;
    }

    internal ValueTask<long> Number => new(this, _source.Version);

    internal ValueTask Nothing => new(this, _source.Version);

    private void Cancel()
    {
        if (_core.Tokens.Remove(Token) is not null)
        {
            _ = Native.redmux_inbox_cancel(_core.Reply, Token);
            _source.SetException(new OperationCanceledException(_ct));
        }
    }

    internal override void Note(in RawRecord record, ReadOnlySpan<byte> data)
    {
        if (record.Kind == Native.Refused) { (_refused ??= []).Add(ChannelName.FromBytes(record.Name(data))); }
    }

    internal override void Ended(in RawRecord record, ReadOnlySpan<byte> data)
    {
        if (record.Status == Native.Ok) { _source.SetResult((long)record.Number); }
        else { _source.SetException(Failure.Of(record.Status, What, Encoding.UTF8.GetString(record.Extra(data)), _refused)); }
    }

    internal override void Abandon() => _source.SetException(Failure.Of(Native.ErrClosed, What));

    private void Recycle()
    {
        (_owner, _refused, _ct, _registration) = (null, null, default, default);
        _source.Reset();
        _core.Return(this);
    }

    long IValueTaskSource<long>.GetResult(short token)
    {
        // Throws where this is awaited a second time. Asked too early it goes on as it is: given back, its end would be another's.
        if (_source.GetStatus(token) == ValueTaskSourceStatus.Pending) { throw new InvalidOperationException($"{What}: it has not ended; await it, or block on its AsTask()"); }
        _registration.Dispose(); // and waits for a cancel that runs, so that it cannot reach the next user
        try
        {
            return _source.GetResult(token);
        }
        finally
        {
            Recycle();
        }
    }

    void IValueTaskSource.GetResult(short token) => ((IValueTaskSource<long>)this).GetResult(token);

    public ValueTaskSourceStatus GetStatus(short token) => _source.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) => _source.OnCompleted(continuation, state, token, flags);
}
