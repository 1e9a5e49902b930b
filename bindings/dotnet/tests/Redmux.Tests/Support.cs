using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;

[assembly: Xunit.CollectionBehavior(DisableTestParallelization = true)]

namespace Redmux.Tests;

/// <summary>Where things are.</summary>
internal static class Place
{
    internal static readonly string Package = Path.GetFullPath(Path.Combine(Here(), "../.."));
    internal static readonly string Root = Path.GetFullPath(Path.Combine(Package, "../.."));

    private static string Here([CallerFilePath] string file = "") => Path.GetDirectoryName(file)!;

    /// <summary>A program that was built beside these tests.</summary>
    internal static string Program(string name, string framework = "") => Path.GetFullPath(Path.Combine(
        AppContext.BaseDirectory, "../..", name, Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory)) + framework, $"{name}.dll"));
}

/// <summary>The tests' server (tests/support/fixture.rs), told in lines of JSON.</summary>
public sealed class Fixture : IDisposable
{
    private readonly Process _process;

    public Fixture() : this([]) { }

    internal Fixture(params string[] flags)
    {
        string program = Environment.GetEnvironmentVariable("REDMUX_FIXTURE") ?? Path.Combine(Place.Root, "target/debug/examples/fixture");
        ProcessStartInfo start = new(program) { RedirectStandardInput = true, RedirectStandardOutput = true };
        foreach (string flag in flags)
        {
            start.ArgumentList.Add(flag);
        }
        _process = Process.Start(start)!;
        First = JsonNode.Parse(_process.StandardOutput.ReadLine()!)!;
    }

    internal JsonNode First { get; }

    public string Url => (string)First["url"]!;

    internal JsonNode? Do(string word, params (string Key, JsonNode? Value)[] given)
    {
        JsonObject order = new() { ["do"] = word };
        foreach (var (key, value) in given)
        {
            order[key] = value;
        }
        lock (_process)
        {
            _process.StandardInput.WriteLine(order.ToJsonString());
            JsonNode answer = JsonNode.Parse(_process.StandardOutput.ReadLine()!)!;
            Xunit.Assert.True(answer["error"] is null, (string?)answer["error"]);
            return answer["ok"];
        }
    }

    internal int Publish(string channel, string data) => (int)Do("publish", ("channel", channel), ("data", data))!;

    public void Dispose()
    {
        _process.StandardInput.Close();
        _process.WaitForExit(20_000);
        _process.Dispose();
    }
}

/// <summary>A server for the tests of a class, and nothing left behind by any of them.</summary>
public abstract class WithServer : Xunit.IClassFixture<Fixture>, Xunit.IAsyncLifetime
{
    private protected WithServer(Fixture server) => Server = server;

    internal Fixture Server { get; }

    internal static TimeSpan Bound => TimeSpan.FromSeconds(30);

    internal Task<RedmuxClient> ConnectAsync(ILoggerFactory? logs = null) =>
        RedmuxClient.ConnectAsync(new RedmuxOptions { Url = Server.Url, LoggerFactory = logs });

    /// <summary>Until it holds: what Redis is asked to let go of is gone a moment later.</summary>
    internal Task UntilAsync(Func<bool> holds) => UntilAsync(() => Task.FromResult(holds()));

    internal async Task UntilAsync(Func<Task<bool>> holds)
    {
        await using var client = await ConnectAsync();
        for (int tries = 0; tries < 10_000; tries++)
        {
            if (await holds()) { return; }
            await client.BarrierAsync();
        }
        Xunit.Assert.Fail("it never holds");
    }

    public async Task InitializeAsync() => await (await ConnectAsync()).DisposeAsync(); // the library's own thread is there from now on

    public Task DisposeAsync()
    {
        Xunit.Assert.Equal(0, Native.redmux_debug_live());
        return Task.CompletedTask;
    }
}

/// <summary>What this process holds: descriptors, and threads of the library and of the wrapper.</summary>
internal static class Held
{
    /// <summary>Threads of .NET's own pool come and go, so they are not counted.</summary>
    internal static (int Descriptors, int Threads) Now => (
        Directory.GetFileSystemEntries("/proc/self/fd").Length,
        Directory.GetDirectories("/proc/self/task").Count(task => NameOf(task).StartsWith("redmux", StringComparison.Ordinal)));

    private static string NameOf(string task)
    {
        try
        {
            return File.ReadAllText(Path.Combine(task, "comm"));
        }
        catch (IOException)
        {
            return ""; // it ended
        }
    }

    /// <summary>What is held once it is no more than wanted; threads need a moment to end.</summary>
    internal static async Task<(int, int)> SettledAsync((int Descriptors, int Threads) wanted)
    {
        for (int tries = 0; tries < 1000 && (Now.Descriptors > wanted.Descriptors || Now.Threads > wanted.Threads); tries++)
        {
            await Task.Delay(10);
        }
        return Now;
    }
}

/// <summary>A program of ours in a process of its own.</summary>
internal sealed class Running : IDisposable
{
    internal Process Process { get; }

    internal Running(string program, string framework, IEnumerable<string> arguments, params (string Key, string? Value)[] environment)
    {
        ProcessStartInfo start = new(Environment.ProcessPath!.EndsWith("dotnet", StringComparison.Ordinal) ? Environment.ProcessPath! : "dotnet")
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.ArgumentList.Add(Place.Program(program, framework));
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }
        foreach (var (key, value) in environment)
        {
            start.Environment[key] = value;
        }
        Process = Process.Start(start)!;
    }

    internal static async Task<(int Status, string Out, string Error)> EndAsync(
        string program, string framework, string[] arguments, params (string Key, string? Value)[] environment)
    {
        using Running running = new(program, framework, arguments, environment);
        Task<string> error = running.Process.StandardError.ReadToEndAsync();
        string output = await running.Process.StandardOutput.ReadToEndAsync().WaitAsync(TimeSpan.FromSeconds(60));
        return (await running.EndedAsync(), output, await error);
    }

    internal async Task ReadsAsync(params string[] lines)
    {
        foreach (string line in lines)
        {
            Xunit.Assert.Equal(line, await LineAsync());
        }
    }

    internal async Task<string?> LineAsync() => await Process.StandardOutput.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(30));

    internal void Says(string line)
    {
        Process.StandardInput.WriteLine(line);
        Process.StandardInput.Flush();
    }

    internal async Task<int> EndedAsync()
    {
        await Process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(30));
        return Process.ExitCode;
    }

    public void Dispose()
    {
        if (!Process.HasExited)
        {
            Process.Kill();
        }
        Process.Dispose();
    }
}

/// <summary>Keeps what is logged, and lets it be awaited.</summary>
internal sealed class Logs : ILoggerFactory, ILogger
{
    private readonly ConcurrentQueue<(LogLevel Level, string Line)> _lines = new();
    private readonly SemaphoreSlim _more = new(0);

    internal async Task<string> UntilAsync(LogLevel level, string part)
    {
        while (true)
        {
            foreach (var (found, line) in _lines)
            {
                if (found == level && line.Contains(part, StringComparison.Ordinal))
                {
                    return line;
                }
            }
            if (!await _more.WaitAsync(TimeSpan.FromSeconds(20)))
            {
                throw new Xunit.Sdk.XunitException($"'{part}' was not logged, but: {string.Join("; ", _lines)}");
            }
        }
    }

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider) { }

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        _lines.Enqueue((logLevel, $"{formatter(state, exception)} {exception?.Message}"));
        _more.Release();
    }

    public void Dispose() => _more.Dispose();
}
