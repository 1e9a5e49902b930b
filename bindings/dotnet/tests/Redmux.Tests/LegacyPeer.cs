using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Serialization;
using Redmux.MessagingBuffer;

namespace Demo
{
    /// <summary>As the original was seen to send it: <c>{"Body":"hello"}</c>.</summary>
    public sealed class PingRequest : RequestBase
    {
        public string Body { get; set; } = "";
    }

    public sealed class PingResponse(string? correlationId) : ResponseBase(correlationId)
    {
        public PingResponse() : this(null) { }

        public string Text { get; set; } = "";

        public int Answers { get; set; }
    }

    public sealed class OtherRequest : RequestBase;

    [JsonSerializable(typeof(PingRequest)), JsonSerializable(typeof(PingResponse)), JsonSerializable(typeof(OtherRequest))]
    internal sealed partial class DemoJson : JsonSerializerContext;
}

namespace Redmux.Tests
{
    /// <summary>An old instance: two connections and the bytes that the original was seen to send and to get, written out. It knows nothing of
    /// redmux.</summary>
    internal sealed class LegacyPeer : IDisposable
    {
        private readonly Connection _listening, _speaking;

        internal LegacyPeer(Fixture server)
        {
            int port = (int)server.First["port"]!;
            (_listening, _speaking) = (new(port), new(port));
        }

        private static string Bulk(string text) => $"${Encoding.UTF8.GetByteCount(text)}\r\n{text}\r\n";

        internal async Task ListenAsync(string pattern)
        {
            await _listening.WriteAsync("*2\r\n$10\r\nPSUBSCRIBE\r\n" + Bulk(pattern));
            await _listening.ReadsAsync("*3\r\n$10\r\npsubscribe\r\n" + Bulk(pattern) + ":1\r\n");
        }

        /// <summary>Listens no more.</summary>
        internal async Task LeaveAsync(string pattern)
        {
            await _listening.WriteAsync("*2\r\n$12\r\nPUNSUBSCRIBE\r\n" + Bulk(pattern));
            await _listening.ReadsAsync("*3\r\n$12\r\npunsubscribe\r\n" + Bulk(pattern) + ":0\r\n");
        }

        /// <summary>The next that it hears is this, to the byte.</summary>
        internal Task HearsAsync(string pattern, string channel, string body) =>
            _listening.ReadsAsync("*4\r\n$8\r\npmessage\r\n" + Bulk(pattern) + Bulk(channel) + Bulk(body));

        /// <summary>The channel and the body of the next that it hears.</summary>
        internal async Task<(string Channel, string Body)> HearAsync(string pattern)
        {
            await _listening.ReadsAsync("*4\r\n$8\r\npmessage\r\n" + Bulk(pattern));
            return (await _listening.BulkAsync(), await _listening.BulkAsync());
        }

        /// <returns>How many received it.</returns>
        internal async Task<int> PublishAsync(string channel, string body)
        {
            await _speaking.WriteAsync("*3\r\n$7\r\nPUBLISH\r\n" + Bulk(channel) + Bulk(body));
            return int.Parse((await _speaking.LineAsync())[1..], CultureInfo.InvariantCulture);
        }

        /// <summary>Answers a request as the original does.</summary>
        internal Task<int> RespondAsync(string id, string own, string server = "old-vm") =>
            PublishAsync($"Response:{id}", $$"""{{{own}},"CorrelationId":"{{id}}","ResponseServerName":"{{server}}"}""");

        internal static string IdOf(string channel) => channel.Split(':')[1];

        public void Dispose()
        {
            _listening.Dispose();
            _speaking.Dispose();
        }

        private sealed class Connection(int port) : IDisposable
        {
            private readonly TcpClient _tcp = new("127.0.0.1", port);

            internal Task WriteAsync(string text) => _tcp.GetStream().WriteAsync(Encoding.UTF8.GetBytes(text)).AsTask();

            internal async Task ReadsAsync(string wanted) => Xunit.Assert.Equal(wanted, await TakeAsync(Encoding.UTF8.GetByteCount(wanted)));

            internal async Task<string> BulkAsync()
            {
                string text = await TakeAsync(int.Parse((await LineAsync())[1..], CultureInfo.InvariantCulture) + 2);
                return text[..^2];
            }

            internal async Task<string> LineAsync()
            {
                StringBuilder line = new();
                while (!line.ToString().EndsWith("\r\n", StringComparison.Ordinal))
                {
                    line.Append(await TakeAsync(1));
                }
                return line.ToString().TrimEnd();
            }

            private async Task<string> TakeAsync(int count)
            {
                byte[] bytes = new byte[count];
                using CancellationTokenSource late = new(WithServer.Bound);
                await _tcp.GetStream().ReadExactlyAsync(bytes, late.Token);
                return Encoding.UTF8.GetString(bytes);
            }

            public void Dispose() => _tcp.Dispose();
        }
    }
}
