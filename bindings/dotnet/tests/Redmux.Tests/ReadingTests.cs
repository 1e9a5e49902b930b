using System.Runtime.CompilerServices;
using System.Threading.Channels;
using System.Diagnostics.Metrics;
using Xunit;

namespace Redmux.Tests;

/// <summary>What a reader may rely on, whichever way it reads.</summary>
public sealed class ReadingTests(Fixture server) : WithServer(server)
{
    [Fact]
    public async Task A_second_reader_is_told()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        Task<Message> first = sub.ReadAsync().AsTask();
        Assert.True(sub.IsRead);
        await Assert.ThrowsAsync<RedmuxStateException>(async () => await sub.ReadAsync());
        client.TryPost("x", "y");
        Assert.Equal("y", (await first).Text());
    }

    [Fact]
    public async Task A_second_reader_is_told_also_while_the_first_takes_a_block()
    {
        Exception? told = null;
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        client.TryPost("x", "y");
        await client.BarrierAsync();
        using MeterListener listener = new() // called in the midst of a take
        {
            InstrumentPublished = (instrument, listener) =>
            {
                if (instrument == RedmuxTelemetry.Received) { listener.EnableMeasurementEvents(instrument); }
            },
        };
        listener.SetMeasurementEventCallback<long>((_, _, _, _) => told ??= Record.Exception(() =>
        {
            while (sub.TryRead(out Message _))
            {
            }
        }));
        listener.Start();
        sub.TryRead(out Message _);
        Assert.IsType<RedmuxStateException>(told);
        listener.Dispose();
        client.TryPost("x", "z");
        await client.BarrierAsync();
        Assert.True(sub.TryRead(out Message next)); // and the first goes on
        Assert.Equal("z", next.Text());
    }

    [Fact]
    public async Task A_read_that_is_cancelled_loses_no_message()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        for (int n = 0; n < 200; n++)
        {
            using CancellationTokenSource cancel = new();
            Task<Message> reading = sub.ReadAsync(cancel.Token).AsTask();
            Task publish = client.PublishAsync("x", $"{n}").AsTask();
            await cancel.CancelAsync();
            string text;
            try
            {
                text = (await reading).Text();
            }
            catch (OperationCanceledException error)
            {
                Assert.Equal(cancel.Token, error.CancellationToken);
                text = (await sub.ReadAsync()).Text();
            }
            Assert.Equal($"{n}", text);
            await publish;
        }
    }

    [Fact]
    public async Task A_loop_that_is_left_goes_on_later_without_a_loss()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        for (int n = 0; n < 100; n++)
        {
            client.TryPost("x", $"{n}");
        }
        await client.BarrierAsync();
        List<string> seen = [];
        for (int n = 0; n < 50; n++)
        {
            await foreach (var message in sub)
            {
                seen.Add(message.Text());
                break;
            }
            Assert.True(sub.TryRead(out Message next));
            seen.Add(next.Text());
        }
        Assert.Equal(Enumerable.Range(0, 100).Select(n => $"{n}"), seen);
        Assert.False(sub.TryRead(out _));
    }

    [Fact]
    public async Task A_loop_may_publish_and_change_its_channels()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["c0"]);
        client.TryPost("c0", "go");
        int turn = 0;
        await foreach (var message in sub)
        {
            Assert.Equal($"c{turn}", message.Channel);
            if (++turn == 50)
            {
                break;
            }
            await sub.AddAsync($"c{turn}");
            await sub.RemoveAsync(message.Channel);
            Assert.Equal(1, await client.PublishAsync($"c{turn}", "on"));
        }
        Assert.Equal(["c49"], sub.Channels);
    }

    [Fact]
    public async Task Reading_allocates_no_more_than_the_messages_bytes()
    {
        const int Count = 20_000;
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"], new SubscribeOptions { InboxBytes = 1 << 30 });
        byte[] payload = new byte[64];
        for (int n = 0; n < Count; n++)
        {
            Assert.True(client.TryPost("x", payload));
        }
        await client.BarrierAsync();
        long before = GC.GetAllocatedBytesForCurrentThread();
        int read = 0;
        while (sub.TryRead(out Message message))
        {
            read += message.Data.Length == 64 ? 1 : 0;
        }
        long each = (GC.GetAllocatedBytesForCurrentThread() - before) / Count;
        Assert.Equal(Count, read);
        Assert.InRange(each, 64, 140);
    }

    [Fact]
    public async Task No_array_of_a_block_is_a_large_object()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"], new SubscribeOptions { InboxBytes = 1 << 30 });
        for (int n = 0; n < 5_000; n++)
        {
            client.TryPost("x", new byte[100]);
        }
        await client.BarrierAsync();
        while (sub.TryRead(out Message message))
        {
            Assert.True(System.Runtime.InteropServices.MemoryMarshal.TryGetArray(message.Data, out var segment));
            Assert.True(segment.Array!.Length < 85_000 - 24);
        }
    }

    [Fact]
    public async Task Under_pressure_of_the_garbage_collector_every_message_stays_whole()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        using SemaphoreSlim turn = new(0);
        Task pressure = Task.Run(async () =>
        {
            // One at a time: collections without a pause leave no other thread of .NET any time at all.
            for (int n = 0; n < 300; n++)
            {
                await turn.WaitAsync();
                GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, blocking: true, compacting: true);
            }
        });
        List<Message> kept = [];
        for (int n = 0; n < 300; n++)
        {
            turn.Release();
            Task<long> publish = client.PublishAsync("x", $"message {n}").AsTask();
            kept.Add(await sub.ReadAsync());
            Assert.Equal(1, await publish);
        }
        await pressure.WaitAsync(Bound);
        Assert.Equal(Enumerable.Range(0, 300).Select(n => $"message {n}"), kept.Select(message => message.Text()));
    }

    [Fact]
    public async Task A_cancelled_token_ends_a_loop_also_where_messages_wait()
    {
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync(["x"]);
        for (int n = 0; n < 10_000; n++)
        {
            Assert.True(client.TryPost("x", "y"));
        }
        await client.BarrierAsync();
        using CancellationTokenSource cancel = new();
        int read = 0;
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var message in sub.WithCancellation(cancel.Token))
            {
                if (read++ == 0) { await cancel.CancelAsync(); }
            }
        });
        Assert.InRange(read, 1, 2048); // what was copied before: a block
    }

    [Fact]
    public async Task A_reader_beside_callbacks_is_the_error_and_the_callbacks_go_on()
    {
        await using var client = await ConnectAsync();
        TaskCompletionSource<Subscription> made = new();
        List<Exception?> errors = [];
        Channel<string> called = Channel.CreateUnbounded<string>();
        await using var sub = await client.SubscribeAsync(["x"], new SubscribeOptions
        {
            OnMessage = async message =>
            {
                Subscription own = await made.Task;
                errors.Add(await Record.ExceptionAsync(async () => await own.ReadAsync()));
                errors.Add(Record.Exception(() => own.TryRead(out _)));
                errors.Add(await Record.ExceptionAsync(async () => { await foreach (var other in own) { } }));
                errors.Add(await Record.ExceptionAsync(async () => { await foreach (var other in own.EventsAsync()) { } }));
                called.Writer.TryWrite(message.Text());
            },
        });
        await Assert.ThrowsAsync<RedmuxStateException>(async () => await sub.ReadAsync()); // it is waiting
        made.SetResult(sub);
        foreach (string text in new[] { "1", "2", "3" })
        {
            await client.PublishAsync("x", text);
            Assert.Equal(text, await called.Reader.ReadAsync().AsTask().WaitAsync(Bound));
        }
        Assert.Equal(12, errors.Count);
        Assert.All(errors, error => Assert.IsType<RedmuxStateException>(error));
    }

    [Fact]
    public async Task Who_was_told_and_has_not_gone_on_still_waits()
    {
        Signal signal = new();
#pragma warning disable CA2012 // awaited by hand, so that it has been told and has not gone on
        ValueTaskAwaiter waiting = signal.WaitAsync(hop: false, CancellationToken.None).GetAwaiter();
#pragma warning restore CA2012
        signal.Say(inline: true);
        await Assert.ThrowsAsync<RedmuxStateException>(async () => await signal.WaitAsync(hop: false, CancellationToken.None));
        Assert.True(waiting.IsCompleted);
        waiting.GetResult();
        signal.Say(inline: true);
        await signal.WaitAsync(hop: false, CancellationToken.None); // free again
    }
}
