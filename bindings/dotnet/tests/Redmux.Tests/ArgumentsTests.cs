using Xunit;

namespace Redmux.Tests;

/// <summary>Arguments, wrong and odd.</summary>
public sealed class ArgumentsTests(Fixture server) : WithServer(server)
{
    [Fact]
    public async Task Wrong_options_and_arguments_are_named()
    {
        var error = await Assert.ThrowsAsync<RedmuxArgumentException>(() => RedmuxClient.ConnectAsync(new RedmuxOptions { Url = Server.Url, ["inbox_recrods"] = "5" }));
        Assert.Contains("inbox_records", error.Message, StringComparison.Ordinal);
        await using var client = await ConnectAsync();
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await client.PublishAsync("x", "y", TimeSpan.FromSeconds(-5)));
        await Assert.ThrowsAsync<ArgumentNullException>(async () => await client.PublishAsync(null!, "y"));
        await Assert.ThrowsAsync<ArgumentNullException>(() => client.SubscribeAsync([null!]));
        Assert.Throws<ArgumentException>(() => client.TryPost("\ud800", "y"));
        await using var pattern = await client.SubscribePatternAsync("a*");
        await Assert.ThrowsAsync<RedmuxStateException>(async () => await pattern.AddAsync("b"));
    }

    [Fact]
    public async Task Any_bytes_are_names_and_payloads()
    {
        byte[][] odd = [[0xff, 0x00], [0xe2, 0x82], "ü"u8.ToArray(), [], [0xed, 0xb2, 0x80], [0xf0, 0x9f, 0x98, 0x80, 0x80]];
        foreach (byte[] bytes in odd)
        {
            Assert.Equal(bytes, ChannelName.ToBytes(ChannelName.FromBytes(bytes)));
        }
        await using var client = await ConnectAsync();
        await using var sub = await client.SubscribeAsync([ChannelName.FromBytes(odd[0]), "ü"]);
        await client.PublishAsync(ChannelName.FromBytes(odd[0]), new byte[] { 0 });
        var message = await sub.ReadAsync();
        Assert.Equal(odd[0], ChannelName.ToBytes(message.Channel));
        Assert.Equal([0], message.Data.ToArray());
        await client.PublishAsync("ü", ReadOnlyMemory<byte>.Empty);
        message = await sub.ReadAsync();
        Assert.Equal(("ü", 0), (message.Channel, message.Data.Length));
        Assert.InRange(message.Time, DateTimeOffset.UtcNow.AddMinutes(-1), DateTimeOffset.UtcNow.AddMinutes(1));
    }

    [Fact]
    public async Task Live_counts_what_is_open()
    {
        await using var client = await ConnectAsync();
        Assert.True(Native.redmux_debug_live() > 0);
    }

    [Fact]
    public async Task What_a_call_does_not_say_is_as_the_environment_has_it() =>
        Assert.Equal(
            (0, "Overflow\nslow consumer\n", ""),
            await Running.EndAsync("Probe", "_net10.0", ["environment"], ("REDIS_URL", $"{Server.Url}?strict=true&max_answers=1&inbox_policy=close")));

    [Fact]
    public void The_URL_says_how_long_an_attempt_takes_unless_the_application_does()
    {
        Assert.DoesNotContain("connect_timeout", new RedmuxOptions { Url = "h,connectTimeout=200" }.All().Keys);
        Assert.Equal(TimeSpan.FromSeconds(5), new RedmuxOptions().ConnectTimeout);
        Assert.Equal("10ms", new RedmuxOptions { ConnectTimeout = TimeSpan.Zero }.All()["connect_timeout"]);
    }
}
