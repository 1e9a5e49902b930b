// Runs one scenario (docs/scenarios.md) through redmux for .NET:
//
//     REDMUX_FIXTURE=target/debug/examples/fixture dotnet Scenario.dll tests/scenarios/NAME.json

using System.Text.Json.Nodes;
using Scenario;

try
{
    if (args is ["--steps"])
    {
        await World.ToldAsync();
    }
    else
    {
        await using World world = new(JsonNode.Parse(await File.ReadAllTextAsync(args[0]))!);
        await world.RunAsync();
    }
    return 0;
}
catch (Exception error)
{
    Console.Error.WriteLine($"{string.Join(' ', args)}: {error.Message}");
    Environment.Exit(1); // whatever still waits
    return 1;
}
