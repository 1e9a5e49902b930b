using System.Diagnostics;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Scenario;

/// <summary>A fixture, or another process of the scenario: lines of JSON in and out.</summary>
internal sealed class Program : IDisposable
{
    private readonly Process _process;
    private bool _killed;

    internal Program(IEnumerable<string> command)
    {
        ProcessStartInfo start = new(command.First()) { RedirectStandardInput = true, RedirectStandardOutput = true };
        foreach (string argument in command.Skip(1))
        {
            start.ArgumentList.Add(argument);
        }
        _process = Process.Start(start)!;
    }

    internal async Task<JsonNode> ReadAsync() => JsonNode.Parse(await _process.StandardOutput.ReadLineAsync() ?? throw new Failed("a program ended too early"))!;

    internal void Send(JsonNode line) => _process.StandardInput.WriteLine(line.ToJsonString(World.Plain));

    internal async Task<JsonNode> AskAsync(JsonNode line)
    {
        Send(line);
        return await ReadAsync();
    }

    internal void Kill()
    {
        _killed = true;
        _process.Kill();
    }

    internal async Task<bool> EndedWellAsync()
    {
        _process.StandardInput.Close();
        await _process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(20));
        return _killed || _process.ExitCode == 0;
    }

    public void Dispose() => _process.Dispose();
}

/// <summary>The first process: the fixtures, the other processes, and the steps in their order.</summary>
internal sealed class World(JsonNode scenario) : IAsyncDisposable
{
    internal static readonly JsonSerializerOptions Plain = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly Dictionary<string, Program> _fixtures = [];
    private readonly Dictionary<string, Program> _processes = [];
    private readonly JsonObject _servers = [];

    internal async Task RunAsync()
    {
        string fixture = Environment.GetEnvironmentVariable("REDMUX_FIXTURE") ?? throw new Failed("REDMUX_FIXTURE is not set");
        foreach (var (name, flags) in scenario["servers"] as JsonObject ?? new JsonObject { ["redis"] = new JsonArray() })
        {
            Program program = _fixtures[name] = new([fixture, .. ((JsonArray)flags!).Select(flag => (string)flag!)]);
            _servers[name] = await program.ReadAsync();
        }
        Objects objects = new(_servers);
        foreach (JsonNode? json in (JsonArray)scenario["steps"]!)
        {
            Step step = new(json!);
            try
            {
                await StepAsync(objects, step);
            }
            catch (Exception error)
            {
                throw new Failed($"{json!.ToJsonString(Plain)}\n    {error.GetType().Name}: {error.Message}");
            }
        }
        await objects.EndAsync();
        foreach (Program process in _processes.Values)
        {
            if (!await process.EndedWellAsync())
            {
                throw new Failed("another process did not end well");
            }
        }
    }

    private async Task StepAsync(Objects objects, Step step)
    {
        switch (step.Text("do"))
        {
            case "world":
                for (int n = 0; n < step.Number("times", 1); n++)
                {
                    JsonNode order = JsonNode.Parse(step["order"]!.ToJsonString(Plain).Replace("{n}", $"{n}", StringComparison.Ordinal))!;
                    await Objects.UntilAsync(step, async () => Answer(step, await _fixtures[step.Text("server", "redis")].AskAsync(order)));
                }
                break;
            case "kill":
                _processes[step.Text("process")].Kill();
                break;
            case var _ when step["process"] is { } name:
                JsonNode answer = await Elsewhere((string)name!).AskAsync(step.Json);
                if (answer["ok"] is null)
                {
                    throw new Failed($"process {name}: {answer.ToJsonString(Plain)}");
                }
                break;
            default:
                await objects.RunAsync(step);
                break;
        }
    }

    private static JsonNode? Answer(Step step, JsonNode answer)
    {
        string? error = (string?)answer["error"], wanted = (string?)step["error"];
        if ((error is null) != (wanted is null) || error?.Contains(wanted!, StringComparison.Ordinal) == false)
        {
            throw new Failed($"the answer is {answer.ToJsonString(Plain)}");
        }
        return answer["ok"];
    }

    private Program Elsewhere(string name)
    {
        if (!_processes.TryGetValue(name, out Program? program))
        {
            string[] command = Environment.GetEnvironmentVariable("REDMUX_SCENARIO_PEER") is { Length: > 0 } peer
                ? [peer, "--steps"]
                : [Environment.ProcessPath!, Path.Combine(AppContext.BaseDirectory, "Scenario.dll"), "--steps"];
            program = _processes[name] = new(command);
            program.Send(_servers);
        }
        return program;
    }

    /// <summary>The other process: its steps come from stdin.</summary>
    internal static async Task ToldAsync()
    {
        Objects objects = new(JsonNode.Parse((await Console.In.ReadLineAsync())!)!);
        while (await Console.In.ReadLineAsync() is { } line)
        {
            try
            {
                await objects.RunAsync(new Step(JsonNode.Parse(line)!));
                Console.WriteLine("{\"ok\":true}");
            }
            catch (Exception error)
            {
                Console.WriteLine(new JsonObject { ["error"] = $"{error.GetType().Name}: {error.Message}" }.ToJsonString(Plain));
                Environment.Exit(1);
            }
        }
        await objects.EndAsync();
    }

    public async ValueTask DisposeAsync()
    {
        foreach (Program fixture in _fixtures.Values)
        {
            await fixture.EndedWellAsync();
            fixture.Dispose();
        }
    }
}
